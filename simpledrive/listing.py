"""Listing blobs, by keyset: a page's cost does not grow with the drive or with the page's number.

A listing is stable while blobs come and go: what is there throughout is seen exactly once. A page that is
not the last names a cursor, with which the next one is asked for; nobody else needs to know what is in it.
"""

from __future__ import annotations

from base64 import b64decode, urlsafe_b64encode
from dataclasses import dataclass

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from simpledrive.errors import Invalid
from simpledrive.ids import after_prefix, flaw, unprintable
from simpledrive.models import Blob
from simpledrive.rights import Caller
from simpledrive.sql import Database


@dataclass(frozen=True)
class Page:
    """Some blobs in order of their ids; `next` is the cursor to go on with, None at the end."""

    blobs: list[Blob]
    next: str | None


@dataclass(frozen=True)
class Folder:
    """A folder directly inside another: its path, ending with a slash, and the backends with files below."""

    path: str
    backends: list[str]


@dataclass(frozen=True)
class FolderPage:
    """Some of what lies directly in a folder: folders first, then blobs. `next` as in Page."""

    folders: list[Folder]
    blobs: list[Blob]
    next: str | None


class Listing:
    """Pages of blobs, as far as a caller may see them.

    Both calls raise Forbidden, and Invalid for a cursor that no page named. What can begin no id (a control
    character) finds nothing; PostgreSQL could not even be asked for it.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def page(self, caller: Caller, prefix: str = "", cursor: str | None = None, limit: int = 100) -> Page:
        """Up to `limit` blobs whose id begins with `prefix`, from the cursor on."""
        caller.require("read")
        after = _behind(cursor)
        start = prefix if len(prefix) > len(caller.prefix) else caller.prefix
        if not (start.startswith(prefix) and start.startswith(caller.prefix)) or unprintable(prefix):
            return Page([], None)
        query = _within(select(Blob), start)
        if after is not None:
            query = query.where(Blob.id > after)
        query = query.order_by(Blob.id).limit(limit + 1)
        blobs = list(self._database.read(lambda session: session.scalars(query).all()))
        return Page(blobs[:limit], _cursor(blobs[limit - 1].id) if len(blobs) > limit else None)

    def folder(
        self, caller: Caller, path: str, backends: list[str], cursor: str | None = None, limit: int = 100
    ) -> FolderPage:
        """Up to `limit` entries directly in the folder `path` ("" or ending with a slash).

        `backends` are those looked for below each folder.
        """
        caller.require("read")
        after = _behind(cursor)
        if unprintable(path):
            return FolderPage([], [], None)

        def work(session: Session) -> FolderPage:
            folders: list[Folder] = []
            blobs: list[Blob] = []
            among_blobs = after is not None and not _deeper(after, path)
            if not among_blobs:
                folders = _subfolders(session, caller, path, backends, after, limit + 1)
                if len(folders) > limit:
                    return FolderPage(folders[:limit], [], _cursor(folders[limit - 1].path))
            query = _within(select(Blob).where(Blob.folder == path), caller.prefix)
            if among_blobs:
                query = query.where(Blob.id > after)
            room = limit - len(folders)
            blobs = list(session.scalars(query.order_by(Blob.id).limit(room + 1)))
            if len(blobs) <= room:
                return FolderPage(folders, blobs, None)
            last = blobs[room - 1].id if room else folders[-1].path
            return FolderPage(folders, blobs[:room], _cursor(last))

        return self._database.read(work)


def _within(query: Select[Blob], prefix: str) -> Select[Blob]:
    """Only ids that begin with `prefix`, as a range of the index on ids."""
    if not prefix:
        return query
    end = after_prefix(prefix)
    query = query.where(Blob.id >= prefix)
    return query.where(Blob.id < end) if end is not None else query


def _cursor(last: str) -> str:
    """What stands for the last entry of a page in a URL: the id of a blob, or the path of a folder."""
    return urlsafe_b64encode(last.encode()).decode()


def _behind(cursor: str | None) -> str | None:
    """What a cursor names, to go on behind; None for none. Raises Invalid."""
    if not cursor:
        return None
    try:
        last = b64decode(cursor, altchars=b"-_", validate=True).decode()
    except ValueError:
        last = ""
    # A folder's path is the beginning of an id, so it has no flaw either.
    if flaw(last) is not None:
        raise Invalid(("cursor", "This is not a cursor that a page named."))
    return last


def _deeper(last: str, path: str) -> bool:
    """Whether this is a folder inside `path`, and not a blob directly in it."""
    return last.endswith("/") and len(last) > len(path)


def _subfolders(
    session: Session, caller: Caller, path: str, backends: list[str], after: str | None, limit: int
) -> list[Folder]:
    """Jumps through the index on folders from one to the next: one look-up each, whatever lies in them."""
    found: list[Folder] = []
    start = path if after is None else after_prefix(after)
    end = after_prefix(path) if path else None
    while len(found) < limit and start is not None:
        query = select(func.min(Blob.folder)).where(Blob.folder > path, Blob.folder >= start)
        if end is not None:
            query = query.where(Blob.folder < end)
        deep = session.scalar(query)
        if deep is None:
            break
        child = path + deep[len(path) :].partition("/")[0] + "/"
        if child.startswith(caller.prefix) or caller.prefix.startswith(child):
            found.append(Folder(child, _backends_below(session, child, backends)))
        start = after_prefix(child)
    return found


def _backends_below(session: Session, path: str, backends: list[str]) -> list[str]:
    def holds(name: str) -> bool:
        query = _within(select(Blob).where(Blob.storage_backend == name), path)
        return session.scalars(query.limit(1)).first() is not None

    return [name for name in backends if holds(name)]
