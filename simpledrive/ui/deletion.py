"""/drive/delete and /drive/restore: into the trash after a question, and back at once."""

from __future__ import annotations

from collections.abc import Callable

from flask import Blueprint, Response, request

from simpledrive.errors import BlobNotFound, DriveError, Invalid
from simpledrive.http.current import caller, parts
from simpledrive.ids import MAX_ID, folder_of
from simpledrive.models import Blob
from simpledrive.ui import names, notes
from simpledrive.ui.amounts import count
from simpledrive.ui.entries import entries
from simpledrive.ui.files import back, folder_url
from simpledrive.ui.pages import page

blueprint = Blueprint("deletion", __name__)

MOST = 1000


@blueprint.post("/delete")
def delete() -> Response:
    """Asks about the ticked files; when that was confirmed, deletes them and offers to undo it."""
    caller().require("delete")
    ids = _ids()
    folder = folder_of(ids[0]) if ids else request.form.get("folder", "")
    if not ids:
        return back(folder, notes.Note("Nothing was ticked, so nothing was deleted."))
    if "confirmed" not in request.form:
        return page(
            "ui/delete.html",
            files=entries(_described(ids)),
            folder=folder,
            crumbs=names.crumbs(folder),
            back=folder_url(folder),
            days=parts().settings.history_days,
        )
    done, but = _each(ids, lambda id: parts().drive.delete(caller(), id))
    return back(folder, notes.Note(_said("Deleted", done), but, undo=done))


@blueprint.post("/restore")
def restore() -> Response:
    """Undoes the last deletion of each id."""
    ids = _ids()
    folder = folder_of(ids[0]) if ids else ""
    done, but = _each(ids, lambda id: parts().drive.restore(caller(), id))
    return back(folder, notes.Note(_said("Brought back", done), but))


def _ids() -> list[str]:
    """Each id once, in the order of the page."""
    ids = list(dict.fromkeys(request.form.getlist("id")))
    if len(ids) > MOST or any(len(id) > MAX_ID for id in ids):
        raise Invalid(("id", f"At most {MOST} files go into the trash or back at once."))
    return ids


def _described(ids: list[str]) -> list[Blob]:
    """The blobs that are still there."""
    found = []
    for id in ids:
        try:
            found.append(parts().drive.describe(caller(), id))
        except BlobNotFound:
            continue
    return found


def _each(ids: list[str], act: Callable[[str], object]) -> tuple[list[str], list[str]]:
    """The ids for which it worked, and for the others a sentence why not."""
    done, but = [], []
    for id in ids:
        try:
            act(id)
            done.append(id)
        except DriveError as error:
            but.append(f"{names.shown(id)}: {error}")
    return done, but


def _said(act: str, done: list[str]) -> str:
    return f"{act} {names.shown(done[0]) if len(done) == 1 else count(len(done), 'file')}."
