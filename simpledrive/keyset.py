"""Pages by keyset: ranges of an index, and the cursors that say where a page ended."""

from __future__ import annotations

from base64 import b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Select
from sqlalchemy.orm import InstrumentedAttribute

from simpledrive.errors import Invalid
from simpledrive.ids import after_prefix, flaw
from simpledrive.models import Blob

S = TypeVar("S", bound=Select[Any])
T = TypeVar("T")


def within(query: S, prefix: str, column: InstrumentedAttribute[str] = Blob.id) -> S:
    """Only ids that begin with `prefix`, as a range of an index."""
    return query.where(*begins_with(column, prefix))


def begins_with(column: InstrumentedAttribute[str], prefix: str) -> list[ColumnElement[bool]]:
    """What holds of an id that begins so."""
    if not prefix:
        return []
    end = after_prefix(prefix)
    return [column >= prefix] if end is None else [column >= prefix, column < end]


def cut(found: Sequence[T], limit: int, cursor: Callable[[T], str]) -> tuple[list[T], str | None]:
    """The first `limit` of what was found, and the cursor of the last of them if more was found than these.

    So a query for a page asks for one row more.
    """
    page = list(found[:limit])
    return page, cursor(page[-1]) if len(found) > limit else None


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
        raise no_cursor()
    return last


def no_cursor() -> Invalid:
    """The refusal of a cursor that cannot be read, whatever the page is of."""
    return Invalid(("cursor", "This is not a cursor that a page named."))
