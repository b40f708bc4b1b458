"""/files: files by number, without folders or names to choose (CONTRACTS, part 2)."""

from __future__ import annotations

import re
from typing import Any

from flask import Blueprint, Response, request, url_for

from simpledrive.api import queries
from simpledrive.api.answers import json_response, with_next
from simpledrive.api.documents import stamp
from simpledrive.drive import NewBlob
from simpledrive.files import id_of
from simpledrive.http.content import content_response
from simpledrive.http.current import caller, parts, sign_in_by_header
from simpledrive.http.forms import one_file, staged
from simpledrive.http.idempotency import once
from simpledrive.models import Blob

blueprint = Blueprint("file_share", __name__, url_prefix="/files")
blueprint.before_request(sign_in_by_header)

UNITS = ((30, "GB"), (20, "MB"), (10, "KB"))


@blueprint.post("")
@blueprint.post("/", endpoint="post_slash")
def post() -> Response:
    """Stores the form's file under a new id."""
    most = parts().settings.files_max_bytes
    file = one_file(request, "file", most, f"File size exceeds maximum limit of {_amount(most)}.")
    new = NewBlob(
        filename=file.filename, content_type=file.content_type or None, once=once(request, caller())
    )
    with staged(file) as body:
        blob, _ = parts().drive.store(caller(), body, new)
    response = json_response({"id": id_of(blob), "filename": blob.filename, "size": blob.size}, 201)
    response.headers["Location"] = url_for("file_share.get", id=id_of(blob))
    return response


@blueprint.get("")
@blueprint.get("/", endpoint="page_slash")
def page() -> Response:
    """A page of the caller's files."""
    found = parts().files.page(caller(), request.args.get("cursor"), queries.limit(request.args))
    return with_next(json_response([_listed(blob) for blob in found.blobs]), found.next)


@blueprint.get("/<id:id>")
def get(id: str) -> Response:
    """A file's bytes, to be saved."""
    return content_response(request, parts().files.find(caller(), id), download=True)


def _listed(blob: Blob) -> dict[str, Any]:
    return {
        "fileId": id_of(blob),
        "filename": re.sub(r"[^A-Za-z0-9_.-]", "_", blob.filename),
        "sizeBytes": blob.size,
        "contentType": blob.content_type,
        "sha256": blob.sha256,
        "uploadedAt": stamp(blob.created_at),
    }


def _amount(size: int) -> str:
    """A number of bytes in the largest unit of which it is a whole number."""
    for bits, unit in UNITS:
        if size and size % (1 << bits) == 0:
            return f"{size >> bits}{unit}"
    return f"{size} bytes"
