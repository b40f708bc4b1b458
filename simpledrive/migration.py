"""Moving blobs between backends while people read and write, every byte compared.

A move adds a replica at the target, reads it back in full, compares digests, and only then switches the homes
in one transaction; the old replica is left behind and swept after its grace. It may be interrupted anywhere
and run again: what is done is done, and nothing is ever half moved.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from sqlalchemy import ColumnElement, func, or_, select, update
from sqlalchemy.orm import Session, undefer

from simpledrive import audit, descriptions, ids, records, standing
from simpledrive.backends import Backends
from simpledrive.errors import Busy, DriveError, IntegrityFault, Invalid, ObjectMissing
from simpledrive.models import Blob, BlobHistory, Condition, Replica, now
from simpledrive.records import Change
from simpledrive.replicas import Provided, ReplicaGone, Replicas, mark_bad, release
from simpledrive.rights import SERVER, Caller
from simpledrive.sql import ATTEMPTS, Database, affected
from simpledrive.streams.pieces import Pieces
from simpledrive.streams.source import Source, drain
from simpledrive.usage import count

BATCH = 100
PASSES = 10
"""How often a run begins anew for what was stored at the source behind its back: it has to end some time."""


@dataclass(frozen=True)
class Plan:
    """What would move: different contents, their bytes, and the blobs (earlier versions too) they are."""

    contents: int
    bytes: int
    records: int


@dataclass(frozen=True)
class Move:
    """What became of one content. `why` says what went wrong; None if it moved.

    No records and no `why`: it was deleted, or moved by somebody else, since it was listed.
    """

    sha256: str
    size: int
    records: int
    why: str | None = None


class Migration:
    """Moves everything whose home is one backend to another."""

    def __init__(self, database: Database, backends: Backends, replicas: Replicas) -> None:
        self._database, self._backends, self._replicas = database, backends, replicas

    def plan(self, source: str, target: str) -> Plan:
        """What a migration would do now. Changes nothing. Raises Invalid, StorageError."""
        self._check(source, target)

        def work(session: Session) -> Plan:
            contents, size = session.execute(
                select(func.count(), func.coalesce(func.sum(Replica.size), 0)).where(_home_of_any(source))
            ).one()
            records = sum(
                session.scalar(select(func.count()).select_from(table).where(table.storage_backend == source))
                or 0
                for table in (Blob, BlobHistory)
            )
            return Plan(int(contents), int(size), int(records))

        return self._database.read(work)

    def run(self, source: str, target: str) -> Iterator[Move]:
        """Moves content after content, and tells of each. One that fails never stops the rest.

        Goes through the source until nothing new is found there, so that what is stored there meanwhile moves
        too, but no more than PASSES times: `plan` tells what remains. What fails is tried once. Raises
        Invalid, StorageError before the first, if a backend cannot be used at all.
        """
        self._check(source, target)
        failed: set[str] = set()
        for _ in range(PASSES):
            found = False
            for replica in self._listed(source):
                if replica.sha256 in failed:
                    continue
                found = True
                move = self._try_to_move(replica, target)
                if move.why is not None:
                    failed.add(move.sha256)
                yield move
            if not found:
                break

    def move(
        self,
        caller: Caller,
        id: str,
        target: str,
        only: Condition | None = None,
        **said: Any,
    ) -> Blob:
        """Moves one blob, without its earlier versions, as carefully as `run`. Nothing to do is fine.

        `said` changes what is said of it as Drive.change does, in the same transaction: both happen or none.
        Raises BlobNotFound, Forbidden, Invalid, PreconditionFailed, IntegrityFault, StorageError, Busy.
        """
        caller.require("write", id)
        caller.require("read", id)  # the record is answered
        target = self._backends.chosen(target, caller.backends)
        values = descriptions.changes(id, **said) if ids.flaw(id) is None else {}
        for _ in range(ATTEMPTS):
            blob, replica = self._database.read(lambda session: _blob_and_home(session, id, only))
            if blob.storage_backend == target:
                change = Change(caller, id, values, only)
                return self._database.write(change.change, change.happened) if values else blob
            with suppress(ReplicaGone):
                provided = self._copy(replica, target)
                with self._replicas.settled(provided):
                    self._read_back(provided)
                    move = partial(_move_one, self._replicas, caller, blob, provided, only, values)
                    return self._database.write(move)
        raise Busy("Others keep changing this blob, try again.")

    def _listed(self, source: str) -> Iterator[Replica]:
        """What is to be moved, by digest. Not what is stored behind this cursor while it advances."""
        after = ""
        while batch := self._database.read(lambda session, after=after: _batch(session, source, after)):  # type: ignore[misc]
            yield from batch
            after = batch[-1].sha256

    def _check(self, source: str, target: str) -> None:
        for field, name in (("source", source), ("target", target)):
            if name not in self._backends:
                raise Invalid(
                    (field, f"There is no backend {name!r}. Known are: {', '.join(sorted(self._backends))}.")
                )
        if source == target:
            raise Invalid(("target", "The target is the source."))
        self._backends.use(source)
        self._backends.use(target)

    def _try_to_move(self, replica: Replica, target: str) -> Move:
        try:
            return Move(replica.sha256, replica.size, self._move(replica, target))
        except DriveError as error:
            return Move(replica.sha256, replica.size, 0, str(error))

    def _move(self, listed: Replica, target: str) -> int:
        """Copies, reads back, switches; how many records. None are left if all were deleted meanwhile."""
        for _ in range(ATTEMPTS):
            replica = self._database.read(lambda session: _whole(session, listed))
            if replica is None:
                return 0
            with suppress(ReplicaGone):
                provided = self._copy(replica, target)
                with self._replicas.settled(provided):
                    self._read_back(provided)
                    return self._database.write(partial(self._switch, replica=replica, provided=provided))
        raise Busy("Others keep changing these bytes, try again.")

    def _copy(self, replica: Replica, target: str) -> Provided:
        """The bytes at the target: those that are there already, or a fresh copy.

        Raises ReplicaGone if the source's were swept, IntegrityFault if they are corrupt (which is marked and
        copied nowhere), StorageError.
        """
        storage = self._backends.use(replica.storage_backend)
        source = Source(replica.size, replica.sha256, lambda: storage.open(replica.storage_key))
        try:
            return self._replicas.provide(source, Pieces(replica.size, replica.pieces), target)
        except IntegrityFault as error:
            self._database.write(lambda session: mark_bad(session, replica.sha256, replica.storage_key))
            raise IntegrityFault(f"{replica.storage_backend}: {error}") from error
        except ObjectMissing as error:
            # Really gone, or the whole place?
            self._backends.check(replica.storage_backend)
            now_there = self._replicas.find(replica.sha256, replica.storage_backend)
            if now_there is not None and now_there.storage_key == replica.storage_key:
                raise
            raise ReplicaGone from error

    def _read_back(self, provided: Provided) -> None:
        """Returns if what lies at the target is right, every byte.

        Raises ReplicaGone for a copy that was there already and is not (which is marked: the next attempt
        makes another), IntegrityFault for a fresh one, StorageError.
        """
        storage = self._backends.use(provided.backend)
        try:
            drain(Source(provided.pieces.size, provided.sha256, lambda: storage.open(provided.key)))
        except (IntegrityFault, ObjectMissing) as error:
            if provided.fresh:
                why = f"{provided.backend}: what was just copied there reads back wrong"
                raise IntegrityFault(why) from error
            self._database.write(lambda session: mark_bad(session, provided.sha256, provided.key))
            raise ReplicaGone from error

    def _switch(self, session: Session, *, replica: Replica, provided: Provided) -> int:
        """One transaction: the target's replica is recorded as read back, every home is switched; how many.

        May run twice: the second time there is nothing left to switch.
        """
        _record_as_read_back(session, self._replicas, provided, replica.storage_backend)
        there = {"storage_backend": provided.backend}
        aside = update(BlobHistory).where(*_home(BlobHistory, replica)).values(there)
        blobs = update(Blob).where(*_home(Blob, replica)).values(there | {"version": Blob.version + 1})
        ids = session.scalars(blobs.returning(Blob.id)).all()
        moved = len(ids) + affected(session, aside)
        count(session, replica.storage_backend, blobs=-len(ids))
        count(session, provided.backend, blobs=len(ids))
        places = {"came_from": replica.storage_backend, "went_to": provided.backend}
        audit.note_each(session, SERVER, "blob.moved", ids, **places)
        release(session, replica.sha256, replica.storage_backend)
        if not moved:
            # All were deleted meanwhile (or this runs for a second time): sweeping looks who needs the copy.
            release(session, replica.sha256, provided.backend)
        return moved


def _move_one(
    replicas: Replicas,
    caller: Caller,
    blob: Blob,
    provided: Provided,
    only: Condition | None,
    values: Mapping[str, Any],
    session: Session,
) -> Blob:
    """One transaction: the target's replica is recorded, one home is switched. ReplicaGone: look anew."""
    standing.require(session, caller)
    _record_as_read_back(session, replicas, provided, blob.storage_backend)
    found = records.locked(session, blob.id)
    if found is not None and found.pk == blob.pk and found.storage_backend == provided.backend:
        return found  # this ran before
    if found is None or (found.pk, found.storage_backend) != (blob.pk, blob.storage_backend):
        raise ReplicaGone
    if only is not None:
        records.allow(found, only)
    found.storage_backend, found.version = provided.backend, found.version + 1
    if values:
        records.say(session, caller, found, values)
    release(session, blob.sha256, blob.storage_backend)
    count(session, blob.storage_backend, blobs=-1)
    count(session, provided.backend, blobs=1)
    audit.note(
        session, caller, "blob.moved", blob.id, came_from=blob.storage_backend, went_to=provided.backend
    )
    return found


