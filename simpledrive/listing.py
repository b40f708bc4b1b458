"""Listing blobs, by keyset: a page's cost does not grow with the drive or with the page's number.

A listing is stable while blobs come and go: what is there throughout is seen exactly once. A page that is
not the last names a cursor, with which the next one is asked for; nobody else needs to know what is in it.
"""

from __future__ import annotations

from base64 import b64decode, urlsafe_b64encode
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Select, false, func, or_, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from simpledrive.errors import Invalid
from simpledrive.ids import after_prefix, flaw, folder_of, unprintable
from simpledrive.models import Blob
from simpledrive.rights import Caller
from simpledrive.sql import Database

S = TypeVar("S", bound=Select[Any])

DELIMITER = "/"
FEW = 2
"""How many rows are fetched behind a folder: often the next one is a folder too. Otherwise more and more."""


@dataclass(frozen=True)
class Filter:
    """Which blobs are wanted; what is None or empty does not matter.

    `q` is contained in the id or the file name, whatever the case of its letters; `content_type` is a media
    type without parameters, or the first half of one and a slash (`image/`); sizes are in bytes, both ends
    included; `created_after` and `created_before` are not.
    """

    prefix: str = ""
    q: str = ""
    storage_backend: str | None = None
    content_type: str | None = None
    sha256: str | None = None
    min_size: int | None = None
    max_size: int | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        """What a blob must be, beside its prefix."""
        found: list[ColumnElement[bool]] = []
        if self.q:
            wanted = self.q.lower()
            names = (func.lower(Blob.id), func.lower(Blob.filename))
            found.append(or_(*(name.contains(wanted, autoescape=True) for name in names)))
        if self.storage_backend is not None:
            found.append(Blob.storage_backend == self.storage_backend)
        if self.content_type is not None:
            found.append(_is_of_type(self.content_type.lower()))
        if self.sha256 is not None:
            found.append(Blob.sha256 == self.sha256.lower())
        if self.min_size is not None:
            found.append(Blob.size >= self.min_size)
        if self.max_size is not None:
            found.append(Blob.size <= self.max_size)
        if self.created_after is not None:
            found.append(Blob.created_at > self.created_after)
        if self.created_before is not None:
            found.append(Blob.created_at < self.created_before)
        return found

    def finds_nothing(self) -> bool:
        """Whether it asks for what no blob has: PostgreSQL could not even be asked for a U+0000."""
        texts = (self.prefix, self.q, self.storage_backend, self.content_type, self.sha256)
        return any(unprintable(text) is not None for text in texts if text)


EVERYTHING = Filter()


@dataclass(frozen=True)
class Page:
    """Some blobs in order of their ids; `next` is the cursor to go on with, None at the end.

    `prefixes` are the folders in which further blobs lie, when the listing goes no deeper.
    """

    blobs: list[Blob]
    next: str | None
    prefixes: list[str] = field(default_factory=list)


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

    All calls raise Forbidden, and Invalid for a cursor that no page named. What can begin no id (a control
    character) finds nothing.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def page(
        self, caller: Caller, wanted: Filter = EVERYTHING, cursor: str | None = None, limit: int = 100
    ) -> Page:
        """Up to `limit` of the wanted blobs, from the cursor on."""
        caller.require("read")
        after = behind(cursor)
        if wanted.finds_nothing():
            return Page([], None)
        query = _wanted(caller, wanted)
        if after is not None:
            query = query.where(Blob.id > after)
        query = query.limit(limit + 1)
        blobs = list(self._database.read(lambda session: session.scalars(query).all()))
        return Page(blobs[:limit], cursor_at(blobs[limit - 1].id) if len(blobs) > limit else None)

    def level(
        self, caller: Caller, wanted: Filter = EVERYTHING, cursor: str | None = None, limit: int = 100
    ) -> Page:
        """As `page`, but what lies deeper than the next slash behind the prefix is one entry of `prefixes`.

        `limit` counts blobs and prefixes together, in the order of both.
        """
        caller.require("read")
        after = behind(cursor)
        if wanted.finds_nothing():
            return Page([], None)
        query = _wanted(caller, wanted)
        return self._database.read(lambda session: _level(session, query, wanted.prefix, after, limit))

    def folder(
        self, caller: Caller, path: str, backends: list[str], cursor: str | None = None, limit: int = 100
    ) -> FolderPage:
        """Up to `limit` entries directly in the folder `path` ("" or ending with a slash).

        `backends` are those looked for below each folder.
        """
        caller.require("read")
        after = behind(cursor)
        if unprintable(path):
            return FolderPage([], [], None)

        def work(session: Session) -> FolderPage:
            folders: list[Folder] = []
            blobs: list[Blob] = []
            among_blobs = after is not None and not _deeper(after, path)
            if not among_blobs:
                folders = _subfolders(session, caller, path, backends, after, limit + 1)
                if len(folders) > limit:
                    return FolderPage(folders[:limit], [], cursor_at(folders[limit - 1].path))
            query = within(select(Blob).where(Blob.folder == path), caller.prefix)
            if among_blobs:
                query = query.where(Blob.id > after)
            room = limit - len(folders)
            blobs = list(session.scalars(query.order_by(Blob.id).limit(room + 1)))
            if len(blobs) <= room:
                return FolderPage(folders, blobs, None)
            last = blobs[room - 1].id if room else folders[-1].path
            return FolderPage(folders, blobs[:room], cursor_at(last))

        return self._database.read(work)


