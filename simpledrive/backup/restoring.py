"""A run, back into an empty drive of any configuration.

Records come back some hundred at a time, when all of their bytes have been provided. What is recorded is
done: after an interruption the same call passes over it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from sqlalchemy.orm import Session

from simpledrive.backends import Backends
from simpledrive.backup import recording
from simpledrive.backup.folder import Folder
from simpledrive.backup.providing import Found, Provider
from simpledrive.backup.recording import Place, Restoration
from simpledrive.backup.runs import BackupError, Content, End, Record, Run
from simpledrive.errors import (
    Busy,
    DriveError,
    IntegrityFault,
    Invalid,
    ObjectMissing,
    StorageError,
    StorageFull,
)
from simpledrive.moving.running import HOPELESS
from simpledrive.replicas import Provided, ReplicaGone, Replicas
from simpledrive.rights import Caller
from simpledrive.sql import ATTEMPTS, Database
from simpledrive.streams.staging import Staging
from simpledrive.threads import side_by_side

log = logging.getLogger(__name__)

T = TypeVar("T")

RECORDS = 300
BYTES = 1 << 30
"""What one transaction brings back, at most: so much is done again after an interruption."""

TAKEN = "its id was taken meanwhile"
LOST = "it was there, and is not any more"


@dataclass(frozen=True)
class Restored:
    """Records that are in the drive now, or why they are not. Those that were erased since are neither."""

    records: Sequence[Record]
    why: str = ""


class Restores:
    """Brings runs back. Wants the scope admin, everywhere."""

    def __init__(self, database: Database, backends: Backends, replicas: Replicas, staging: Staging) -> None:
        self._database, self._backends = database, backends
        self._replicas, self._staging = replicas, staging

    def begin(
        self,
        caller: Caller,
        folder: Folder,
        run: Run,
        backend: str | None = None,
        adopted: Collection[str] = (),
    ) -> Restoring:
        """A restore of that run, or the same one gone on with.

        Bytes come to the backend of the name that they were at, to the default where there is none of that
        name; all of them to `backend`, if that is given. The `adopted` backends are taken over from the drive
        of the run, which must be gone, with the bytes that lie there.

        Raises BackupError for a run that is not whole and for a drive that is not empty, BackendNotFound, and
        the StorageError of a backend that cannot be used.
        """
        caller.require_everywhere("admin")
        end = run.check()
        for name in [*adopted, *([] if backend is None else [backend])]:
            self._backends.require(name)
        homes = {name: backend or self._home(name) for name in end.backends}
        for name in adopted:
            if homes.get(name) != name:
                raise BackupError(f"Nothing of this run is to be at {name}: there is nothing to adopt.")
        self._database.write(partial(recording.begin, caller=caller, run=run, digest=end.sha256))
        for name in adopted:
            self._backends.adopt(name, str(run.header().drive))
        for name in sorted(set(homes.values())):
            self._backends.use(name)
        provider = Provider(self._backends, self._replicas, self._staging, folder)
        return Restoring(
            self._database, self._replicas, provider, caller, run, end, homes, frozenset(adopted)
        )

    def _home(self, name: str) -> str:
        return name if name in self._backends else self._backends.default


@dataclass
class _Ready:
    """What of a portion lies at its backend, and why the rest does not."""

    found: dict[Place, Found] = field(default_factory=dict)
    failed: dict[Place, str] = field(default_factory=dict)


@dataclass
class Restoring:
    """A restore under way. `homes`: where the bytes of each backend of the run come to."""

    database: Database
    replicas: Replicas
    provider: Provider
    caller: Caller
    run: Run
    end: End
    homes: Mapping[str, str]
    adopted: Collection[str]
    _loose: dict[str, Provided] = field(default_factory=dict, init=False)
    _failures: int = field(default=0, init=False)

    def outcomes(self, workers: int) -> Generator[Restored, None, None]:
        """Restores, in so many threads, then looks whether all of it is there; tells of every record.

        One that fails never stops the rest. Raises StorageFull, StagingFull, and the StorageError of a
        backend at which one content after the other fails.
        """
        failed = 0
        try:
            for portion in self._portions():
                for outcome in self._bring(portion, workers):
                    failed += bool(outcome.why)
                    yield outcome
        finally:
            for provided in self._loose.values():
                self.replicas.forget(provided)
        if failed:
            return
        for portion in self._portions():
            if lost := self._read(recording.lost, portion):
                failed += 1
                yield Restored(lost, LOST)
        if not failed:
            self.database.write(
                partial(recording.end, caller=self.caller, run=self.run, digest=self.end.sha256)
            )

    def _portions(self) -> Iterator[list[Record]]:
        """The records with bytes in the back-up, as many at a time as one transaction brings back."""
        portion: list[Record] = []
        size = 0
        for record in self.run.readable():
            if not portion or portion[-1].sha256 != record.sha256:
                size += record.size
            portion.append(record)
            if len(portion) == RECORDS or size >= BYTES:
                yield portion
                portion, size = [], 0
        if portion:
            yield portion

    def _bring(self, portion: Sequence[Record], workers: int) -> Iterator[Restored]:
        before = self.database.read(partial(recording.there, records=portion))
        erased = self._read(recording.erased, portion)
        there = [record for record in portion if record.record in before]
        if there:
            yield Restored(there)
        new = []
        for record in portion:
            if record.record in before or record.record in erased:
                continue
            if (why := recording.flaw(record)) is None:
                new.append(record)
            else:
                yield Restored([record], why)
        for _ in range(ATTEMPTS if new else 0):
            ready = self._provide(new, workers)
            try:
                yield from self._recorded(new, ready)
            except ReplicaGone:
                continue
            except Invalid as error:
                yield from self._one_by_one(new, str(error), workers)
            return
        if new:
            raise Busy("These bytes are being stored and deleted too often at this moment.")

    def _one_by_one(self, records: Sequence[Record], why: str, workers: int) -> Iterator[Restored]:
        """One of these is not acceptable to this drive's database: it alone is to stay out."""
        if len(records) == 1:
            yield Restored(records, why)
            return
        for record in records:
            yield from self._bring([record], workers)

    def _provide(self, records: Iterable[Record], workers: int) -> _Ready:
        wanted = {self._place(record): record for record in records}
        ready = _Ready()
        with closing(side_by_side(self._try, wanted.items(), workers)) as batches:
            for done in batches:
                for (place, _), tried in done:
                    found = tried.result()
                    if isinstance(found, Found):
                        ready.found[place] = found
                        self._failures = 0
                    else:
                        self._judge(found)
                        ready.failed[place] = str(found)
        return ready

    def _try(self, wanted: tuple[Place, Record]) -> Found | DriveError:
        """In a thread. What nobody has recorded yet is noted, to be removed if nobody ever does."""
        place, record = wanted
        key = record.storage_key if record.storage_backend in self.adopted else None
        try:
            found = self.provider.provide(Content(record.sha256, record.size), place[1], key)
        except DriveError as error:
            return error
        except Exception:
            log.exception("a fault while restoring %s", record.sha256)
            return BackupError("a fault of the drive, which its log tells")
        self._loose[found.provided.key] = found.provided
        return found

    def _judge(self, error: DriveError) -> None:
        """Returns if only this content failed; raises if nothing else would go better."""
        if isinstance(error, StorageFull) or not isinstance(
            error, BackupError | IntegrityFault | StorageError
        ):
            raise error
        if isinstance(error, StorageError) and not isinstance(error, ObjectMissing):
            self._failures += 1
            if self._failures >= HOPELESS:
                raise error

    def _recorded(self, records: Sequence[Record], ready: _Ready) -> Iterator[Restored]:
        able = [record for record in records if self._place(record) in ready.found]
        homes = {record.record: self._place(record)[1] for record in able}
        restoration = Restoration(
            self.replicas, self.caller, self.run, self.end.sha256, able, homes, ready.found
        )
        with ExitStack() as stack:
            for found in ready.found.values():
                stack.enter_context(self.replicas.settled(found.provided))
            self._loose.clear()
            present = self.database.write(restoration.restore) if able else set()
        erased = self._read(recording.erased, able)
        if restored := [record for record in able if record.record in present - erased]:
            yield Restored(restored)
        if taken := [record for record in able if record.record not in present]:
            yield Restored(taken, TAKEN)
        for place, why in ready.failed.items():
            yield Restored([record for record in records if self._place(record) == place], why)

    def _read(self, look: Callable[[Session, str, Sequence[Record]], T], records: Sequence[Record]) -> T:
        """What a look at some records says, as far as this restore has come."""
        return self.database.read(lambda session: look(session, self.end.sha256, records))

    def _place(self, record: Record) -> Place:
        return record.sha256, self.homes[record.storage_backend]
