"""/drive/files: a folder and what lies in it."""

from __future__ import annotations

from base64 import b64decode, urlsafe_b64encode
from dataclasses import dataclass

from flask import Blueprint, Response, request, url_for

from simpledrive.errors import Invalid
from simpledrive.http.current import caller, parts
from simpledrive.listing import Folder
from simpledrive.ui import names
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
    backends = list(parts().backends)
    found = parts().listing.folder(caller(), path, backends, _after(), PAGE)
    return page(
        "ui/files.html",
        path=path,
        crumbs=names.crumbs(path),
        folders=[_folder_entry(folder) for folder in found.folders],
        files=entries(found.blobs),
        first="after" not in request.args,
        following=_cursor(found.next),
        limit=PAGE,
        backends=backends,
        default=parts().backends.default,
        **context,
    )


def folder_url(path: str, after: str | None = None) -> str:
    """The URL of a folder's page, from a cursor on."""
    return url_for("ui.files.show", path=path, after=after) if path else url_for("ui.files.top", after=after)


def _folder_entry(folder: Folder) -> FolderEntry:
    mark = folder_mark(folder.backends, parts().backends.kind)
    return FolderEntry(folder.path, names.crumbs(folder.path)[-1].name, mark)


def _cursor(following: str | None) -> str | None:
    return None if following is None else urlsafe_b64encode(following.encode()).decode().rstrip("=")


def _after() -> str | None:
    cursor = request.args.get("after")
    if cursor is None:
        return None
    try:
        return b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
    except ValueError as error:
        raise Invalid(("after", "This is not where a page of this drive ended.")) from error
