"""Working at a migration: contents are copied side by side, homes are switched for several at a time."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Generator, Iterator, Sequence
from concurrent.futures import ALL_COMPLETED, FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from sqlalchemy import and_, exists, or_, select
from sqlalchemy.orm import Session, undefer

from simpledrive.backends import Backends
from simpledrive.errors import (
    Busy,
    DriveError,
    ObjectMissing,
    StorageError,
    StorageFull,
    StorageUnavailable,
)
from simpledrive.models import Blob, BlobHistory, ItemState, Migration, MigrationItem, Replica
from simpledrive.moving.copying import Copies, Copy
from simpledrive.moving.flow import Flow, Stopped
from simpledrive.moving.leasing import Leases
from simpledrive.moving.states import Overtaken
from simpledrive.moving.switching import GONE, Portion, Switch, Task, leave
from simpledrive.replicas import ReplicaGone, Replicas
from simpledrive.sql import ATTEMPTS, Database

log = logging.getLogger(__name__)

PAUSES = (0.5, 2.0)
"""Seconds before what failed by something that may pass is tried again."""
HOPELESS = 20
"""Contents that failed at a backend, one after the other, after which it is the backend that fails."""
AHEAD = 16
"""Small contents that are leased for each thread, so that none waits for a transaction."""
GATHERING = 0.1
"""Seconds that a copy waits for others, to be switched to in one transaction with them."""
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


class There(NamedTuple):
    """The replicas of some bytes; `source` only as long as a record has its home there."""

    source: Replica | None
    target: Replica | None


class Run:
    """One worker's part in a migration, with so many threads.

    A run goes on as long as there is anything to try that no other worker is at, one content after the other;
    one that fails never stops the rest.
    """

    def __init__(
        self,
        database: Database,
        backends: Backends,
        replicas: Replicas,
        copies: Copies,
        migration: Migration,
        *,
        workers: int,
        flow: Flow,
    ) -> None:
        self._database, self._backends = database, backends
        self._replicas, self._copies = replicas, copies
        self._migration, self._workers, self._flow = migration, workers, flow
        self._leases = Leases(database, migration.id)
        self._under_way: dict[Future[Copy | None], Task] = {}
        self._again: list[Task] = []
        self._attempts: Counter[str] = Counter()
        self._put_by: list[tuple[Task, StorageError]] = []  # failed at a place, which may be what failed

    def outcomes(self) -> Generator[Outcome, None, None]:
        """Moves, and tells what became of each content. Closing the iterator ends the run.

        Raises Stopped when its flow is. Raises StorageError, and leaves what it could not move, if it was the
        place and not the content: it was full, or failed again and again, or cannot be used at all.
        """
        with self._leases.kept(), ThreadPoolExecutor(self._workers, "move") as pool:
            try:
                while self._submit(pool):
                    yield from self._write_down(self._copied())
                yield from self._judged()
            except Overtaken:
                log.info("migration %s is no longer to be worked at", self._migration.id)
            finally:
                self._flow.stop()
                pool.shutdown(cancel_futures=True)
                self._forget_copies()

    def _submit(self, pool: ThreadPoolExecutor) -> bool:
        """Gives the threads more to do; whether anything is under way. Waits for what others have leased."""
        while True:
            tasks, self._again = self._again, []
            if sum(not copied.done() for copied in self._under_way) <= self._workers:
                tasks = [*tasks, *self._leases.take(self._workers, AHEAD * self._workers)]
            there = self._look(tasks)
            for task in tasks:
                self._under_way[pool.submit(self._copy, task, there[task.sha256])] = task
            if self._under_way or not self._database.read(self._is_unfinished):
                return bool(self._under_way)
            self._flow.wait(LOOK)

    def _copied(self) -> set[Future[Copy | None]]:
        """Some that a thread has done with. Raises Stopped, and leaves all under way."""
        done: set[Future[Copy | None]] = set()
        while not done:
            done, _ = wait(self._under_way, timeout=LOOK, return_when=FIRST_COMPLETED)
            self._flow.wait(0)
        done, _ = wait(self._under_way, timeout=GATHERING, return_when=ALL_COMPLETED)
        return done

    def _forget_copies(self) -> None:
        """Removes what was copied and is not switched to any more."""
        for copied in self._under_way:
            if not copied.cancelled() and copied.exception() is None and (copy := copied.result()):
                self._replicas.forget(copy.provided)

    def _is_unfinished(self, session: Session) -> bool:
        """Whether there is, or will be, anything to try but what is put by."""
        pending = exists().where(
            MigrationItem.migration == self._migration.id,
            MigrationItem.state == "pending",
            MigrationItem.sha256.not_in([task.sha256 for task, _ in self._put_by]),
        )
        goes_on = (Migration.id == self._migration.id, Migration.state.in_(["planning", "running"]))
        return session.scalar(select(Migration.id).where(*goes_on, pending)) is not None

    def _look(self, tasks: Sequence[Task]) -> dict[str, There]:
        """What is recorded of the bytes of these tasks."""
        if not tasks:
            return {}
        digests = [task.sha256 for task in tasks]
        found = self._database.read(partial(self._replicas_of, digests))
        rows = {(row.sha256, row.storage_backend): row for row in found}
        source, target = self._migration.source, self._migration.target
        return {sha256: There(rows.get((sha256, source)), rows.get((sha256, target))) for sha256 in digests}

    def _copy(self, task: Task, there: There) -> Copy | None:
        """In a thread: the bytes at the target; None if no record at the source has them any more."""
        pauses, attempts = iter(PAUSES), iter(range(ATTEMPTS))
        while True:
            if there.source is None:
                return None
            try:
                return self._copies.make(there.source, self._migration.target, there.target, self._flow)
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
            there = self._look([task])[task.sha256]

    def _replicas_of(self, digests: Sequence[str], session: Session) -> Sequence[Replica]:
        """With their pieces: half a megabyte of a large blob, of which few are leased at a time."""
        source, target = self._migration.source, self._migration.target
        named = [
            exists().where(table.sha256 == Replica.sha256, table.storage_backend == source)
            for table in (Blob, BlobHistory)
        ]
        here = or_(Replica.storage_backend == target, and_(Replica.storage_backend == source, or_(*named)))
        query = select(Replica).where(Replica.sha256.in_(digests), here)
        return session.scalars(query.options(undefer(Replica.pieces))).all()

    def _write_down(self, done: Collection[Future[Copy | None]]) -> Iterator[Outcome]:
        copies = {copied: copied.result() for copied in done if copied.exception() is None}
        fresh = [(self._under_way.pop(copied), copy) for copied, copy in copies.items() if copy is not None]
        if fresh:
            yield from self._switched(fresh)
        for copied in done:
            if (task := self._under_way.get(copied)) is None:
                continue
            error = copied.exception()
            if isinstance(error, Stopped):
                raise error
            del self._under_way[copied]
            yield from self._said(task, "gone", GONE) if error is None else self._failed(task, error)

    def _switched(self, copies: Sequence[tuple[Task, Copy]]) -> Iterator[Outcome]:
        while copies:
            portions = self._switch([copy for _, copy in copies])
            for task, _ in copies:
                if task.sha256 in portions:
                    yield from self._outcomes(task, portions[task.sha256])
                elif self._attempts[task.sha256] < ATTEMPTS:
                    self._attempts[task.sha256] += 1
                    self._again.append(task)
                else:
                    yield from self._said(task, "failed", "Others keep changing these bytes.")
            if portions:  # the places work: what failed before failed by itself
                yield from self._give_up([f for f in self._put_by if not isinstance(f[1], StorageFull)])
            # More items have these bytes, whose copy is there by now, and recorded.
            left = {sha256 for sha256, what in portions.items() if what.has_more}
            copies = [(task, copy.found()) for task, copy in copies if task.sha256 in left]

    def _switch(self, copies: Sequence[Copy]) -> dict[str, Portion]:
        switch = Switch(self._replicas, self._migration, self._leases.worker, copies)
        with ExitStack() as stack:
            for copy in copies:
                stack.enter_context(self._replicas.settled(copy.provided))
            return self._database.write(switch.switch)

    def _failed(self, task: Task, error: BaseException) -> Iterator[Outcome]:
        if isinstance(error, StorageError) and not isinstance(error, ObjectMissing):
            self._put_by.append((task, error))
            if len(self._put_by) >= HOPELESS:
                raise error
            return
        if isinstance(error, DriveError):
            yield from self._said(task, "failed", str(error))
        else:
            log.error("a fault while moving %s", task.sha256, exc_info=error)
            yield from self._said(task, "failed", "A fault of the drive, which its log tells.")

    def _judged(self) -> Iterator[Outcome]:
        """What is put by at the end failed by itself if the places work. StorageError if one does not."""
        for _, error in self._put_by:
            if isinstance(error, StorageFull):
                raise error
        if self._put_by:
            self._backends.check(self._migration.source)
            self._backends.use(self._migration.target).probe()
        yield from self._give_up(self._put_by)

    def _give_up(self, faults: Sequence[tuple[Task, StorageError]]) -> Iterator[Outcome]:
        for fault in list(faults):
            self._put_by.remove(fault)
            task, error = fault
            yield from self._said(task, "failed", str(error))

    def _said(self, task: Task, state: ItemState, why: str) -> Iterator[Outcome]:
        mine = (self._migration.id, self._leases.worker, task)
        has_more = True
        while has_more:
            portion = self._database.write(lambda session: leave(session, *mine, state, why))
            has_more = portion.has_more
            yield from self._outcomes(task, portion, why)

    def _outcomes(self, task: Task, portion: Portion, why: str = "") -> Iterator[Outcome]:
        for state, records in portion.states.items():
            reason = GONE if state == "gone" else why
            yield Outcome(task.sha256, task.size, state, records, reason)
