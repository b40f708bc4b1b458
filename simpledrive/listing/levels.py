"""One level of a listing: blobs, and the folders in which what lies deeper is gathered."""

from __future__ import annotations

from dataclasses import dataclass, field

from sqlalchemy import ColumnElement, Select, false
from sqlalchemy.orm import Session

from simpledrive.ids import after_prefix
from simpledrive.keyset import cursor_at
from simpledrive.models import Blob

DELIMITER = "/"

FEW = 2
"""How many rows are fetched behind a folder: often the next one is a folder too. Otherwise more and more."""


@dataclass(frozen=True)
class Page:
    """Some blobs in order of their ids; `next` is the cursor to go on with, None at the end.

    `prefixes` are the folders in which further blobs lie, when the listing goes no deeper.
    """

    blobs: list[Blob]
    next: str | None
    prefixes: list[str] = field(default_factory=list)


def level(session: Session, query: Select[Blob], prefix: str, after: str | None, limit: int) -> Page:
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
