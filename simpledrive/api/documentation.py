"""/openapi.json and /docs: the specification, and a page to read it and to try it out. Open to all."""

from __future__ import annotations

from flask import Blueprint, Response, current_app, json, make_response, render_template, request

from simpledrive.api import specification
from simpledrive.http import policy

blueprint = Blueprint("documentation", __name__)
blueprint.after_request(policy.guard)

PAGE_POLICY = policy.POLICY.replace("img-src 'self'", "img-src 'self' data:")
"""The stylesheet of the vendored page has its arrows as data: URLs."""


@blueprint.get("/openapi.json")
def openapi() -> Response:
    """The specification, with this drive's version and where its paths begin."""
    document = specification.document(current_app.config["VERSION"], request.script_root)
    response = Response(json.dumps(document), mimetype="application/json")
    response.headers["Cache-Control"] = "no-cache"
    response.add_etag()
    response.make_conditional(request)
    return response


@blueprint.get("/docs")
def page() -> Response:
    """The specification as a page."""
    response = make_response(render_template("docs.html"))
    response.headers["Content-Security-Policy"] = PAGE_POLICY
    return response
