"""A copy of recorded bytes at another backend, read back in full before anybody relies on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from simpledrive.backends import Backends
from simpledrive.errors import IntegrityFault, ObjectMissing
from simpledrive.models import Replica, now
from simpledrive.moving.flow import Flow
from simpledrive.replicas import Provided, ReplicaGone, Replicas, mark_bad
from simpledrive.sql import Database
from simpledrive.streams.pieces import Pieces
from simpledrive.streams.source import Reader, Source, drain


@dataclass(frozen=True)
class Copy:
    """Bytes at a target of which every one was read back, until `verified_at`, and is right."""

    provided: Provided
    source_key: str
    verified_at: datetime


class Copies:
    """Makes copies: what comes of one is recorded by the caller, in a transaction of his."""

    def __init__(self, database: Database, backends: Backends, replicas: Replicas) -> None:
        self._database, self._backends, self._replicas = database, backends, replicas

    def make(self, replica: Replica, target: str, flow: Flow) -> Copy:
        """The bytes of a replica (its pieces loaded) at the target, copied unless they are there already.

        The caller records it, within `Replicas.settled`. Raises ReplicaGone if the source's, or a copy that
        was there already, are no longer to be used; IntegrityFault if the source's are corrupt (which is
        marked, and copied nowhere) or the fresh copy reads back wrong; StorageError. Then nothing is left.
        """
        provided = self._provide(replica, target, flow)
        try:
            self._read_back(provided, flow)
        except BaseException:
            self._replicas.forget(provided)
            raise
        return Copy(provided, replica.storage_key, now())

    def _provide(self, replica: Replica, target: str, flow: Flow) -> Provided:
        source = Source(
            replica.size, replica.sha256, self._opener(replica.storage_backend, replica.storage_key, flow)
        )
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

    def _read_back(self, provided: Provided, flow: Flow) -> None:
        opener = self._opener(provided.backend, provided.key, flow)
        try:
            drain(Source(provided.pieces.size, provided.sha256, opener))
        except (IntegrityFault, ObjectMissing) as error:
            if provided.fresh:
                why = f"{provided.backend}: what was just copied there reads back wrong"
                raise IntegrityFault(why) from error
            # The next attempt makes another.
            self._database.write(lambda session: mark_bad(session, provided.sha256, provided.key))
            raise ReplicaGone from error

    def _opener(self, backend: str, key: str, flow: Flow) -> Callable[[], Reader]:
        storage = self._backends.use(backend)
        return lambda: flow.keep(storage.open(key))
