"""Stored copies of bytes: putting them, recording them, letting them go.

The rules that make the foreign key hold live here: bytes are put before a transaction begins (`provide`),
`record` and `release` run inside one, what was put in vain or is replaced as unsound is removed after it
(`settled`), and all else that was recorded is deleted by sweeping alone (upkeep.py).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import case, literal, select, update
from sqlalchemy.orm import Session

from simpledrive.backends import Backends
from simpledrive.errors import (
    DatabaseUnavailable,
    DriveError,
    ObjectMissing,
    StorageError,
    StorageUnavailable,
)
from simpledrive.mirrors import Mirrors
from simpledrive.models import Replica, UTCDateTime, now
from simpledrive.sql import Database, affected, insert
from simpledrive.storage.base import made_at, new_key
from simpledrive.streams.pieces import Pieces
from simpledrive.streams.source import Source
from simpledrive.usage import count

log = logging.getLogger(__name__)


class ReplicaGone(DriveError):
    """A replica that was found is no longer to be used: provide the bytes again. Never leaves the drive."""


@dataclass
class Provided:
    """Bytes that lie at a backend under `key`. `fresh`: put by us just now and not recorded yet.

    `instead_of` is the key of a recorded replica that was found unsound and is to be replaced. `used` is the
    key that the row had when `record` last looked: another one if somebody else was first to store these
    bytes, and None as long as nobody has tried to record them.
    """

    sha256: str
    backend: str
    key: str
    pieces: Pieces
    fresh: bool
    instead_of: str | None = None
    used: str | None = None


class Replicas:
    """Provides bytes at a backend, and records that they are there.

    `mirrors` says where else than at home they shall be; `orphan_age` is how old an unrecorded object gets
    before sweeping takes it for lost.
    """

    def __init__(
        self, database: Database, backends: Backends, mirrors: Mirrors, orphan_age: timedelta
    ) -> None:
        self._database, self._backends, self._orphan_age = database, backends, orphan_age
        self.mirrors = mirrors

    def provide(self, source: Source, pieces: Pieces, backend: str, known: Replica | None) -> Provided:
        """The bytes of `source` at that backend: found there and sound, or put. No transaction is open.

        Found means recorded (`known`, see `find`), not marked bad, and of the right size at the backend. What
        follows happens in `settled`. Raises StorageError.
        """
        storage = self._backends.use(backend)
        if known is not None and known.bad_at is None and self._holds(known):
            return Provided(source.sha256, backend, known.storage_key, pieces, fresh=False)
        key = new_key(source.sha256)
        storage.put(key, source)
        unsound = known.storage_key if known is not None else None
        return Provided(source.sha256, backend, key, pieces, fresh=True, instead_of=unsound)

    def found(self, sha256: str, backend: str) -> Provided | None:
        """The bytes at that backend if they are there already, sound; None if not. Raises StorageError."""
        known = self.find(sha256, backend)
        if known is None or known.bad_at is not None or not self._holds(known):
            return None
        # Its sums stay where they are: half a megabyte for a large blob, and nobody records them anew.
        return Provided(sha256, backend, known.storage_key, Pieces(known.size, b""), fresh=False)

    def find(self, sha256: str, backend: str) -> Replica | None:
        return self._database.read(lambda session: session.get(Replica, (sha256, backend)))

    def _holds(self, replica: Replica) -> bool:
        try:
            return self._backends.use(replica.storage_backend).size(replica.storage_key) == replica.size
        except ObjectMissing:
            # Really gone, or the whole place? Then nothing is lost yet, and nothing may be put there instead.
            self._backends.check(replica.storage_backend)
            return False

    @contextmanager
    def settled(self, provided: Provided) -> Iterator[None]:
        """Bytes that were put and that no row names in the end are removed at once. That itself never fails.

        So they are unless the block has recorded them, or may have: what is open after a broken connection
        is left to the sweep. An unsound copy is removed when others were recorded in its place.
        """
        try:
            yield
        except BaseException as error:
            refused = isinstance(error, DriveError) and not isinstance(error, DatabaseUnavailable)
            if provided.used is None or refused:
                self.forget(provided)
            raise
        if provided.used != provided.key:
            self.forget(provided)
        elif provided.instead_of is not None:
            self._remove(provided.backend, provided.instead_of)

    def forget(self, provided: Provided) -> None:
        """Removes bytes that were put and that no row names. Never fails."""
        if provided.fresh:
            self._remove(provided.backend, provided.key)

    def _remove(self, backend: str, key: str) -> None:
        try:
            self._backends.use(backend).delete(key)
        except StorageError as error:
            log.warning("left for `sweep --orphans`: %s (%s)", key, error)

    def record(self, session: Session, provided: Provided) -> None:
        """Makes the replica's row say so and counts it, inside the caller's transaction, and locks the row.

        `provided.used` is then another key than provided if somebody else stored the same bytes meanwhile:
        theirs are used. Raises ReplicaGone if a found replica has been swept or gone bad since.
        """
        if self._is_late(provided):
            raise StorageUnavailable(
                provided.backend, "put", "took so long that a sweep may take it for lost"
            )
        replica = None
        while replica is None:
            if provided.fresh and self._insert(session, [provided]):
                return
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
                provided.instead_of = replica.storage_key
                replica.storage_key, replica.created_at = provided.key, now()
                replica.bad_at = replica.verified_at = None
        elif replica.bad_at is not None or replica.storage_key != provided.key:
            raise ReplicaGone
        replica.retired_at = None
        provided.used = replica.storage_key

    def record_new(self, session: Session, copies: Sequence[Provided]) -> set[str]:
        """Does what `record` does with those of which there is no row yet, together; the digests of these.

        They are at one backend, each of another digest. Any other one is left to `record`.
        """
        fresh = [copy for copy in copies if copy.fresh and not self._is_late(copy)]
        return self._insert(session, fresh) if fresh else set()

    def adopt(self, session: Session, provided: Provided) -> None:
        """As `record`, of an object that another drive has put and that the caller has just read in full.

        However old its key is; and it is never removed, whatever becomes of this transaction. Raises
        ReplicaGone if these bytes are recorded there under another key.
        """
        self._insert(session, [provided])
        self.record(session, provided)

    def _is_late(self, provided: Provided) -> bool:
        return provided.fresh and now() - made_at(provided.key) > self._orphan_age / 2

    @staticmethod
    def _insert(session: Session, copies: Sequence[Provided]) -> set[str]:
        """Adds and counts the rows that are not there yet; their digests."""
        rows = [
            {
                "sha256": copy.sha256,
                "storage_backend": copy.backend,
                "storage_key": copy.key,
                "size": copy.pieces.size,
                "pieces": copy.pieces.sums,
                "created_at": now(),
            }
            for copy in copies
        ]
        # Not by the count of rows: for an INSERT of the ORM, PostgreSQL's driver does not tell it.
        statement = insert(session, Replica).on_conflict_do_nothing().returning(Replica.sha256)
        added = set(session.scalars(statement, rows))
        for copy in copies:
            if copy.sha256 in added:
                count(session, copy.backend, replicas=1, size=copy.pieces.size)
                copy.used = copy.key
        return added


def lock(session: Session, digests: Sequence[str]) -> Sequence[Replica]:
    """All replicas of these digests, locked in the order in which everybody locks them."""
    query = select(Replica).where(Replica.sha256.in_(digests))
    in_order = query.order_by(Replica.sha256, Replica.storage_backend)
    return session.scalars(in_order.with_for_update(key_share=True)).all()


def mark_bad(session: Session, sha256: str, key: str) -> bool:
    """This copy's bytes are wrong: deduplication does not trust it, and people see it.

    Named by its key, so that a copy written anew meanwhile is not meant. Returns whether that is news: it is
    not for a copy that has been swept, or was marked before.
    """
    there = (Replica.sha256 == sha256, Replica.storage_key == key, Replica.bad_at.is_(None))
    return bool(affected(session, update(Replica).where(*there).values(bad_at=now())))


def release(session: Session, sha256: str, backend: str) -> None:
    """Something stopped needing this replica: somebody should look whether anything still does.

    A full grace from now on, whatever stopped needing it before: its readers may be in the middle of it.
    """
    release_all(session, [sha256], backend)


def release_all(
    session: Session, digests: Sequence[str], backend: str, keep: timedelta = timedelta()
) -> None:
    """As `release`, the replicas of all these digests, which the caller has locked.

    They are kept for so long at least; what is kept longer for somebody else stays so.
    """
    there = (Replica.sha256.in_(digests), Replica.storage_backend == backend)
    released = update(Replica).where(*there).values(retired_at=now())
    if keep:
        until = now() + keep
        longest = case((Replica.keep_until > until, Replica.keep_until), else_=literal(until, UTCDateTime))
        released = released.values(keep_until=longest)
    session.execute(released)