def _blob_and_home(session: Session, id: str, only: Condition | None) -> tuple[Blob, Replica]:
    """A blob and the replica at its home, with its pieces. Raises BlobNotFound, PreconditionFailed."""
    blob = records.current(session, id) if ids.flaw(id) is None else None
    if blob is None:
        raise records.not_found(id)
    if only is not None:
        records.allow(blob, only)
    here = (Replica.sha256 == blob.sha256, Replica.storage_backend == blob.storage_backend)
    return blob, session.scalars(select(Replica).where(*here).options(undefer(Replica.pieces))).one()


def _record_as_read_back(session: Session, replicas: Replicas, provided: Provided, source: str) -> None:
    """Raises ReplicaGone for somebody else's copy at the target, which nobody has read back."""
    _lock(session, provided.sha256, source, provided.backend)
    replicas.record(session, provided)
    if provided.used != provided.key:
        raise ReplicaGone
    there = (Replica.sha256 == provided.sha256, Replica.storage_backend == provided.backend)
    session.execute(update(Replica).where(*there).values(verified_at=now()))


def _home(table: type[Blob] | type[BlobHistory], replica: Replica) -> tuple[ColumnElement[bool], ...]:
    """The records whose bytes are guaranteed by this replica."""
    return table.sha256 == replica.sha256, table.storage_backend == replica.storage_backend


