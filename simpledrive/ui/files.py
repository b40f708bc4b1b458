"""/drive/files: a folder and what lies in it."""

from __future__ import annotations

from dataclasses import dataclass

from flask import Blueprint, Response, request, url_for
from werkzeug.exceptions import NotFound

from simpledrive.http.current import caller, parts
from simpledrive.ids import MAX_ID
from simpledrive.listing import Folder
from simpledrive.ui import names, notes
from simpledrive.ui.entries import entries
from simpledrive.ui.marks import Mark, folder_mark
from simpledrive.ui.pages import page, see

blueprint = Blueprint("files", __name__, url_prefix="/files")

PAGE = 200


@dataclass(frozen=True)
class FolderEntry:
    """A folder with what is shown beside it."""

    path: str
    name: str
    mark: Mark


@blueprint.get("/")
def top() -> Response:
    """What lies in no folder."""
    return folder_page("")


@blueprint.get("/<folder:path>")
def show(path: str) -> Response:
    """What lies in a folder. One with nothing in it looks like one that is not there: both can be filled."""
    return folder_page(path)


@blueprint.get("/<id:path>")
def slashless(path: str) -> Response:
    """Who typed a folder's path without its last slash."""
    return see(folder_url(path + "/"))


def folder_page(path: str, **context: object) -> Response:
    """The page of a folder, from the cursor in the query on."""
    if len(path) > MAX_ID:
        raise NotFound  # nothing can be in it, and each slash is a link
    backends = list(parts().backends)
    found = parts().listing.folder(caller(), path, backends, request.args.get("cursor"), PAGE)
    return page(
        "ui/files.html",
        path=path,
        crumbs=names.crumbs(path),
        folders=[_folder_entry(folder) for folder in found.folders],
        files=entries(found.blobs),
        first="cursor" not in request.args,
        following=found.next,
        limit=PAGE,
        backends=backends,
        default=parts().backends.default,
        **context,
    )


def folder_url(path: str, cursor: str | None = None) -> str:
    """The URL of a folder's page, from a cursor on."""
    if not path:
        return url_for("ui.files.top", cursor=cursor)
    return url_for("ui.files.show", path=path, cursor=cursor)


def back(folder: str, note: notes.Note) -> Response:
    """Back to the folder with a note; one too long to be kept for the next page is shown at once."""
    if notes.leave(note):
        return see(folder_url(folder))
    response = folder_page(folder, note=note)
    response.headers["HX-Replace-Url"] = folder_url(folder)
    return response


def _folder_entry(folder: Folder) -> FolderEntry:
    mark = folder_mark(folder.backends, parts().backends.kind)
    return FolderEntry(folder.path, names.crumbs(folder.path)[-1].name, mark)
