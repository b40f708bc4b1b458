"""/v1/versions and /v1/trash: what was replaced or deleted and can come back (PATCH /v1/blobs/{id})."""

from __future__ import annotations

from flask import Blueprint, Response, request

from simpledrive.api import documents, queries
from simpledrive.api.answers import page_of
from simpledrive.history import AsidePage
from simpledrive.http.current import caller, parts, sign_in_by_header

blueprint = Blueprint("history", __name__, url_prefix="/v1")
blueprint.before_request(sign_in_by_header)


@blueprint.get("/versions/<id:id>")
def versions(id: str) -> Response:
    """Earlier and deleted versions of one id, newest first."""
    limit = queries.limit(request.args)
    return _page(parts().history.versions(caller(), id, request.args.get("cursor"), limit))


@blueprint.get("/trash")
@blueprint.get("/trash/", endpoint="trash_slash")
def trash() -> Response:
    """Deleted blobs in the order of their ids, and when they will be gone."""
    prefix, limit = request.args.get("prefix", ""), queries.limit(request.args)
    return _page(parts().history.trash(caller(), prefix, request.args.get("cursor"), limit))


def _page(found: AsidePage) -> Response:
    return page_of([documents.aside(version) for version in found.items], found.next)
