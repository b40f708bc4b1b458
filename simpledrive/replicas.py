"""Stored copies of bytes: putting them, recording them, letting them go.

The rules that make the foreign key hold live here: bytes are put before a transaction begins, `record` and
`release` run inside one, and only `sweep` (upkeep.py) deletes.
"""

from __future__ import annotations

import logging
import random
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from simpledrive.backends import Backends
from simpledrive.errors import ObjectMissing, StorageError, StorageUnavailable
from simpledrive.models import BackendUsage, Base, Replica, now
from simpledrive.sql import Database, affected
from simpledrive.storage.base import made_at, new_key
from simpledrive.streams.pieces import Pieces
from simpledrive.streams.source import Source

log = logging.getLogger(__name__)

SHARDS = 16


class ReplicaGone(Exception):
    """A replica that was found is no longer to be used: provide the bytes again. Never leaves the drive."""


@dataclass(frozen=True)
class Provided:
    """Bytes that lie at a backend under `key`. `fresh`: put by us just now and not recorded yet.

    `instead_of` is the key of a recorded replica that was found unsound and is to be replaced.
    """

    sha256: str
    backend: str
    key: str
    pieces: Pieces
    fresh: bool
    instead_of: str | None = None


@dataclass(frozen=True)
class Recorded:
    """The key of the row that now says where the bytes are, and whether that row is a new one."""

    key: str
    is_new: bool


class Replicas:
    """Provides bytes at a backend, and records that they are there.

    `orphan_age` is how old an unrecorded object gets before sweeping takes it for lost.
    """

    def __init__(self, database: Database, backends: Backends, orphan_age: timedelta) -> None:
        self._database, self._backends, self._orphan_age = database, backends, orphan_age

    def provide(self, source: Source, pieces: Pieces, backend: str) -> Provided:
        """The bytes of `source` at that backend: found there and sound, or put. No transaction is open.

        Found means recorded, not marked bad, and of the right size at the backend. Raises StorageError.
        """
        storage = self._backends.use(backend)
        known = self.find(source.sha256, backend)
        if known is not None and known.bad_at is None and self._holds(known):
            return Provided(source.sha256, backend, known.storage_key, pieces, fresh=False)
        key = new_key(source.sha256)
        storage.put(key, source)
        unsound = known.storage_key if known is not None else None
        return Provided(source.sha256, backend, key, pieces, fresh=True, instead_of=unsound)

    def find(self, sha256: str, backend: str) -> Replica | None:
        return self._database.read(lambda session: session.get(Replica, (sha256, backend)))

    def _holds(self, replica: Replica) -> bool:
        try:
            return self._backends.use(replica.storage_backend).size(replica.storage_key) == replica.size
        except ObjectMissing:
            return False

    def record(self, session: Session, provided: Provided) -> Recorded:
        """Makes the replica's row say so, inside the caller's transaction, and locks it.

        The key is another one than provided if somebody else stored the same bytes meanwhile: then theirs is
        used. Whoever calls this adds what is new to the counters (`count_new`), as his last statement. Raises
        ReplicaGone if a found replica has been swept or gone bad since.
        """
        if provided.fresh and now() - made_at(provided.key) > self._orphan_age / 2:
            raise StorageUnavailable(
                provided.backend, "put", "took so long that a sweep may take it for lost"
            )
        replica = None
        while replica is None:
            if provided.fresh and _insert(session, provided):
                return Recorded(provided.key, is_new=True)
            replica = session.scalar(
                select(Replica)
                .where(Replica.sha256 == provided.sha256, Replica.storage_backend == provided.backend)
                .with_for_update(key_share=True)
            )
            # Swept between these two statements: fresh bytes are then inserted after all.
            if replica is None and not provided.fresh:
                raise ReplicaGone
        if provided.fresh:
            if replica.bad_at is not None or replica.storage_key == provided.instead_of:
                replica.storage_key, replica.created_at = provided.key, now()
                replica.bad_at = replica.verified_at = None
        elif replica.bad_at is not None or replica.storage_key != provided.key:
            raise ReplicaGone
        replica.retired_at = None
        return Recorded(replica.storage_key, is_new=False)

    def distrust(self, provided: Provided) -> None:
        """These bytes were read and were not right: a fresh copy goes, a recorded one is marked bad."""
        if provided.fresh:
            self.settle(provided, None)
        else:
            self._database.write(lambda session: mark_bad(session, provided.sha256, provided.key))

    def settle(self, provided: Provided, used: str | None) -> None:
        """Afterwards: bytes that we put and that no row names are removed at once. Never raises.

        `used` is the key that was recorded, None if the transaction was definitely refused.
        """
        if provided.fresh and used != provided.key:
            try:
                self._backends.use(provided.backend).delete(provided.key)
            except StorageError as error:
                log.warning("left for the sweep: %s (%s)", provided.key, error)


def _insert(session: Session, provided: Provided) -> bool:
    values = {
        "sha256": provided.sha256,
        "storage_backend": provided.backend,
        "storage_key": provided.key,
        "size": provided.pieces.size,
        "pieces": provided.pieces.sums,
        "created_at": now(),
    }
    # Not by the count of rows: for an INSERT of the ORM, PostgreSQL's driver does not tell it.
    insert = _upsert(session, Replica).values(values).on_conflict_do_nothing()
    return session.scalar(insert.returning(Replica.storage_key)) is not None


def mark_bad(session: Session, sha256: str, key: str) -> bool:
    """This copy's bytes are wrong: deduplication does not trust it, and people see it.

    Named by its key, so that a copy written anew meanwhile is not meant. Returns whether that is news: it is
    not for a copy that has been swept, or was marked before.
    """
    there = (Replica.sha256 == sha256, Replica.storage_key == key, Replica.bad_at.is_(None))
    return bool(affected(session, update(Replica).where(*there).values(bad_at=now())))


def release(session: Session, sha256: str, backend: str) -> None:
    """Something stopped needing this replica: after the grace, sweeping looks whether anything still does."""
    session.execute(
        update(Replica)
        .where(Replica.sha256 == sha256, Replica.storage_backend == backend, Replica.retired_at.is_(None))
        .values(retired_at=now())
    )


def count_new(session: Session, provided: Provided, recorded: Recorded) -> None:
    """Counts a replica that `record` added. The caller's last statement, see `count`."""
    session.flush()
    if recorded.is_new:
        count(session, provided.backend, 1, provided.pieces.size)


def count(session: Session, backend: str, replicas: int, size: int) -> None:
    """Adds to what is known to lie at a backend.

    Last in each transaction: everybody writes these few rows, and who waited for something else while holding
    one would sooner or later wait for somebody who waits for it.
    """
    shard = random.randrange(SHARDS)  # noqa: S311 (no secret)
    values = {"storage_backend": backend, "shard": shard, "replicas": replicas, "bytes": size}
    session.execute(
        _upsert(session, BackendUsage)
        .values(values)
        .on_conflict_do_update(
            index_elements=["storage_backend", "shard"],
            set_={"replicas": BackendUsage.replicas + replicas, "bytes": BackendUsage.bytes + size},
        )
    )


def _upsert(session: Session, model: type[Base]) -> sqlite.Insert | postgresql.Insert:
    """An INSERT that may say ON CONFLICT: both databases can, each by a class of its own."""
    if session.get_bind().dialect.name == "sqlite":
        return sqlite.insert(model)
    return postgresql.insert(model)
