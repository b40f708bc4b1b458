"""Records and objects of one backend compared, both ways. Sizes are compared; bytes are verifying's business.

First each recorded copy is asked for, then all objects are listed. Neither way depends on the other: a drive
in use changes between them, and what one of them suspects is looked at again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from functools import partial

from sqlalchemy import select

from simpledrive.backends import Backends
from simpledrive.errors import ObjectMissing, StorageError, StorageUnavailable
from simpledrive.integrity.checking import NOT_THERE, Checker, State
from simpledrive.integrity.findings import Finding, Kind, Looked
from simpledrive.integrity.pages import paged
from simpledrive.integrity.repairing import Repairs
from simpledrive.integrity.verifying import HOPELESS
from simpledrive.models import Replica
from simpledrive.moving.flow import Flow
from simpledrive.orphans import Orphans, TooManyOrphans
from simpledrive.sql import Database
from simpledrive.storage.base import Storage
from simpledrive.threads import side_by_side

THREADS = 8


class Comparison:
    """Compares what is recorded of a backend with what lies there."""

    def __init__(self, database: Database, backends: Backends, repairs: Repairs, orphans: Orphans) -> None:
        self._database, self._backends = database, backends
        self._repairs, self._orphans = repairs, orphans
        self._checker = Checker(backends)

    def findings(self, backend: str, looked: Looked, *, fix: bool) -> Iterator[Finding]:
        """What is not as it should be. Raises StorageError if the backend cannot be looked at."""
        storage = self._backends.use(backend)
        self._backends.check(backend)
        yield from self._of_records(storage, looked, fix)
        yield from self._of_objects(storage, looked, fix)

    def _of_records(self, storage: Storage, looked: Looked, fix: bool) -> Iterator[Finding]:
        recorded = select(Replica).where(Replica.storage_backend == storage.name)
        replicas = paged(self._database, recorded, Replica.sha256)
        flow, unread = Flow(), 0
        work = partial(self._look, storage=storage, flow=flow, fix=fix)
        with closing(side_by_side(work, replicas, THREADS, flow.stop)) as looks:
            for done in looks:
                for finding in [look.result() for _, look in done]:
                    looked.replicas += 1
                    unread = unread + 1 if finding and finding.kind == "unread" else 0
                    if finding is not None:
                        yield finding
                    if unread >= HOPELESS:
                        why = f"{unread} copies could not be looked at, one after the other"
                        raise StorageUnavailable(storage.name, "size", why)

    def _look(self, replica: Replica, *, storage: Storage, flow: Flow, fix: bool) -> Finding | None:
        """In a thread: what is wrong with a copy, mended if asked to; None if nothing is."""
        kind: Kind
        state: State = "wrong"
        try:
            size = storage.size(replica.storage_key)
        except ObjectMissing:
            kind, state, why = "missing", "missing", NOT_THERE
        except StorageError as error:
            return Finding("unread", storage.name, replica.storage_key, str(error))
        else:
            if size != replica.size:
                kind, why = "size", f"It has {size} bytes instead of {replica.size}."
            elif replica.bad_at is not None:
                kind, why = "bad", f"It is marked bad since {replica.bad_at:%Y-%m-%d}."
            else:
                return None
        verdict = self._checker.judged(replica, state, why)
        if verdict.state == "unread":
            return Finding("unread", storage.name, replica.storage_key, verdict.why)
        if fix:
            verdict = self._repairs.settle(verdict, flow, repair=True)
        elif not self._is_recorded(replica):
            return None
        if verdict.state == "gone":
            return None
        return Finding(kind, storage.name, replica.storage_key, verdict.why, verdict.state == "repaired")

    def _of_objects(self, storage: Storage, looked: Looked, fix: bool) -> Iterator[Finding]:
        why = "No record names it."
        if fix:
            self._backends.check(storage.name)
            try:
                for key in self._orphans.remove(storage):
                    yield Finding("stray", storage.name, key, why, fixed=True)
            except TooManyOrphans as error:
                why = f"{why} Not removed: {error}"
        for objects, orphans in self._orphans.listed(storage):
            looked.objects += objects
            for key in orphans:
                if _is_there(storage, key):
                    yield Finding("stray", storage.name, key, why)

    def _is_recorded(self, replica: Replica) -> bool:
        place = (replica.sha256, replica.storage_backend)
        found = self._database.read(lambda session: session.get(Replica, place))
        return found is not None and found.storage_key == replica.storage_key


def _is_there(storage: Storage, key: str) -> bool:
    """Not swept since it was listed."""
    try:
        storage.size(key)
    except ObjectMissing:
        return False
    return True
