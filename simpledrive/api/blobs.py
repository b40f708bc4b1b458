"""/v1/blobs: blobs as JSON, their bytes as base64 (CONTRACTS, parts 1 and 4)."""

from __future__ import annotations

import io

from flask import Blueprint, Response, request, url_for

from simpledrive import ids
from simpledrive.api import documents, queries
from simpledrive.api.answers import json_response, no_content, page_of, stored
from simpledrive.api.bodies import document
from simpledrive.drive import NewBlob
from simpledrive.errors import Invalid
from simpledrive.http.conditions import precondition, record_etag, unchanged
from simpledrive.http.content import streamed
from simpledrive.http.current import caller, parts, sign_in_by_header
from simpledrive.http.idempotency import once
from simpledrive.streams.staging import Incoming

blueprint = Blueprint("blobs", __name__, url_prefix="/v1/blobs")
blueprint.before_request(sign_in_by_header)


@blueprint.post("")
@blueprint.post("/", endpoint="post_slash")
def post() -> Response:
    """Stores a new blob: from base64, or from the digest of bytes that the caller may read already."""
    limit = parts().settings.json_max_bytes
    too_large = f"A JSON body has at most {limit} bytes; PUT /v1/content/{{id}} takes more."
    with document(documents.NewBlobDocument, limit, too_large) as sent:
        new = NewBlob(**sent.described(), once=once(request, caller()))
        if not sent.has_data:
            return _from_digest(new, sent.sha256, sent.size)
        data = documents.decode(sent.data)
        if sent.says_size and sent.size != len(data):
            raise Invalid(("size", f"The data are {len(data)} bytes."))
        digests = {"sha256": bytes.fromhex(sent.sha256)} if sent.sha256 else {}
        blob, _ = parts().drive.store(caller(), Incoming(io.BytesIO(data), len(data), digests), new)
    return stored(blob, 201, record_etag(blob))


def _from_digest(new: NewBlob, sha256: str, size: int) -> Response:
    known = parts().drive.store_known(caller(), sha256.lower(), size, new)
    if known is not None:
        return stored(known[0], 201, record_etag(known[0]))
    id = ids.made_below(caller().prefix) if new.id is None else new.id
    return json_response({"upload_required": True, "upload_url": url_for("content.put", id=id)}, 202)


@blueprint.get("/<id:id>")
def get(id: str) -> Response:
    """A blob's record, and its bytes as base64 unless `?data=false`."""
    blob = parts().drive.describe(caller(), id)
    if unchanged(request, record_etag(blob)):
        response = Response(status=304)
    elif not queries.switch(request.args, "data", default=True):
        response = json_response(documents.record(blob))
    else:
        length, body = documents.with_data(blob, parts().drive.read(caller(), blob))
        response = Response(mimetype="application/json") if request.method == "HEAD" else streamed(body)
        response.headers["Content-Type"] = "application/json"
        response.headers["Content-Length"] = str(length)
    response.headers["ETag"] = f'"{record_etag(blob)}"'
    response.headers["Cache-Control"] = "private, no-cache"
    return response


@blueprint.patch("/<id:id>")
def patch(id: str) -> Response:
    """Changes what is said of a blob, moves it to another backend, or makes a version current again."""
    only = precondition(request)
    with document(documents.ChangeDocument, documents.BESIDE_DATA) as sent:
        if sent.version:
            blob = parts().drive.restore(caller(), id, sent.version, only)
        elif sent.moves:
            blob = parts().mover.move(caller(), id, sent.storage_backend, only, **sent.described())
        else:
            blob = parts().drive.change(caller(), id, **sent.described(), only=only)
    response = json_response(documents.record(blob))
    response.headers["ETag"] = f'"{record_etag(blob)}"'
    return response


@blueprint.delete("/<id:id>")
def delete(id: str) -> Response:
    """Puts a blob into the trash; with `?permanent=true` it is gone, with all of its versions."""
    permanent = queries.switch(request.args, "permanent", default=False)
    parts().drive.delete(caller(), id, precondition(request), permanent=permanent)
    return no_content()


@blueprint.get("")
@blueprint.get("/", endpoint="page_slash")
def page() -> Response:
    """A page of records in the order of their ids; with a delimiter, of one level of folders."""
    wanted, limit = queries.filter_of(request.args), queries.limit(request.args)
    look = parts().listing.level if queries.is_delimited(request.args) else parts().listing.page
    found = look(caller(), wanted, request.args.get("cursor"), limit)
    items = [documents.record(blob) for blob in found.blobs]
    return page_of(items, found.next, prefixes=found.prefixes)