def _lock(session: Session, sha256: str, *backends: str) -> None:
    """Both replicas, in the order in which everybody locks them."""
    session.execute(
        select(Replica.storage_key)
        .where(Replica.sha256 == sha256, Replica.storage_backend.in_(backends))
        .order_by(Replica.storage_backend)
        .with_for_update(key_share=True)
    ).all()


def _home_of_any(source: str) -> ColumnElement[bool]:
    """Replicas at `source` that some record names."""
    named = [
        select(table.pk).where(table.sha256 == Replica.sha256, table.storage_backend == source).exists()
        for table in (Blob, BlobHistory)
    ]
    return (Replica.storage_backend == source) & or_(*named)


def _batch(session: Session, source: str, after: str) -> list[Replica]:
    query = select(Replica).where(_home_of_any(source), Replica.sha256 > after)
    return list(session.scalars(query.order_by(Replica.sha256).limit(BATCH)))


def _whole(session: Session, listed: Replica) -> Replica | None:
    """The row as it is now, with its pieces: half a megabyte for a large blob, so never a batch of them.

    None if no record names it any more.
    """
    query = select(Replica).where(_home_of_any(listed.storage_backend), Replica.sha256 == listed.sha256)
    return session.scalars(query.options(undefer(Replica.pieces))).one_or_none()
