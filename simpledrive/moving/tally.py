"""How far a migration has come: counted as its items are settled, never summed up."""

from __future__ import annotations

from collections import Counter

from sqlalchemy import update
from sqlalchemy.orm import Session

from simpledrive.models import Migration
from simpledrive.moving.states import Overtaken, States
from simpledrive.sql import affected, lastly

TALLIED = "tallied"

RANK = 2
"""Behind what lies at each backend (usage.py), as every worker writes this one row."""

Tallied = dict[tuple[str, States], Counter[str]]


def add(session: Session, migration: str, during: States, **counts: int) -> None:
    """Adds to these counts of a migration, in the very last statements of this transaction.

    These raise Overtaken, and nothing of it has happened, if it is in none of the states `during` any more.
    So nobody who was late changes anything behind somebody who has gone on from there.
    """
    tallied: Tallied | None = session.info.get(TALLIED)
    if tallied is None:
        tallied = session.info[TALLIED] = {}
        lastly(session, RANK, _write)
    tallied.setdefault((migration, during), Counter()).update(counts)


def _write(session: Session) -> None:
    tallied: Tallied = session.info[TALLIED]
    for (id, during), counts in sorted(tallied.items()):
        added = {name: getattr(Migration, name) + n for name, n in counts.items()}
        there = (Migration.id == id, Migration.state.in_(during))
        if any(counts.values()) and not affected(session, update(Migration).where(*there).values(added)):
            raise Overtaken("The migration is in another state by now.")
