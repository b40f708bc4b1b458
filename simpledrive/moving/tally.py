"""How far a migration has come: counted as its items are settled, never summed up while it runs."""

from __future__ import annotations

from collections import Counter

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from simpledrive.models import ItemState, Migration, MigrationItem
from simpledrive.sql import lastly

TALLIED = "tallied"
COUNTED: frozenset[ItemState] = frozenset({"moved", "failed", "gone", "back", "stays"})

RANK = 2
"""Behind what lies at each backend (usage.py), as every worker writes this one row."""


def add(session: Session, migration: str, state: ItemState, size: int, items: int = 1) -> None:
    """So many items more, of `size` bytes each, are in this state; fewer for a negative number."""
    tallied: Counter[tuple[str, str]] | None = session.info.get(TALLIED)
    if tallied is None:
        tallied = session.info[TALLIED] = Counter()
        lastly(session, RANK, _write)
    if state in COUNTED:
        tallied[migration, state] += items
    if state == "moved":
        tallied[migration, "moved_bytes"] += items * size


def _write(session: Session) -> None:
    tallied: Counter[tuple[str, str]] = session.info[TALLIED]
    for id in sorted({migration for migration, _ in tallied}):
        added = {name: getattr(Migration, name) + n for (of, name), n in tallied.items() if of == id and n}
        if added:
            session.execute(update(Migration).where(Migration.id == id).values(added))


def recount(session: Session, migration: Migration) -> None:
    """Counts all items anew, after others were added. The caller has locked the migration's row."""
    query = (
        select(MigrationItem.state, func.count(), func.coalesce(func.sum(MigrationItem.size), 0))
        .where(MigrationItem.migration == migration.id)
        .group_by(MigrationItem.state)
    )
    found = {state: (int(items), int(size)) for state, items, size in session.execute(query)}
    migration.items = sum(items for items, _ in found.values())
    migration.bytes = sum(size for _, size in found.values())
    migration.moved_bytes = found.get("moved", (0, 0))[1]
    for state in COUNTED:
        setattr(migration, state, found.get(state, (0, 0))[0])
