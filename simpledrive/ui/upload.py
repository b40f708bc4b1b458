"""/drive/upload: files from a form. Each one's outcome is told, file by file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from flask import Blueprint, Response, make_response, render_template, request
from werkzeug.datastructures import FileStorage

from simpledrive.descriptions import DEFAULT_TYPE
from simpledrive.drive import NewBlob
from simpledrive.errors import BlobExists, DriveError, Invalid, RequestError
from simpledrive.http.current import caller, parts
from simpledrive.http.form_files import FormFile
from simpledrive.http.problems import detail, headers, note, problem_of
from simpledrive.models import Blob
from simpledrive.ui import names, notes
from simpledrive.ui.amounts import count
from simpledrive.ui.entries import entries
from simpledrive.ui.files import back, folder_page
from simpledrive.ui.pages import is_fragment

blueprint = Blueprint("upload", __name__)


@dataclass(frozen=True)
class Arrival:
    """What became of one file: stored as `blob`, or not, by an `error`; `there` is what had its name."""

    name: str
    blob: Blob | None = None
    error: DriveError | None = None
    there: Blob | None = None

    @property
    def why(self) -> str:
        """A sentence for the tray. Field names mean nothing to somebody who chose a file."""
        if isinstance(self.error, Invalid):
            return " ".join(message for _, message in self.error.problems)
        return detail(self.error) if self.error is not None else ""


@blueprint.post("/upload")
def upload() -> Response:
    """Stores each file of the form; one that fails keeps no other from being stored.

    All stored: go and look. Otherwise the folder's page says of each what became of it. Scripts that send
    one file at a time get its line for the tray.
    """
    folder = names.folder(request.form.get("folder", ""))
    backend = request.form.get("storage_backend") or None
    # A form without a choice still sends one nameless file.
    arrivals = [_keep(file, folder, backend) for file in request.files.getlist("file") if file.filename]
    failed = next((arrival.error for arrival in arrivals if arrival.error is not None), None)
    if failed is None and not is_fragment():
        return back(folder, _note(arrivals))
    stored = {entry.blob.id: entry for entry in entries([a.blob for a in arrivals if a.blob is not None])}
    if is_fragment():
        response = make_response(render_template("ui/arrivals.html", arrivals=arrivals, stored=stored))
    else:
        response = folder_page(folder, arrivals=arrivals, stored=stored)
    response.status_code = 201 if failed is None else problem_of(failed).status
    response.headers.extend({} if failed is None else headers(failed))
    return response


def _keep(file: FileStorage, folder: str, backend: str | None) -> Arrival:
    id = names.arriving(folder, file.filename or "")
    name = id.removeprefix(folder)
    if not name:
        nameless = Invalid(("file", "This is not a name that a file can have."))
        return Arrival(file.filename or "", error=nameless)
    new = NewBlob(id=id, content_type=_content_type(file), storage_backend=backend)
    try:
        with cast(FormFile, file.stream).finish() as staged:
            blob, _ = parts().drive.store(caller(), staged, new)
    except DriveError as error:
        note(error)
        return Arrival(name, error=error, there=_there(error, id))
    return Arrival(name, blob)


def _content_type(file: FileStorage) -> str | None:
    """What the browser says, unless it only says that it does not know."""
    return None if file.mimetype in ("", DEFAULT_TYPE) else file.mimetype


def _there(error: DriveError, id: str) -> Blob | None:
    if not isinstance(error, BlobExists):
        return None
    try:
        return parts().drive.describe(caller(), id)
    except RequestError:
        return None


def _note(arrivals: list[Arrival]) -> notes.Note:
    if not arrivals:
        return notes.Note("No file was chosen, so nothing was stored.")
    homes = sorted({arrival.blob.storage_backend for arrival in arrivals if arrival.blob})
    files = arrivals[0].name if len(arrivals) == 1 else count(len(arrivals), "file")
    return notes.Note(f"Stored {files} on {', '.join(homes)}.")
