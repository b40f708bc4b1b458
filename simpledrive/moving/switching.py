"""The transaction of a move: copies are recorded, homes are switched, the old copies are let go."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from simpledrive import audit
from simpledrive.errors import StorageUnavailable
from simpledrive.models import Blob, BlobHistory, ItemState, Migration, MigrationItem, Replica, now
from simpledrive.moving.copying import Copy
from simpledrive.moving.tally import add
from simpledrive.replicas import ReplicaGone, Replicas, lock, release
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
    recorded = []
    for copy in copies:
        provided = copy.provided
        try:
            replicas.record(session, provided)
        except (ReplicaGone, StorageUnavailable):
            continue
        if provided.used == provided.key:
            there = (Replica.sha256 == provided.sha256, Replica.storage_backend == provided.backend)
            session.execute(update(Replica).where(*there).values(verified_at=copy.verified_at))
            recorded.append(copy)
    return recorded


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
        for item in pending:
            _settle(item, recorded[item.sha256], is_moved=item.record in moved)
            add(session, migration.id, item.state, item.size)
        states: dict[str, Counter[ItemState]] = {sha256: Counter() for sha256 in sorted(recorded)}
        for item in items:
            states[item.sha256][item.state] += 1
        for sha256, found in states.items():
            release(session, sha256, migration.source, timedelta(seconds=migration.grace_seconds))
            if found["moved"]:
                self._replicas.mirrors.want(session, sha256, migration.target)
            else:
                # All were deleted meanwhile: sweeping looks who needs the copy.
                release(session, sha256, migration.target)
        return states

    def _items(self, session: Session, recorded: dict[str, Copy]) -> list[MigrationItem]:
        """Those of ours that are recorded. A task that somebody else has taken over has none left."""
        records = [record for sha256 in recorded for record in self._done[sha256][0].records]
        query = select(MigrationItem).where(
            MigrationItem.migration == self._migration.id,
            MigrationItem.sha256.in_(recorded),
            MigrationItem.record.in_(records),
            MigrationItem.leased == self._worker,
        )
        in_order = query.order_by(MigrationItem.sha256, MigrationItem.record)
        return list(session.scalars(in_order.with_for_update()))


def switch_homes(session: Session, records: Sequence[UUID], source: str, target: str) -> set[UUID]:
    """Switches those of the records, blobs or earlier versions, that are at home at the source; which."""
    there = {"storage_backend": target}
    aside = update(BlobHistory).where(BlobHistory.pk.in_(records), BlobHistory.storage_backend == source)
    current = update(Blob).where(Blob.pk.in_(records), Blob.storage_backend == source)
    moved = set(session.scalars(aside.values(there).returning(BlobHistory.pk)))
    counted = current.values(there | {"version": Blob.version + 1})
    blobs = session.execute(counted.returning(Blob.pk, Blob.id)).all()
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


def _settle(item: MigrationItem, copy: Copy, *, is_moved: bool) -> None:
    item.leased_until = None
    if is_moved:
        item.state, item.why, item.moved_at = "moved", "", now()
        item.source_key, item.target_key = copy.source_key, copy.provided.key
        item.verified_at = copy.verified_at
    else:
        item.state, item.why = "gone", GONE
