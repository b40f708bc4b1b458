"""Working at a migration: contents are copied side by side, homes are switched for several at a time."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

from sqlalchemy import exists, or_, select
from sqlalchemy.orm import Session, undefer

from simpledrive.errors import Busy, DriveError, ObjectMissing, StorageError, StorageUnavailable
from simpledrive.models import Blob, BlobHistory, ItemState, Migration, MigrationItem, Replica
from simpledrive.moving.copying import Copies, Copy
from simpledrive.moving.flow import Flow, Stopped
from simpledrive.moving.leasing import Leases
from simpledrive.moving.switching import GONE, Switch, Task, settle
from simpledrive.replicas import ReplicaGone, Replicas
from simpledrive.sql import ATTEMPTS, Database

log = logging.getLogger(__name__)

PAUSES = (0.5, 2.0)
"""Seconds before what failed by something that may pass is tried again."""
HOPELESS = 20
"""Contents that failed at a backend, one after the other, after which a run stops."""
LOOK = 0.5
"""Seconds between looks whether it is to stop, and whether what others have leased has become free."""


@dataclass(frozen=True)
class Outcome:
    """What became of the records of one content, which has `size` bytes, and why if they did not move."""

    sha256: str
    size: int
    state: ItemState
    records: int
    why: str = ""


class Run:
    """One worker's part in a migration, with so many threads.

    A run goes on as long as there is anything to try that no other worker is at, one content after the other;
    one that fails never stops the rest.
    """

    def __init__(
        self,
        database: Database,
        replicas: Replicas,
        copies: Copies,
        migration: Migration,
        *,
        workers: int,
        flow: Flow,
    ) -> None:
        self._database, self._replicas, self._copies = database, replicas, copies
        self._migration, self._workers, self._flow = migration, workers, flow
        self._leases = Leases(database, migration.id)
        self._under_way: dict[Future[Copy | None], Task] = {}
        self._again: list[Task] = []
        self._attempts: Counter[str] = Counter()
        self._failures = 0

    def outcomes(self) -> Generator[Outcome, None, None]:
        """Moves, and tells what became of each content. Closing the iterator ends the run.

        Raises Stopped when its flow is, or one content after the other fails at its backend: a full target
        stays full.
        """
        with self._leases.kept(), ThreadPoolExecutor(self._workers, "move") as pool:
            try:
                while self._submit(pool):
                    copied = self._copied()
                    yield from self._settled([(self._under_way.pop(copy), copy) for copy in copied])
                    if self._failures >= HOPELESS:
                        raise Stopped(f"{self._failures} contents failed one after the other.")
            finally:
                self._flow.stop()
                pool.shutdown(cancel_futures=True)
                self._forget_copies()

    def _submit(self, pool: ThreadPoolExecutor) -> bool:
        """Gives the threads more to do; whether anything is under way. Waits for what others have leased."""
        while True:
            room = 2 * self._workers - len(self._under_way)
            again, self._again = self._again, []
            for task in [*again, *(self._leases.take(room) if room >= self._workers else [])]:
                self._under_way[pool.submit(self._copy, task)] = task
            if self._under_way or not self._database.read(self._is_unfinished):
                return bool(self._under_way)
            self._flow.wait(LOOK)

    def _copied(self) -> set[Future[Copy | None]]:
        """Some that a thread has done with. Raises Stopped, and leaves all under way."""
        done: set[Future[Copy | None]] = set()
        while not done:
            done, _ = wait(self._under_way, timeout=LOOK, return_when=FIRST_COMPLETED)
            self._flow.wait(0)
        return done

    def _forget_copies(self) -> None:
        """Removes what was copied and is not switched to any more."""
        for copied in self._under_way:
            if not copied.cancelled() and copied.exception() is None and (copy := copied.result()):
                self._replicas.forget(copy.provided)

    def _is_unfinished(self, session: Session) -> bool:
        pending = exists().where(
            MigrationItem.migration == self._migration.id, MigrationItem.state == "pending"
        )
        running = select(Migration.id).where(Migration.id == self._migration.id, Migration.state == "running")
        return session.scalar(running.where(pending)) is not None

    def _copy(self, task: Task) -> Copy | None:
        """In a thread: the bytes at the target; None if no record at the source has them any more."""
        pauses, attempts = iter(PAUSES), iter(range(ATTEMPTS))
        while True:
            try:
                replica = self._database.read(partial(self._replica, task.sha256))
                if replica is None:
                    return None
                return self._copies.make(replica, self._migration.target, self._flow)
            except ReplicaGone:
                if next(attempts, None) is None:
                    raise Busy("Others keep changing these bytes.") from None
                pause = 0.0
            except (StorageUnavailable, Busy) as error:
                if (after := next(pauses, None)) is None:
                    raise
                pause = after
                log.warning("trying again: %s", error)
            self._flow.wait(pause)

    def _replica(self, sha256: str, session: Session) -> Replica | None:
        """The source's, with its pieces: half a megabyte for a large blob, so never several at a time."""
        source = self._migration.source
        named = [
            exists().where(table.sha256 == sha256, table.storage_backend == source)
            for table in (Blob, BlobHistory)
        ]
        query = select(Replica).where(
            Replica.sha256 == sha256, Replica.storage_backend == source, or_(*named)
        )
        return session.scalars(query.options(undefer(Replica.pieces))).one_or_none()

    def _settled(self, done: Sequence[tuple[Task, Future[Copy | None]]]) -> Iterator[Outcome]:
        copies = []
        for task, copied in done:
            error = copied.exception()
            if isinstance(error, Stopped):
                raise error
            if error is not None:
                yield self._failed(task, error)
            elif (copy := copied.result()) is not None:
                copies.append((task, copy))
            else:
                yield self._said(task, "gone", GONE)
        if copies:
            yield from self._switched(copies)

    def _switched(self, copies: Sequence[tuple[Task, Copy]]) -> Iterator[Outcome]:
        switch = Switch(self._replicas, self._migration, self._leases.worker, copies)
        with ExitStack() as stack:
            for _, copy in copies:
                stack.enter_context(self._replicas.settled(copy.provided))
            states = self._database.write(switch.switch)
        for task, _ in copies:
            if task.sha256 in states:
                self._failures = 0
                for state, records in states[task.sha256].items():
                    yield Outcome(task.sha256, task.size, state, records, GONE if state == "gone" else "")
            elif self._attempts[task.sha256] < ATTEMPTS:
                self._attempts[task.sha256] += 1
                self._again.append(task)
            else:
                yield self._said(task, "failed", "Others keep changing these bytes.")

    def _failed(self, task: Task, error: BaseException) -> Outcome:
        if isinstance(error, StorageError) and not isinstance(error, ObjectMissing):
            self._failures += 1
        if isinstance(error, DriveError):
            return self._said(task, "failed", str(error))
        log.error("a fault while moving %s", task.sha256, exc_info=error)
        return self._said(task, "failed", "A fault of the drive, which its log tells.")

    def _said(self, task: Task, state: ItemState, why: str) -> Outcome:
        self._database.write(
            lambda session: settle(session, self._migration.id, self._leases.worker, task, state, why)
        )
        return Outcome(task.sha256, task.size, state, len(task.records), why)
