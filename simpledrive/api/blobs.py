"""/v1/blobs: blobs as JSON."""

from __future__ import annotations

import io
from urllib.parse import urlencode

from flask import Blueprint, Response, request

from simpledrive.api import documents
from simpledrive.api.answers import json_response, stored
from simpledrive.drive import NewBlob
from simpledrive.errors import Invalid, UnsupportedType
from simpledrive.http.bodies import json_body
from simpledrive.http.conditions import precondition, record_etag, unchanged
from simpledrive.http.content import streamed
from simpledrive.http.current import caller, parts, sign_in_by_header
from simpledrive.streams.staging import Incoming

blueprint = Blueprint("blobs", __name__, url_prefix="/v1/blobs")
blueprint.before_request(sign_in_by_header)

MAX_PAGE = 1000


@blueprint.post("")
@blueprint.post("/", endpoint="post_slash")
def post() -> Response:
    """Stores a new blob from base64."""
    if request.mimetype != "application/json":
        raise UnsupportedType("Send application/json; /v1/content/{id} takes raw bytes of any type.")
    limit = parts().settings.json_max_bytes
    with json_body(
        request, limit, f"A JSON body has at most {limit} bytes; PUT /v1/content/{{id}} takes more."
    ) as body:
        document = documents.read_new_blob(body)
        data = documents.decode(document.data)
        new = NewBlob(**document.model_dump(exclude={"data"}, exclude_unset=True))
        blob, _ = parts().drive.store(caller(), Incoming(io.BytesIO(data), len(data)), new)
    return stored(blob, 201, record_etag(blob))


@blueprint.get("/<id:id>")
def get(id: str) -> Response:
    """A blob's record, and its bytes as base64 unless `?data=false`."""
    blob = parts().drive.describe(caller(), id)
    if unchanged(request, record_etag(blob)):
        response = Response(status=304)
    elif request.args.get("data", "true").lower() in ("false", "0", "no"):
        response = json_response(documents.record(blob))
    else:
        length, document = documents.with_data(blob, parts().drive.read(caller(), blob))
        response = Response(mimetype="application/json") if request.method == "HEAD" else streamed(document)
        response.headers["Content-Type"] = "application/json"
        response.headers["Content-Length"] = str(length)
    response.headers["ETag"] = f'"{record_etag(blob)}"'
    response.headers["Cache-Control"] = "private, no-cache"
    return response


@blueprint.delete("/<id:id>")
def delete(id: str) -> Response:
    """Puts a blob into the trash."""
    parts().drive.delete(caller(), id, precondition(request))
    response = Response(status=204)
    del response.headers["Content-Type"]
    return response


@blueprint.get("")
@blueprint.get("/", endpoint="page_slash")
def page() -> Response:
    """A page of records in the order of their ids."""
    prefix, limit = request.args.get("prefix", ""), _limit()
    found = parts().listing.page(caller(), prefix, request.args.get("cursor"), limit)
    items = [documents.record(blob) for blob in found.blobs]
    response = json_response({"items": items, "prefixes": [], "next_cursor": found.next})
    if found.next is not None:
        query = {"prefix": prefix, "limit": limit, "cursor": found.next}
        response.headers["Link"] = f'</v1/blobs?{urlencode(query)}>; rel="next"'
    return response


def _limit() -> int:
    text = request.args.get("limit", "100")
    if not (text.isascii() and text.isdigit() and len(text) < 5 and 1 <= int(text) <= MAX_PAGE):
        raise Invalid(("limit", f"A page has 1 to {MAX_PAGE} blobs."))
    return int(text)
