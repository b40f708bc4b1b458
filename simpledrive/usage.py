"""How much lies at each backend: counted as it comes and goes, never summed up.

Whoever adds or removes a replica, a blob or a wanted copy says so by `count`; when that is written is
decided here alone.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, func, literal, select, union_all
from sqlalchemy.orm import Session

from simpledrive.backends import Backends
from simpledrive.models import BackendUsage, Blob, DriveRow, Replica, WantedCopy
from simpledrive.rights import Caller
from simpledrive.sql import Database, insert, lastly

SHARDS = 16
COUNTED = "counted"

RANK = 1
"""Behind the accounts of keys (quotas.py): nothing is waited for while one of these rows is held."""


class Counts(NamedTuple):
    """Contents kept at a backend, their bytes, the blobs whose home it is, and copies that it lacks."""

    replicas: int = 0
    bytes: int = 0
    blobs: int = 0
    waiting: int = 0


NONE = Counts()


@dataclass(frozen=True)
class Usage:
    """What lies at a backend; `counts` is None where that is not for this caller to know."""

    backend: str
    kind: str
    counts: Counts | None


class Counters:
    """Tells what lies where."""

    def __init__(self, database: Database, backends: Backends) -> None:
        self._database, self._backends = database, backends

    def usage(self, caller: Caller) -> list[Usage]:
        """What lies at each backend: the configured ones first, default before all. Raises Forbidden.

        Who is confined to a prefix is told no amounts: they would tell what others store, and, by not
        growing, that others have these very bytes already.
        """
        caller.require("read")
        if caller.prefix:
            names = sorted(self._backends, key=lambda name: (name != self._backends.default, name))
            return [Usage(name, self._backends.kind(name), None) for name in names]
        held = self._database.read(_sums)
        gone = sorted(name for name in held if held[name].replicas and name not in self._backends)
        names = sorted([*self._backends, *gone], key=lambda name: name != self._backends.default)
        return [Usage(name, self._backends.kind(name), held.get(name, NONE)) for name in names]


def count(
    session: Session, backend: str, *, replicas: int = 0, size: int = 0, blobs: int = 0, waiting: int = 0
) -> None:
    """Adds to what is known to lie at a backend, in the very last statements of this transaction.

    Last, because everybody writes these few rows: who waited for something else while holding one would
    sooner or later wait for somebody who waits for it.
    """
    counted: dict[str, Counts] | None = session.info.get(COUNTED)
    if counted is None:
        counted = session.info[COUNTED] = {}
        lastly(session, RANK, _write)
    before = counted.get(backend, NONE)
    added = (replicas, size, blobs, waiting)
    counted[backend] = Counts(*(old + new for old, new in zip(before, added, strict=True)))


def _write(session: Session) -> None:
    for backend, counts in sorted(session.info[COUNTED].items()):
        shard = random.randrange(SHARDS)  # noqa: S311 (no secret)
        added = counts._asdict()
        session.execute(
            insert(session, BackendUsage)
            .values({"storage_backend": backend, "shard": shard, **added})
            .on_conflict_do_update(
                index_elements=["storage_backend", "shard"],
                set_={name: getattr(BackendUsage, name) + value for name, value in added.items()},
            )
        )


def _sums(session: Session) -> dict[str, Counts]:
    """By backend, configured or not."""
    sums = [func.sum(getattr(BackendUsage, name)) for name in Counts._fields]
    query = select(BackendUsage.storage_backend, *sums).group_by(BackendUsage.storage_backend)
    return {name: Counts(*map(int, counts)) for name, *counts in session.execute(query).all()}


def missed(session: Session, backend: str) -> Counts | None:
    """What the counters of a backend lack of what is recorded, negative for what they have too much.

    None if they are right. Looks at every record there, in one statement: so it is exact while others write.
    """
    none = literal(0)
    amounts: dict[Any, Sequence[ColumnElement[int]]] = {
        Replica: (func.count(), func.sum(Replica.size), none, none),
        Blob: (none, none, func.count(), none),
        WantedCopy: (none, none, none, func.count()),
        BackendUsage: [-func.sum(getattr(BackendUsage, name)) for name in Counts._fields],
    }
    summed = union_all(
        *(
            select(*(column.label(name) for name, column in zip(Counts._fields, columns, strict=True)))
            .select_from(table)
            .where(table.storage_backend == backend)
            for table, columns in amounts.items()
        )
    ).subquery()
    sums = session.execute(select(*(func.coalesce(func.sum(summed.c[name]), 0) for name in Counts._fields)))
    found = Counts(*map(int, sums.one()))
    return None if found == NONE else found


def recount(session: Session, backend: str) -> Counts | None:
    """Makes the counters of a backend right; by what they were wrong, None if they were not.

    Others may write meanwhile, and recount: of these, one at a time.
    """
    session.execute(select(DriveRow.uuid).with_for_update()).all()
    counts = missed(session, backend)
    if counts is not None:
        replicas, size, blobs, waiting = counts
        count(session, backend, replicas=replicas, size=size, blobs=blobs, waiting=waiting)
    return counts
