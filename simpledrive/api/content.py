"""/v1/content: blobs as raw bytes, streamed in both directions."""

from __future__ import annotations

from flask import Blueprint, Response, request

from simpledrive.api import queries
from simpledrive.api.answers import stored
from simpledrive.drive import NewBlob
from simpledrive.http.bodies import incoming
from simpledrive.http.conditions import content_etag, replaceable
from simpledrive.http.content import content_response
from simpledrive.http.current import caller, parts, sign_in_by_header

blueprint = Blueprint("content", __name__, url_prefix="/v1/content")
blueprint.before_request(sign_in_by_header)


@blueprint.put("/<id:id>")
def put(id: str) -> Response:
    """Stores the body as a new blob, or in place of the one that If-Match names."""
    new = NewBlob(
        id=id,
        filename=request.args.get("filename"),
        content_type=request.headers.get("Content-Type"),
        storage_backend=request.args.get("storage_backend") or None,
    )
    blob, is_new = parts().drive.store(caller(), incoming(request), new, replaceable(request))
    return stored(blob, 201 if is_new else 200, content_etag(blob))


@blueprint.get("/<id:id>")
def get(id: str) -> Response:
    """The bytes, or a range of them; with `?version=N` those of an earlier version."""
    blob = parts().drive.describe(caller(), id, queries.version(request.args))
    return content_response(request, blob, download=queries.switch(request.args, "download", default=False))
