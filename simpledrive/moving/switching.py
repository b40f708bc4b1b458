"""The transaction of a move: copies are recorded, homes are switched, the old copies are let go."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Row, select, update
from sqlalchemy.orm import Session

from simpledrive import audit
from simpledrive.errors import StorageUnavailable
from simpledrive.models import Blob, BlobHistory, ItemState, Migration, MigrationItem, Replica, now
from simpledrive.moving.copying import Copy
from simpledrive.moving.tally import add
from simpledrive.replicas import Provided, ReplicaGone, Replicas, lock, release, release_all
from simpledrive.rights import SERVER
from simpledrive.sql import affected
from simpledrive.usage import count

GONE = "It was deleted or moved by others meanwhile."


@dataclass(frozen=True)
class Task:
    """The items of a migration that have the same bytes, leased by one worker."""

    sha256: str
    size: int
    records: tuple[UUID, ...]


def record(session: Session, replicas: Replicas, copies: Sequence[Copy]) -> list[Copy]:
    """Makes the replicas' rows at the target say so, and locks all others of these digests too.

    The copies that are recorded now: not those in whose place somebody else's is, which nobody has read back,
    nor those that were there and have been swept or gone bad since, nor those that took so long that a sweep
    may take them for lost. They are to be made again.
    """
    copies = sorted(copies, key=lambda copy: copy.provided.sha256)
    lock(session, [copy.provided.sha256 for copy in copies])
    new = replicas.record_new(session, [copy.provided for copy in copies])
    recorded = [
        copy
        for copy in copies
        if copy.provided.sha256 in new or _is_recorded(session, replicas, copy.provided)
    ]
    verified = [
        {
            "sha256": copy.provided.sha256,
            "storage_backend": copy.provided.backend,
            "verified_at": copy.verified_at,
        }
        for copy in recorded
    ]
    if verified:
        session.execute(update(Replica), verified)
    return recorded


def _is_recorded(session: Session, replicas: Replicas, provided: Provided) -> bool:
    try:
        replicas.record(session, provided)
    except (ReplicaGone, StorageUnavailable):
        return False
    return provided.used == provided.key


class Switch:
    """Switches the homes of several tasks' records, in one transaction that may run twice."""

    def __init__(
        self, replicas: Replicas, migration: Migration, worker: str, done: Sequence[tuple[Task, Copy]]
    ) -> None:
        self._replicas, self._migration, self._worker = replicas, migration, worker
        self._done = {task.sha256: (task, copy) for task, copy in done}

    def switch(self, session: Session) -> dict[str, Counter[ItemState]]:
        """By digest, how many items are in which state now. A digest that is missing is to be tried again."""
        migration = self._migration
        copies = [copy for _, copy in self._done.values()]
        recorded = {copy.provided.sha256: copy for copy in record(session, self._replicas, copies)}
        items = self._items(session, recorded)
        pending = [item for item in items if item.state == "pending"]
        records = [item.record for item in pending]
        moved = switch_homes(session, records, migration.source, migration.target)
        settled = {
            (item.sha256, item.record): _settled(recorded[item.sha256], is_moved=item.record in moved)
            for item in pending
        }
        if settled:
            rows = [
                {"migration": migration.id, "sha256": sha256, "record": record} | what
                for (sha256, record), what in settled.items()
            ]
            session.execute(update(MigrationItem), rows)
        states: dict[str, Counter[ItemState]] = {sha256: Counter() for sha256 in sorted(recorded)}
        for item in items:
            what = settled.get((item.sha256, item.record))
            states[item.sha256][item.state if what is None else what["state"]] += 1
            if what is not None:
                add(session, migration.id, what["state"], item.size)
        if states:
            keep = timedelta(seconds=migration.grace_seconds)
            release_all(session, list(states), migration.source, keep)
        for sha256, found in states.items():
            if found["moved"]:
                self._replicas.mirrors.want(session, sha256, migration.target)
            else:
                # All were deleted meanwhile: sweeping looks who needs the copy.
                release(session, sha256, migration.target)
        return states

    def _items(self, session: Session, recorded: dict[str, Copy]) -> Sequence[Row[str, UUID, ItemState, int]]:
        """Those of ours that are recorded. A task that somebody else has taken over has none left."""
        records = [record for sha256 in recorded for record in self._done[sha256][0].records]
        item = MigrationItem
        query = select(item.sha256, item.record, item.state, item.size).where(
            MigrationItem.migration == self._migration.id,
            MigrationItem.sha256.in_(recorded),
            MigrationItem.record.in_(records),
            MigrationItem.leased == self._worker,
        )
        in_order = query.order_by(MigrationItem.sha256, MigrationItem.record)
        return session.execute(in_order.with_for_update()).all()


def switch_homes(session: Session, records: Sequence[UUID], source: str, target: str) -> set[UUID]:
    """Switches those of the records, blobs or earlier versions, that are at home at the source; which.

    The blobs first: a surrogate key only ever goes from them to the history. What somebody is putting aside
    at this moment is waited for here, and found there.
    """
    there = {"storage_backend": target}
    current = update(Blob).where(Blob.pk.in_(records), Blob.storage_backend == source)
    # No object of a session is of these: it need not be told.
    untold = {"synchronize_session": False}
    counted = current.values(there | {"version": Blob.version + 1})
    blobs = session.execute(counted.returning(Blob.pk, Blob.id), execution_options=untold).all()
    aside = update(BlobHistory).where(BlobHistory.pk.in_(records), BlobHistory.storage_backend == source)
    moved = set(session.scalars(aside.values(there).returning(BlobHistory.pk), execution_options=untold))
    count(session, source, blobs=-len(blobs))
    count(session, target, blobs=len(blobs))
    audit.note_each(session, SERVER, "blob.moved", [id for _, id in blobs], came_from=source, went_to=target)
    return moved | {pk for pk, _ in blobs}


def settle(session: Session, migration: str, worker: str, task: Task, state: ItemState, why: str) -> None:
    """Says of a task of this worker's that nothing was moved, and why."""
    mine = (
        MigrationItem.migration == migration,
        MigrationItem.sha256 == task.sha256,
        MigrationItem.record.in_(task.records),
        MigrationItem.leased == worker,
        MigrationItem.state == "pending",
    )
    settled = update(MigrationItem).where(*mine).values(state=state, why=why, leased_until=None)
    add(session, migration, state, task.size, items=affected(session, settled))


def _settled(copy: Copy, *, is_moved: bool) -> dict[str, Any]:
    """What becomes of an item."""
    if not is_moved:
        return {"leased_until": None, "state": "gone", "why": GONE}
    return {
        "leased_until": None,
        "state": "moved",
        "why": "",
        "moved_at": now(),
        "source_key": copy.source_key,
        "target_key": copy.provided.key,
        "verified_at": copy.verified_at,
    }
