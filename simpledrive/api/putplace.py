"""/put_file, /upload_file, /get_file: machines announce files and send what is new (CONTRACTS, part 3)."""

from __future__ import annotations

import re
from typing import Annotated, Any

from flask import Blueprint, Response, request
from pydantic import ConfigDict, Field

from simpledrive.api.answers import json_response
from simpledrive.api.bodies import document
from simpledrive.api.documents import DIGEST, Count, Document, stamp
from simpledrive.errors import BadRequest, Invalid
from simpledrive.http.blob_ids import quoted
from simpledrive.http.current import caller, parts, sign_in_by_header
from simpledrive.http.forms import one_file, staged
from simpledrive.http.idempotency import once
from simpledrive.ids import made_at
from simpledrive.machines import Announcement, Known

blueprint = Blueprint("putplace", __name__)
blueprint.before_request(sign_in_by_header)

Seconds = Annotated[float, Field(allow_inf_nan=False)]


class FileDocument(Document):
    """The body of POST /put_file. Other members, such as has_file_content, are passed over."""

    model_config = ConfigDict(extra="ignore")

    filepath: str
    hostname: str
    ip_address: str
    sha256: Annotated[str, Field(pattern=DIGEST)]
    file_size: Count
    file_mode: Count
    file_uid: Count
    file_gid: Count
    file_mtime: Seconds
    file_atime: Seconds
    file_ctime: Seconds

    def announcement(self) -> Announcement:
        return Announcement(**self.model_dump() | {"sha256": self.sha256.lower()})


@blueprint.post("/put_file")
def put_file() -> Response:
    """Writes down what a machine says of a file, and tells whether its bytes are wanted."""
    with document(FileDocument) as sent:
        known = parts().machines.announce(caller(), sent.announcement())
    wanted = known.blob is None
    url = f"/upload_file/{known.file.sha256}" if wanted else None
    return json_response(_record(known) | {"upload_required": wanted, "upload_url": url}, 201)


@blueprint.post("/upload_file/<sha256>")
def upload_file(sha256: str) -> Response:
    """Stores the bytes of a file that was announced."""
    digest = _digest(sha256)
    if missing := [name for name in ("hostname", "filepath") if name not in request.args]:
        raise Invalid(*((name, "Say of which file these are the bytes.") for name in missing))
    hostname, filepath = request.args["hostname"], request.args["filepath"]
    file = parts().machines.expected(caller(), digest, hostname, filepath)
    with staged(one_file(request, "file")) as body:
        blob = parts().machines.keep(caller(), file, body, once(request, caller()))
    return json_response(
        {
            "message": "File uploaded successfully",
            "sha256": blob.sha256,
            "size": str(blob.size),
            "hostname": hostname,
            "filepath": filepath,
            "status": "uploaded",
        }
    )


@blueprint.get("/get_file/<sha256>")
def get_file(sha256: str) -> Response:
    """What is known of the first file with this digest."""
    return json_response(_record(parts().machines.first(caller(), _digest(sha256))))


def _digest(text: str) -> str:
    if re.fullmatch(DIGEST, text) is None:
        raise BadRequest("A sha256 has 64 hexadecimal digits.")
    return text.lower()


def _record(known: Known) -> dict[str, Any]:
    """A file's members. URLs begin at the drive's own root, to which clients add them."""
    file, blob = known.file, known.blob
    said = {name: getattr(file, name) for name in FileDocument.model_fields}
    return said | {
        "_id": file.id,
        "has_file_content": blob is not None,
        "file_uploaded_at": None if blob is None else stamp(made_at(blob.pk)),
        "storage_path": None if blob is None else f"/v1/content/{quoted(blob.id)}",
        "created_at": stamp(file.created_at),
    }
