"""Going back to what a migration left at its source, without copying a byte; and giving that up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial

from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from simpledrive.backends import Backends
from simpledrive.errors import ObjectMissing, StorageError
from simpledrive.models import Migration, MigrationItem, Replica, now
from simpledrive.moving.flow import Flow
from simpledrive.moving.running import Outcome
from simpledrive.moving.switching import switch_homes
from simpledrive.moving.tally import add
from simpledrive.replicas import Replicas, lock, release
from simpledrive.sql import Database

BATCH = 200
LOOK = 0.5
"""Seconds between looks whether workers have finished what they had begun."""

GONE = "It was deleted, replaced for good or moved on meanwhile."


class Return:
    """Switches the homes of what has moved back to the source, as far as its bytes are still there."""

    def __init__(
        self, database: Database, backends: Backends, replicas: Replicas, migration: Migration, flow: Flow
    ) -> None:
        self._database, self._backends, self._replicas = database, backends, replicas
        self._migration, self._flow = migration, flow

    def outcomes(self) -> Iterator[Outcome]:
        """Tells of each content: `back`, or `stays` and why. May be interrupted and gone on with.

        Raises Stopped when its flow is.
        """
        while self._database.read(self._is_worked_at):
            self._flow.wait(LOOK)
        while items := self._database.read(self._moved):
            self._flow.wait(0)
            reasons = {item.sha256: self._reason(item) for item in items}
            yield from self._database.write(partial(self._switch, items, reasons))

    def _is_worked_at(self, session: Session) -> bool:
        leased = exists().where(
            MigrationItem.migration == self._migration.id,
            MigrationItem.state == "pending",
            MigrationItem.leased_until > now(),
        )
        return bool(session.scalar(select(leased)))

    def _moved(self, session: Session) -> list[MigrationItem]:
        query = select(MigrationItem).where(
            MigrationItem.migration == self._migration.id, MigrationItem.state == "moved"
        )
        in_order = query.order_by(MigrationItem.sha256, MigrationItem.record)
        return list(session.scalars(in_order.limit(BATCH)))

    def _reason(self, item: MigrationItem) -> str:
        """Why the bytes at the source are not to be gone back to; "" if they are."""
        source = self._migration.source
        replica = self._database.read(lambda session: session.get(Replica, (item.sha256, source)))
        if replica is None:
            return f"Its copy at {source} was swept."
        if replica.bad_at is not None:
            return f"Its copy at {source} is marked bad."
        try:
            size = self._backends.use(source).size(replica.storage_key)
        except ObjectMissing:
            return f"Its copy at {source} is gone."
        except StorageError as error:
            return str(error)
        return "" if size == replica.size else f"Its copy at {source} has another size."

    def _switch(
        self, items: Sequence[MigrationItem], reasons: dict[str, str], session: Session
    ) -> list[Outcome]:
        """One transaction. May run twice: what it has settled is no longer `moved`."""
        source, target = self._migration.source, self._migration.target
        kept = {row.sha256: row for row in lock(session, list(reasons)) if row.storage_backend == source}
        query = select(MigrationItem).where(
            MigrationItem.migration == self._migration.id,
            MigrationItem.sha256.in_(reasons),
            MigrationItem.record.in_([item.record for item in items]),
        )
        in_order = query.order_by(MigrationItem.sha256, MigrationItem.record)
        rows = session.scalars(in_order.with_for_update()).all()
        can = [row for row in rows if row.state == "moved" and row.sha256 in kept and not reasons[row.sha256]]
        back = switch_homes(session, [row.record for row in can], target, source)
        for row in rows:
            if row.state == "moved":
                add(session, row.migration, "moved", row.size, items=-1)
                row.state = "back" if row.record in back else "stays"
                row.why = "" if row.record in back else reasons[row.sha256] or GONE
                add(session, row.migration, row.state, row.size)
        for sha256 in sorted({row.sha256 for row in can if row.record in back}):
            kept[sha256].retired_at = None
            release(session, sha256, target)
            self._replicas.mirrors.want(session, sha256, source)
        found = Counter((row.sha256, row.size, row.state, row.why) for row in rows)
        return [
            Outcome(sha256, size, state, records, why)
            for (sha256, size, state, why), records in found.items()
        ]


def let_go(database: Database, migration: Migration, flow: Flow) -> None:
    """What is kept at the source for this migration is needed no longer. Raises Stopped; may be repeated."""
    after = ""
    while digests := database.read(partial(_digests, migration=migration, after=after)):
        flow.wait(0)
        database.write(partial(_let_go, migration=migration, digests=digests))
        after = digests[-1]


def _digests(session: Session, *, migration: Migration, after: str) -> list[str]:
    query = select(MigrationItem.sha256).where(
        MigrationItem.migration == migration.id,
        MigrationItem.state == "moved",
        MigrationItem.sha256 > after,
    )
    return list(session.scalars(query.distinct().order_by(MigrationItem.sha256).limit(BATCH)))


def _let_go(session: Session, *, migration: Migration, digests: Sequence[str]) -> None:
    for row in lock(session, digests):
        if row.storage_backend == migration.source and row.retired_at is not None:
            row.retired_at = min(row.retired_at, now())
