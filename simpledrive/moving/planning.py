"""What a migration is to move: looked up in batches while people go on writing, and written down."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

from sqlalchemy import Select, or_, select, tuple_
from sqlalchemy.orm import Session

from simpledrive.errors import Invalid
from simpledrive.models import MigrationItem, now
from simpledrive.moving.selection import Selection, Table
from simpledrive.sql import Database, insert

BATCH = 500
FIRST = 10
"""How many of the ids a plan names."""


@dataclass(frozen=True)
class Match:
    """A record that is to be moved."""

    id: str
    version: int
    pk: UUID
    sha256: str
    size: int


@dataclass
class Plan:
    """What matched: how many records, their bytes, the first ids, and a hash of all of it.

    Whoever is shown the same hash again knows that exactly the same would move.
    """

    items: int = 0
    bytes: int = 0
    first: list[str] = field(default_factory=list)
    _hash: Any = field(default_factory=hashlib.sha256, repr=False)

    @property
    def hash(self) -> str:
        return str(self._hash.hexdigest())[:16]

    def require(self, wanted: str | None) -> None:
        """Returns if this is the plan of that hash, or any will do. Raises Invalid."""
        if wanted and wanted != self.hash:
            raise Invalid(("plan", f"What matches has changed since: its plan is {self.hash} now."))

    def add(self, matches: Sequence[Match]) -> None:
        self.items += len(matches)
        self.bytes += sum(match.size for match in matches)
        self.first += [match.id for match in matches[: FIRST - len(self.first)]]
        for match in matches:
            self._hash.update(f"{match.id}\0{match.version}\0{match.sha256}\n".encode())


def matches(database: Database, source: str, selection: Selection) -> Iterator[list[Match]]:
    """The records at home at `source` that are selected, in batches: first the blobs, each table by id.

    What comes and goes meanwhile may be among them or not.
    """
    present, left = now(), selection.limit
    for table in selection.tables:
        query = _selected(table, source, selection, present)
        while left is None or left > 0:
            page = query.limit(BATCH if left is None else min(BATCH, left))
            found = database.read(partial(_page, page))
            if not found:
                break
            yield found
            left = left if left is None else left - len(found)
            last = found[-1]
            behind = tuple_(table.id, table.version, table.pk) > (last.id, last.version, last.pk)
            query = _selected(table, source, selection, present).where(behind)


def add_items(session: Session, migration: str, found: Sequence[Match]) -> None:
    """Writes down what is to move. What was written down before and has not moved is to be tried again."""
    rows = [
        {
            "migration": migration,
            "sha256": match.sha256,
            "record": match.pk,
            "blob_id": match.id,
            "version": match.version,
            "size": match.size,
            "state": "pending",
            "why": "",
        }
        for match in found
    ]
    statement = insert(session, MigrationItem)
    again = statement.on_conflict_do_update(
        index_elements=["migration", "sha256", "record"],
        set_={"state": "pending", "why": ""},
        where=or_(MigrationItem.state == "failed", MigrationItem.state == "gone"),
    )
    session.execute(again, rows)


def _selected(table: Table, source: str, selection: Selection, present: datetime) -> Select[Any]:
    columns: list[Any] = [table.id, table.version, table.pk, table.sha256, table.size]
    query = select(*columns).where(table.storage_backend == source)
    return selection.applied(query, table, present).order_by(table.id, table.version, table.pk)


def _page(query: Select[Any], session: Session) -> list[Match]:
    return [Match(*row) for row in session.execute(query)]
