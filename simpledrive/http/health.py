"""/livez: whether this process answers. It asks nobody else, so it stays true when a backend is down."""

from flask import Blueprint, Response

blueprint = Blueprint("health", __name__)


@blueprint.get("/livez")
def livez() -> Response:
    """200 while the process serves."""
    return Response("ok\n", mimetype="text/plain")