def _wanted(caller: Caller, wanted: Filter) -> Select[Blob]:
    """The wanted blobs that the caller may see, in order of their ids."""
    query = within(within(select(Blob), caller.prefix), wanted.prefix)
    return query.where(*wanted.conditions()).order_by(Blob.id)


def _is_of_type(wanted: str) -> ColumnElement[bool]:
    stored = func.lower(Blob.content_type)
    if wanted.endswith("/"):
        return stored.startswith(wanted, autoescape=True)
    return or_(stored == wanted, stored.startswith(wanted + ";", autoescape=True))


def within(query: S, prefix: str, column: InstrumentedAttribute[str] = Blob.id) -> S:
    """Only ids that begin with `prefix`, as a range of the index on ids."""
    if not prefix:
        return query
    end = after_prefix(prefix)
    query = query.where(column >= prefix)
    return query.where(column < end) if end is not None else query


def _level(session: Session, query: Select[Blob], prefix: str, after: str | None, limit: int) -> Page:
    """Goes through the ids in order, and behind each folder that it meets: one look-up a folder."""
    blobs: list[Blob] = []
    prefixes: list[str] = []
    last = after or ""
    following = _behind_entry(last, prefix)
    batch = limit + 1
    while rows := session.scalars(query.where(following).limit(batch)).all():
        batch = min(2 * batch, limit + 1)
        for blob in rows:
            if len(blobs) + len(prefixes) == limit:
                return Page(blobs, cursor_at(last), prefixes)
            folder = _folder_in(blob.id, prefix)
            last = folder or blob.id
            following = _behind_entry(last, prefix)
            if folder is not None:
                prefixes.append(folder)
                batch = FEW
                break
            blobs.append(blob)
    return Page(blobs, None, prefixes)


def _behind_entry(entry: str, prefix: str) -> ColumnElement[bool]:
    """What sorts behind an entry of a level: behind a blob, or behind all that lies in a folder."""
    if not entry or _folder_in(entry, prefix) != entry:
        return Blob.id > entry
    start = after_prefix(entry)
    return false() if start is None else Blob.id >= start


def _folder_in(id: str, prefix: str) -> str | None:
    """The folder right behind the prefix in which an id lies; None if it lies in no deeper one."""
    name, slash, _ = id[len(prefix) :].partition(DELIMITER)
    return prefix + name + slash if slash else None


def cursor_at(last: str) -> str:
    """What stands for the last entry of a page in a URL: the id of a blob, or the path of a folder."""
    return urlsafe_b64encode(last.encode()).decode()


def behind(cursor: str | None) -> str | None:
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
    down = folder_of(caller.prefix)
    if down.startswith(path) and down != path:
        return _way_down(session, caller.prefix, path, backends) if after is None else []
    found: list[Folder] = []
    start = path if after is None else after_prefix(after)
    end = after_prefix(path) if path else None
    while len(found) < limit and start is not None:
        query = select(func.min(Blob.folder)).where(Blob.folder > path, Blob.folder >= start)
        query = within(query, caller.prefix, Blob.folder)
        if end is not None:
            query = query.where(Blob.folder < end)
        deep = session.scalar(query)
        if deep is None:
            break
        child = path + deep[len(path) :].partition("/")[0] + "/"
        found.append(Folder(child, _backends_below(session, child, backends)))
        start = after_prefix(child)
    return found


def _way_down(session: Session, prefix: str, path: str, backends: list[str]) -> list[Folder]:
    """The one folder in `path` that leads to what begins with the prefix. Nothing else is looked at."""
    holding = _backends_below(session, prefix, backends)
    found = within(select(Blob), prefix).limit(1)
    if not holding and session.scalars(found).first() is None:
        return []
    return [Folder(path + prefix[len(path) :].partition("/")[0] + "/", holding)]


def _backends_below(session: Session, path: str, backends: list[str]) -> list[str]:
    def holds(name: str) -> bool:
        query = within(select(Blob).where(Blob.storage_backend == name), path)
        return session.scalars(query.limit(1)).first() is not None

    return [name for name in backends if holds(name)]
