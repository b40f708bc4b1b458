"""Going back to what a migration left at its source, without copying a byte; and giving that up."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial

from sqlalchemy import select, tuple_
from sqlalchemy.orm import Session

from simpledrive.backends import Backends
from simpledrive.errors import ObjectMissing, StorageRefused, StorageUnavailable
from simpledrive.models import ItemState, Migration, MigrationItem, Replica, now
from simpledrive.moving.flow import Flow
from simpledrive.moving.rows import ITEM_ORDER
from simpledrive.moving.running import PAUSES, Outcome
from simpledrive.moving.states import States
from simpledrive.moving.switching import rehome
from simpledrive.moving.tally import add
from simpledrive.replicas import Replicas, lock
from simpledrive.rights import SERVER
from simpledrive.sql import Database

log = logging.getLogger(__name__)

PAGE = 200
THREADS = 8
"""Copies that are looked for side by side: all that this takes is waiting."""
DURING: States = ("rolling_back",)

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

        What could not go back before is tried again, first. Raises Stopped when its flow is, and StorageError
        for a source that does not answer: nothing stays because of that.
        """
        states: tuple[ItemState, ...] = ("stays", "moved")
        for state in states:
            after: MigrationItem | None = None
            while items := self._database.read(partial(self._page, state, after)):
                self._flow.wait(0)
                reasons = self._reasons({item.sha256 for item in items})
                yield from self._database.write(partial(self._switch, items, reasons))
                after = items[-1]

    def _page(
        self, state: ItemState, after: MigrationItem | None, session: Session
    ) -> Sequence[MigrationItem]:
        query = select(MigrationItem).where(
            MigrationItem.migration == self._migration.id, MigrationItem.state == state
        )
        if after is not None:
            query = query.where(tuple_(*ITEM_ORDER) > (after.sha256, after.record))
        return session.scalars(query.order_by(*ITEM_ORDER).limit(PAGE)).all()

    def _reasons(self, digests: set[str]) -> dict[str, str]:
        """By key of a copy at the source, why it is not to be gone back to; "" if it is."""
        here = (Replica.sha256.in_(digests), Replica.storage_backend == self._migration.source)
        kept = self._database.read(lambda session: session.scalars(select(Replica).where(*here)).all())
        with ThreadPoolExecutor(THREADS, "look") as pool:
            return dict(zip([row.storage_key for row in kept], pool.map(self._reason, kept), strict=True))

    def _reason(self, replica: Replica) -> str:
        source, pauses = self._migration.source, iter(PAUSES)
        while True:
            try:
                size = self._backends.use(source).size(replica.storage_key)
            except StorageUnavailable as error:
                if (pause := next(pauses, None)) is None:
                    raise
                log.warning("trying again: %s", error)
                self._flow.wait(pause)
            except (ObjectMissing, StorageRefused) as error:
                self._backends.check(source)  # or is it the whole place?
                is_gone = isinstance(error, ObjectMissing)
                return f"Its copy at {source} is gone." if is_gone else str(error)
            else:
                return "" if size == replica.size else f"Its copy at {source} has another size."

    def _switch(
        self, items: Sequence[MigrationItem], reasons: Mapping[str, str], session: Session
    ) -> list[Outcome]:
        """One transaction. May run twice: what it has settled is no longer in the state that it was in."""
        source, target = self._migration.source, self._migration.target
        rows = lock(session, sorted({item.sha256 for item in items}))
        kept = {row.sha256: row for row in rows if row.storage_backend == source}
        why = {item.sha256: self._why(kept.get(item.sha256), reasons) for item in items}
        left = self._locked(session, items)
        can = [item for item in left if not why[item.sha256]]
        back = rehome(
            session,
            SERVER,
            self._replicas.mirrors,
            [item.record for item in can],
            {item.sha256 for item in can},
            source=target,
            target=source,
            keep=timedelta(seconds=self._migration.grace_seconds),  # nobody has read what it goes back to
        )
        for item in left:
            state: ItemState = "back" if item.record in back else "stays"
            self._count(session, item, -1)
            item.state, item.why = state, "" if state == "back" else why[item.sha256] or GONE
            self._count(session, item, 1)
        found = Counter((item.sha256, item.size, item.state, item.why) for item in left)
        return [
            Outcome(sha256, size, state, records, why)
            for (sha256, size, state, why), records in found.items()
        ]

    def _why(self, kept: Replica | None, reasons: Mapping[str, str]) -> str:
        """Why the copy that there is now is not to be gone back to. One that is new since is sound."""
        if kept is None:
            return f"Its copy at {self._migration.source} was swept."
        if kept.bad_at is not None:
            return f"Its copy at {self._migration.source} is marked bad."
        return reasons.get(kept.storage_key, "")

    def _locked(self, session: Session, items: Sequence[MigrationItem]) -> Sequence[MigrationItem]:
        """Those that are still in the state in which they were looked up."""
        first, last = items[0], items[-1]
        query = select(MigrationItem).where(
            MigrationItem.migration == self._migration.id,
            MigrationItem.state == first.state,
            tuple_(*ITEM_ORDER) >= (first.sha256, first.record),
            tuple_(*ITEM_ORDER) <= (last.sha256, last.record),
        )
        return session.scalars(query.order_by(*ITEM_ORDER).with_for_update()).all()

    def _count(self, session: Session, item: MigrationItem, items: int) -> None:
        add(session, item.migration, DURING, **{item.state: items})
        if item.state == "moved":
            add(session, item.migration, DURING, moved_bytes=items * item.size)


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
    return list(session.scalars(query.distinct().order_by(MigrationItem.sha256).limit(PAGE)))


def _let_go(session: Session, *, migration: Migration, digests: Sequence[str]) -> None:
    rows = lock(session, digests)
    kept = _kept_by_others(session, migration, digests)
    for row in rows:
        if row.storage_backend == migration.source and row.sha256 not in kept:
            row.keep_until = None
            if row.retired_at is not None:
                row.retired_at = now()


def _kept_by_others(session: Session, migration: Migration, digests: Sequence[str]) -> set[str]:
    """Those of the digests that another migration has moved from the same place and may go back to."""
    others = select(Migration.id).where(
        Migration.source == migration.source,
        Migration.id != migration.id,
        Migration.state.not_in(["finalizing", "finalized"]),
    )
    query = select(MigrationItem.sha256).where(
        MigrationItem.migration.in_(others),
        MigrationItem.state == "moved",
        MigrationItem.sha256.in_(digests),
    )
    return set(session.scalars(query.distinct()))
