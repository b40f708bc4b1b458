"""Which blobs a listing is to show."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, false, func, or_
from sqlalchemy.orm import InstrumentedAttribute

from simpledrive.descriptions import type_wanted
from simpledrive.ids import unprintable
from simpledrive.models import Blob


@dataclass(frozen=True)
class Filter:
    """Which blobs are wanted; what is None or empty does not matter.

    `q` is contained in the id or the file name, whatever the case of its letters; `content_type` is a media
    type without parameters, or the first half of one and a slash (`image/`, `image/*`); sizes are in bytes,
    both ends included; `created_after` and `created_before` are not.
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
            found.append(is_of_type(Blob.content_type, self.content_type))
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


def is_of_type(column: InstrumentedAttribute[str], wanted: str) -> ColumnElement[bool]:
    """Whether a stored media type is the one that is wanted: what descriptions.is_of_type says, in SQL."""
    stored, found = func.lower(column), type_wanted(wanted)
    if found is None:
        return false()
    if found.endswith("/"):
        return stored.startswith(found, autoescape=True)
    # A space too, which may stand before the semicolon and nowhere else.
    ends = (stored.startswith(found + end, autoescape=True) for end in "; ")
    return or_(stored == found, *ends)
