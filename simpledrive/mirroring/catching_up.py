"""A worker's part in keeping mirrors complete: copies are made side by side, read back, and recorded."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from functools import partial
from operator import itemgetter

from sqlalchemy import select
from sqlalchemy.orm import Session

from simpledrive.errors import Busy, DriveError, IntegrityFault, StorageError
from simpledrive.mirroring.search import Search
from simpledrive.mirroring.waiting import Waiting, Wanted
from simpledrive.mirrors import want_no_more
from simpledrive.models import Replica
from simpledrive.moving.copying import Copies, Copy
from simpledrive.moving.flow import Flow, Stopped
from simpledrive.moving.switching import record
from simpledrive.outages import Outages
from simpledrive.replicas import ReplicaGone, Replicas, lock
from simpledrive.sql import ATTEMPTS, Database

log = logging.getLogger(__name__)

THREADS = 4
SLICE = 10.0
"""Seconds after which other work gets its turn."""
REST = 15.0
"""Seconds for which a mirror that failed is left alone: else each wanted copy would find out by itself."""
LOOK = 0.5
"""Seconds between looks whether all is to stop."""


class CatchingUp:
    """The job of a worker that makes the copies which mirrors want. Any number of workers may.

    Bytes pass through the flow `within`.
    """

    def __init__(
        self,
        database: Database,
        replicas: Replicas,
        copies: Copies,
        outages: Outages,
        within: Flow | None = None,
    ) -> None:
        self._database, self._replicas, self._copies = database, replicas, copies
        self._outages, self._within = outages, within
        self._search = Search(database, replicas.mirrors)
        self._resting: dict[str, float] = {}

    def work(self, stop: threading.Event) -> bool:
        """Does some of what there is to do; returns whether there may be more at once.

        One copy that fails never stops the others. What was under way when `stop` was set is done anew later.
        """
        has_searched = self._search.step()
        return self._copy_some(stop) or has_searched

    def _copy_some(self, stop: threading.Event) -> bool:
        waiting, flow = Waiting(self._database, self._replicas.mirrors), Flow(within=self._within)
        if not (taken := self._taken(waiting)):
            return False
        under_way: dict[Future[Copy | None], Wanted] = {}
        until, has_done = time.monotonic() + SLICE, False
        with waiting.kept(), ThreadPoolExecutor(THREADS, "mirror") as pool:
            try:
                while taken or under_way:
                    under_way |= {pool.submit(self._copy, wanted, flow): wanted for wanted in taken}
                    done, _ = wait(under_way, timeout=LOOK, return_when=FIRST_COMPLETED)
                    self._settle(waiting, [(under_way.pop(copied), copied) for copied in done])
                    has_done = has_done or bool(done)
                    if stop.is_set():
                        flow.stop()
                    goes_on = not stop.is_set() and time.monotonic() < until
                    taken = self._taken(waiting) if goes_on and len(under_way) < THREADS else []
            finally:
                flow.stop()
                pool.shutdown(cancel_futures=True)
                self._forget(under_way)
        return has_done

    def _taken(self, waiting: Waiting) -> list[Wanted]:
        awake = [mirror for mirror in self._replicas.mirrors.every if not self._rests(mirror)]
        return waiting.take(2 * THREADS, awake) if awake else []

    def _rests(self, mirror: str) -> bool:
        return time.monotonic() < self._resting.get(mirror, 0.0)

    def _copy(self, wanted: Wanted, flow: Flow) -> Copy | None:
        """In a thread: the bytes at the mirror; None if nobody needs them there."""
        if not self._database.read(partial(self._is_needed, wanted)):
            return None
        useless: set[str] = set()
        why: DriveError = IntegrityFault("No good copy of these bytes is left.")
        for _ in range(ATTEMPTS):
            if self._rests(wanted.mirror):
                raise Stopped("Another copy has just failed there.")
            replica = self._database.read(partial(self._source, wanted, useless))
            if replica is None:
                raise why
            try:
                known = self._replicas.find(wanted.sha256, wanted.mirror)
                return self._copies.make(replica, wanted.mirror, known, flow)
            except ReplicaGone:
                continue
            except (StorageError, IntegrityFault) as error:
                if isinstance(error, StorageError) and error.backend == wanted.mirror:
                    raise
                useless.add(replica.storage_backend)
                why = error
        raise Busy("Others keep changing these bytes.")

    def _is_needed(self, wanted: Wanted, session: Session) -> bool:
        return self._replicas.mirrors.needs(session, wanted.sha256, wanted.mirror)

    def _source(self, wanted: Wanted, useless: Collection[str], session: Session) -> Replica | None:
        """A copy to read from, with its pieces: half a megabyte for a large blob, so never several's."""
        good = (
            Replica.sha256 == wanted.sha256,
            Replica.storage_backend != wanted.mirror,
            Replica.storage_backend.not_in(useless),
            Replica.bad_at.is_(None),
        )

        def rank(row: Replica) -> tuple[bool, bool, str]:
            is_silent = self._outages.includes(row.storage_backend)
            return is_silent, row.retired_at is not None, row.storage_backend

        best = min(session.scalars(select(Replica).where(*good)), key=rank, default=None)
        if best is not None:
            session.refresh(best, ["pieces"])
        return best

    def _settle(self, waiting: Waiting, done: Sequence[tuple[Wanted, Future[Copy | None]]]) -> None:
        """Records what was copied, first of all: whatever comes in between then leaves no copy behind."""
        ended = [(wanted, copied, copied.exception()) for wanted, copied in sorted(done, key=itemgetter(0))]
        copies = [(wanted, copied.result()) for wanted, copied, error in ended if error is None]
        if copies:
            with ExitStack() as stack:
                for _, copy in copies:
                    if copy is not None:
                        stack.enter_context(self._replicas.settled(copy.provided))
                self._database.write(partial(self._record, waiting, copies))
        for wanted, _, error in ended:
            if error is not None and not isinstance(error, Stopped):
                self._put_off(waiting, wanted, error)

    def _record(
        self, waiting: Waiting, copies: Sequence[tuple[Wanted, Copy | None]], session: Session
    ) -> None:
        """One transaction. A copy that nobody needs by now is not recorded, and so removed again."""
        lock(session, [wanted.sha256 for wanted, _ in copies])
        for wanted, copy in copies:
            if not waiting.is_needed(session, wanted) or (
                copy is not None and record(session, self._replicas, [copy])
            ):
                want_no_more(session, wanted.sha256, wanted.mirror)

    def _put_off(self, waiting: Waiting, wanted: Wanted, error: BaseException) -> None:
        if isinstance(error, StorageError) and error.backend == wanted.mirror:
            self._resting[wanted.mirror] = time.monotonic() + REST
        if isinstance(error, DriveError):
            why = str(error)
            log.warning("no copy of %s at %s yet: %s", wanted.sha256, wanted.mirror, why)
        else:
            why = "A fault of the drive, which its log tells."
            log.error("a fault while copying %s", wanted.sha256, exc_info=error)
        waiting.put_off(wanted, why)

    def _forget(self, under_way: Iterable[Future[Copy | None]]) -> None:
        """Removes what was copied and is not recorded any more."""
        for copied in under_way:
            if not copied.cancelled() and copied.exception() is None and (copy := copied.result()):
                self._replicas.forget(copy.provided)
