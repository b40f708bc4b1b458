"""A copy of recorded bytes at another backend, read back in full before anybody relies on it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from simpledrive.backends import Backends
from simpledrive.errors import IntegrityFault, ObjectMissing, StorageUnavailable
from simpledrive.models import Replica, now
from simpledrive.moving.flow import Flow
from simpledrive.replicas import Provided, ReplicaGone, Replicas, mark_bad
from simpledrive.sql import Database
from simpledrive.streams.ahead import drain
from simpledrive.streams.pieces import Pieces
from simpledrive.streams.source import Source


@dataclass(frozen=True)
class Copy:
    """Bytes at a target of which every one was read back, until `verified_at`, and is right."""

    provided: Provided
    source_key: str
    verified_at: datetime

    def found(self) -> Copy:
        """The same once it is recorded: nobody removes its bytes any more, whatever comes."""
        return replace(self, provided=replace(self.provided, fresh=False))


class Copies:
    """Makes copies: what comes of one is recorded by the caller, in a transaction of his."""

    def __init__(self, database: Database, backends: Backends, replicas: Replicas) -> None:
        self._database, self._backends, self._replicas = database, backends, replicas

    def make(self, replica: Replica, target: str, known: Replica | None, flow: Flow) -> Copy:
        """The bytes of a replica (its pieces loaded) at the target, copied unless they are there already.

        `known` is the target's own replica of them, if there is one. The caller records it, within
        `Replicas.settled`. Raises ReplicaGone if the source's, or a copy that was there already, are no
        longer to be used; IntegrityFault if the source's are corrupt, also when they are read again (which
        is marked, and copied nowhere); StorageError, also if the fresh copy reads back wrong. Then nothing
        is left.
        """
        provided = self._provide(replica, target, known, flow)
        try:
            self._read_back(provided, flow)
        except BaseException:
            self._replicas.forget(provided)
            raise
        return Copy(provided, replica.storage_key, now())

    def _provide(self, replica: Replica, target: str, known: Replica | None, flow: Flow) -> Provided:
        source = self._source(
            replica.storage_backend, replica.storage_key, replica.size, replica.sha256, flow
        )
        pieces = Pieces(replica.size, replica.pieces)
        try:
            try:
                return self._replicas.provide(source, pieces, target, known)
            except IntegrityFault:
                # Were they altered on their way only? Then the copy was in vain, and not the bytes.
                self._look_again(source, replica.storage_key)
                return self._replicas.provide(source, pieces, target, known)
        except IntegrityFault as error:
            raise IntegrityFault(f"{replica.storage_backend}: {error}") from error
        except ObjectMissing as error:
            # Really gone, or the whole place?
            self._backends.check(replica.storage_backend)
            now_there = self._replicas.find(replica.sha256, replica.storage_backend)
            if now_there is not None and now_there.storage_key == replica.storage_key:
                raise
            raise ReplicaGone from error

    def _read_back(self, provided: Provided, flow: Flow) -> None:
        size, sha256 = provided.pieces.size, provided.sha256
        source = self._source(provided.backend, provided.key, size, sha256, flow)
        try:
            drain(source)
        except (IntegrityFault, ObjectMissing) as error:
            if provided.fresh:
                why = "what was just copied there reads back wrong"
                raise StorageUnavailable(provided.backend, "read", why) from error
            try:
                self._look_again(source, provided.key)
            except (IntegrityFault, ObjectMissing):
                raise ReplicaGone from error  # the next attempt makes another

    def _look_again(self, source: Source, key: str) -> None:
        """Returns if a second reading finds these bytes right. If it finds them wrong, that is marked."""
        try:
            drain(source)
        except IntegrityFault:
            self._database.write(lambda session: mark_bad(session, source.sha256, key))
            raise

    def _source(self, backend: str, key: str, size: int, sha256: str, flow: Flow) -> Source:
        storage = self._backends.use(backend)
        return Source(size, sha256, lambda: flow.keep(storage.open(key)))
