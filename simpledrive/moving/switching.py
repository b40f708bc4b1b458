"""The transaction of a move: copies are recorded, homes are switched, the old copies are let go."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Row, select, update
from sqlalchemy.orm import Session

from simpledrive import audit
from simpledrive.errors import StorageUnavailable
from simpledrive.leasing import LEASE, has_ended
from simpledrive.mirrors import Mirrors
from simpledrive.models import Blob, BlobHistory, ItemState, Migration, MigrationItem, Replica, now
from simpledrive.moving.copying import Copy
from simpledrive.moving.selection import Table
from simpledrive.moving.states import OPEN
from simpledrive.moving.tally import add
from simpledrive.replicas import Provided, ReplicaGone, Replicas, lock, release_all
from simpledrive.rights import SERVER, Caller
from simpledrive.usage import count

GONE = "It was deleted or moved by others meanwhile."


Item = Row[str, UUID, int, str | None, datetime | None]
"""Digest, record, size, and who has leased it until when."""
MOST = 500
"""Items that are settled in one transaction: a million of them may have the same bytes."""


@dataclass(frozen=True)
class Task:
    """All items of a migration that have the same bytes, leased by one worker."""

    sha256: str
    size: int


@dataclass
class Portion:
    """What became of some items with the same bytes; `has_more`: others of them are left to this worker."""

    states: Counter[ItemState]
    has_more: bool = False


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

    def __init__(self, replicas: Replicas, migration: Migration, worker: str, copies: Sequence[Copy]) -> None:
        self._replicas, self._migration, self._worker = replicas, migration, worker
        self._copies = copies

    def switch(self, session: Session) -> dict[str, Portion]:
        """By digest, what became of its items, or of some. A digest that is missing is to be tried again."""
        migration = self._migration
        recorded = {copy.provided.sha256: copy for copy in record(session, self._replicas, self._copies)}
        items, left = _mine(session, migration.id, self._worker, list(recorded))
        moved = rehome(
            session,
            SERVER,
            self._replicas.mirrors,
            [item.record for item in items],
            recorded,
            source=migration.source,
            target=migration.target,
            keep=timedelta(seconds=migration.grace_seconds),
        )
        rows = [
            _row(migration.id, item, recorded[item.sha256], is_moved=item.record in moved) for item in items
        ]
        if rows:
            session.execute(update(MigrationItem), rows)
        portions = {sha256: Portion(Counter(), sha256 in left) for sha256 in sorted(recorded)}
        for item, row in zip(items, rows, strict=True):
            portions[item.sha256].states[row["state"]] += 1
            size = item.size if row["state"] == "moved" else 0
            add(session, migration.id, OPEN, **{row["state"]: 1}, moved_bytes=size)
        return portions


def _mine(
    session: Session, migration: str, worker: str, digests: Sequence[str]
) -> tuple[list[Item], set[str]]:
    """The first pending items with these bytes, locked; and the digests that have more of them.

    Of a digest whose lease has ended there are none: somebody else may be at them.
    """
    item = MigrationItem
    query = select(item.sha256, item.record, item.size, item.leased, item.leased_until)
    which = (item.migration == migration, item.state == "pending", item.sha256.in_(digests))
    in_order = query.where(*which).order_by(item.sha256, item.record).limit(MOST + 1)
    found = list(session.execute(in_order.with_for_update()))
    mine = {row.sha256 for row in found if row.leased == worker and not has_ended(row.leased_until)}
    left: set[str] = set()
    if len(found) > MOST:
        following = found.pop()
        left = {sha256 for sha256 in digests if sha256 > following.sha256}
        if following.sha256 in mine:
            left.add(following.sha256)
            here = (item.migration == migration, item.sha256 == following.sha256)
            leased = update(item).where(*here, item.record == following.record)
            session.execute(leased.values(leased=worker, leased_until=now() + LEASE))
    return [row for row in found if row.sha256 in mine], left


def rehome(
    session: Session,
    caller: Caller,
    mirrors: Mirrors,
    records: Collection[UUID],
    digests: Collection[str],
    *,
    source: str,
    target: str,
    keep: timedelta = timedelta(),
) -> set[UUID]:
    """Switches those of the records, blobs or earlier versions, that are at home at the source; which.

    All that follows from it for the copies of these digests, which the caller has locked, is done too: those
    at the target are needed from now on, and mirrored; those at the source are let go, or kept for so long.
    Of a digest none of whose records was at the source any more, sweeping looks who needs the copy.

    The blobs first: a surrogate key only ever goes from them to the history. What somebody is putting aside
    at this moment is waited for here, and found there.
    """
    blobs = _switched(session, Blob, records, source, target)
    aside = _switched(session, BlobHistory, records, source, target)
    count(session, source, blobs=-len(blobs))
    count(session, target, blobs=len(blobs))
    ids = [row.id for row in blobs]
    audit.note_each(session, caller, "blob.moved", ids, came_from=source, went_to=target)
    moved = {row.sha256 for row in (*blobs, *aside)}
    if moved:
        release_all(session, sorted(moved), source, keep)
        needed = update(Replica).where(Replica.sha256.in_(moved), Replica.storage_backend == target)
        session.execute(needed.values(retired_at=None))
    for sha256 in sorted(moved):
        mirrors.want(session, sha256, target)
    if idle := sorted(set(digests) - moved):
        release_all(session, idle, target)
    return {row.pk for row in (*blobs, *aside)}


def _switched(
    session: Session, table: Table, records: Collection[UUID], source: str, target: str
) -> Sequence[Row[UUID, str, str]]:
    values: dict[str, Any] = {"storage_backend": target}
    if table is Blob:
        values["version"] = Blob.version + 1
    there = update(table).where(table.pk.in_(records), table.storage_backend == source).values(values)
    # Who has such an object in his session refreshes it.
    untold = {"synchronize_session": False}
    return session.execute(there.returning(table.pk, table.id, table.sha256), execution_options=untold).all()


def leave(session: Session, migration: str, worker: str, task: Task, state: ItemState, why: str) -> Portion:
    """Says of a portion of a task of this worker's that nothing was moved, and why."""
    items, left = _mine(session, migration, worker, [task.sha256])
    what = {"state": state, "why": why, "leased_until": None}
    if items:
        session.execute(update(MigrationItem), [_key(migration, item) | what for item in items])
        add(session, migration, OPEN, **{state: len(items)})
    return Portion(Counter({state: len(items)} if items else {}), bool(left))


def _key(migration: str, item: Item) -> dict[str, Any]:
    return {"migration": migration, "sha256": item.sha256, "record": item.record}


def _row(migration: str, item: Item, copy: Copy, *, is_moved: bool) -> dict[str, Any]:
    """What becomes of an item."""
    row = _key(migration, item) | {"leased_until": None}
    if not is_moved:
        return row | {"state": "gone", "why": GONE}
    return row | {
        "state": "moved",
        "why": "",
        "moved_at": now(),
        "source_key": copy.source_key,
        "target_key": copy.provided.key,
        "verified_at": copy.verified_at,
    }
