"""What the JSON face reads from a URL's query: pages, filters, switches. Raises Invalid with every fault."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeVar, cast, get_args

from werkzeug.datastructures import MultiDict

from simpledrive.errors import Invalid
from simpledrive.listing import DELIMITER, Filter
from simpledrive.models import ItemState

T = TypeVar("T")

Query = MultiDict[str, str]

ITEM_STATES: tuple[str, ...] = get_args(ItemState)

MAX_PAGE = 1000
DEFAULT_PAGE = 100


def limit(query: Query) -> int:
    """How many entries a page is to have."""
    found = _read(query, "limit", _number, DEFAULT_PAGE)
    if not 1 <= found <= MAX_PAGE:
        raise Invalid(("limit", f"A page has 1 to {MAX_PAGE} entries."))
    return found


def switch(query: Query, name: str, default: bool) -> bool:
    """A yes or no."""
    return _read(query, name, _switch, default)


def item_state(query: Query) -> ItemState | None:
    """A state of a migration's items."""
    return _read(query, "state", _item_state, None)


def version(query: Query) -> int | None:
    """A version's number."""
    return _read(query, "version", _number, None)


def filter_of(query: Query) -> Filter:
    """Which blobs are wanted."""
    readers: dict[str, Callable[[str], object]] = {
        "prefix": str,
        "q": str,
        "storage_backend": str,
        "content_type": str,
        "sha256": str,
        "min_size": _number,
        "max_size": _number,
        "created_after": _moment,
        "created_before": _moment,
    }
    problems: list[tuple[str, str]] = []
    given: dict[str, object] = {}
    for name, read in readers.items():
        if query.get(name, "") != "":
            try:
                given[name] = read(query[name])
            except ValueError as error:
                problems.append((name, str(error)))
    if problems:
        raise Invalid(*problems)
    return Filter(**given)  # type: ignore[arg-type]


def is_delimited(query: Query) -> bool:
    """Whether the listing goes no deeper than the next slash. There is no other delimiter."""
    delimiter = query.get("delimiter", "")
    if delimiter not in ("", DELIMITER):
        raise Invalid(("delimiter", f"The only delimiter is {DELIMITER}."))
    return bool(delimiter)


def _read(query: Query, name: str, read: Callable[[str], T], default: T) -> T:
    text = query.get(name, "")
    if text == "":
        return default
    try:
        return read(text)
    except ValueError as error:
        raise Invalid((name, str(error))) from None


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise ValueError("This is not a whole number.")
    return int(text)


def _switch(text: str) -> bool:
    words = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    if text.lower() not in words:
        raise ValueError("This is neither true nor false.")
    return words[text.lower()]


def _item_state(text: str) -> ItemState:
    if text not in ITEM_STATES:
        raise ValueError(f"This is none of {', '.join(ITEM_STATES)}.")
    return cast(ItemState, text)


def _moment(text: str) -> datetime:
    try:
        # A bare + in a query is a space.
        found = datetime.fromisoformat(text.replace(" ", "+") if text.count(":") > 2 else text)
        return (found if found.tzinfo is not None else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("This is not a time such as 2026-01-22T21:37:55Z.") from None
