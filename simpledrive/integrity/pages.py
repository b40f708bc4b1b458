"""Rows of a query in pages: memory does not grow with their number, and no transaction outlasts a page."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, TypeVar

from sqlalchemy import CompoundSelect, Select, tuple_
from sqlalchemy.orm import Session

from simpledrive.sql import Database

PAGE = 500

T = TypeVar("T")


def paged(database: Database, query: Select[T], *order: Any) -> Iterator[T]:
    """What a query of one entity finds, in the order of these columns, which together are its own alone.

    Rows that come and go meanwhile may be among them or not.
    """
    page = query.order_by(*order).limit(PAGE)
    while found := database.read(partial(rows, page)):
        yield from found
        last = tuple(getattr(found[-1], column.key) for column in order)
        page = query.where(tuple_(*order) > last).order_by(*order).limit(PAGE)


def rows(query: Select[T] | CompoundSelect[T], session: Session) -> list[T]:
    """All that a query of one entity or column finds."""
    return list(session.scalars(query))
