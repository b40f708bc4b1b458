"""Ranges of ids, and the cursors that say where a page ended."""

from __future__ import annotations

from base64 import b64decode, urlsafe_b64encode
from typing import Any, TypeVar

from sqlalchemy import Select
from sqlalchemy.orm import InstrumentedAttribute

from simpledrive.errors import Invalid
from simpledrive.ids import after_prefix, flaw
from simpledrive.models import Blob

S = TypeVar("S", bound=Select[Any])


def within(query: S, prefix: str, column: InstrumentedAttribute[str] = Blob.id) -> S:
    """Only ids that begin with `prefix`, as a range of the index on ids."""
    if not prefix:
        return query
    end = after_prefix(prefix)
    query = query.where(column >= prefix)
    return query.where(column < end) if end is not None else query


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
