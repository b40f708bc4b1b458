"""Verifying: many replicas read side by side, what they are recorded as they are read."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import Future
from contextlib import closing
from dataclasses import replace
from functools import partial

from simpledrive.backends import Backends
from simpledrive.errors import StorageUnavailable
from simpledrive.integrity.checking import Checker, Verdict
from simpledrive.integrity.recording import note_right
from simpledrive.integrity.repairing import Repairs
from simpledrive.models import Replica
from simpledrive.moving.flow import Flow, Stopped
from simpledrive.sql import Database
from simpledrive.threads import side_by_side

log = logging.getLogger(__name__)

HOPELESS = 20
"""Replicas that could not be read, one after the other, after which a run stops."""


class Verifier:
    """Reads replicas and records what they are."""

    def __init__(self, database: Database, backends: Backends, repairs: Repairs) -> None:
        self._database, self._backends, self._repairs = database, backends, repairs
        self._checker = Checker(backends)

    def run(
        self,
        backend: str,
        replicas: Iterable[Replica],
        flow: Flow,
        *,
        threads: int = 1,
        repair: bool = False,
    ) -> Generator[Verdict, None, None]:
        """Reads these replicas of a backend, and tells of each what it is, when that is recorded.

        With `repair` each that is bad is written again from a good one, if there is any. Raises StorageError
        if the backend's marker is not there and this drive's, or if it gives one replica after the other no
        more; Stopped if the flow was.
        """
        self._backends.use(backend)
        self._backends.check(backend)
        unread = 0
        work = partial(self._work, flow=flow, repair=repair)
        with closing(side_by_side(work, replicas, threads, flow.stop)) as runs:
            for done in runs:
                for verdict in self._recorded(backend, [_result(*one) for one in done]):
                    unread = unread + 1 if verdict.state == "unread" else 0
                    yield verdict
                    if unread >= HOPELESS:
                        why = f"{unread} copies could not be read, one after the other"
                        raise StorageUnavailable(backend, "read", why)

    def _work(self, replica: Replica, *, flow: Flow, repair: bool) -> Verdict:
        """In a thread: read; marked and repaired if it is bad."""
        verdict = self._checker.check(replica, flow)
        if verdict.state in ("wrong", "missing"):
            return self._repairs.settle(verdict, flow, repair=repair)
        return verdict

    def _recorded(self, backend: str, verdicts: Sequence[Verdict]) -> list[Verdict]:
        right = [verdict for verdict in verdicts if verdict.state == "right"]
        noted = self._database.write(lambda session: note_right(session, backend, right)) if right else set()
        return [
            replace(verdict, state="gone")
            if verdict.state == "right" and verdict.replica.sha256 not in noted
            else verdict
            for verdict in verdicts
        ]


def _result(replica: Replica, read: Future[Verdict]) -> Verdict:
    error = read.exception()
    if error is None:
        return read.result()
    if isinstance(error, Stopped):
        raise error
    log.error("a fault while verifying %s", replica.sha256, exc_info=error)
    return Verdict(replica, "unread", "A fault of the drive, which its log tells.")
