"""What workers do of migrations, of their own accord: what the states of these ask for, the oldest first."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable

from simpledrive.backends import Backends
from simpledrive.errors import DriveError
from simpledrive.models import Migration, MigrationState
from simpledrive.moving.flow import Flow
from simpledrive.moving.work import MigrationWork

log = logging.getLogger(__name__)

THREADS = 4
"""Contents of one migration that a worker copies side by side."""
AGAIN = 60.0
"""Seconds for which a worker leaves alone what it could not go on with: a backend that is down or full."""


class MigrationJobs:
    """Each call takes up one migration until there is nothing left to do, or `stop` is set.

    Bytes pass through the flow `within`.

    Returns whether there was one, so that there may be another.
    """

    def __init__(self, work: MigrationWork, backends: Backends, within: Flow | None = None) -> None:
        self._work, self._backends, self._within = work, backends, within
        self._not_before: dict[str, float] = {}

    def plan(self, stop: threading.Event) -> bool:
        return self._take_up(self._plan, stop, "planning")

    def move(self, stop: threading.Event) -> bool:
        return self._take_up(self._move, stop, "running")

    def settle(self, stop: threading.Event) -> bool:
        """Rolls back, and lets go of what has been finalized."""
        return self._take_up(self._settle, stop, "rolling_back", "finalizing")

    def _take_up(
        self, work: Callable[[Migration, Flow], None], stop: threading.Event, *states: MigrationState
    ) -> bool:
        waiting = self._work.waiting(*states)
        ready = [one for one in waiting if self._not_before.get(one.id, 0.0) <= time.monotonic()]
        if not ready:
            return False
        migration = ready[0]
        is_done = False
        try:
            work(migration, Flow(stop=stop, within=self._within))
            is_done = True
        except DriveError as error:
            if not stop.is_set():
                log.warning("migration %s, %s: %s", migration.id, migration.state, error)
        finally:
            self._not_before.pop(migration.id, None)
            if not is_done:
                self._not_before[migration.id] = time.monotonic() + AGAIN
        return True

    def _plan(self, migration: Migration, flow: Flow) -> None:
        planned = self._work.plan(migration, flow)
        log.info("migration %s is planned: %d records", planned.id, planned.items)

    def _move(self, migration: Migration, flow: Flow) -> None:
        # What cannot be reached at all is not to be tried with one content after the other.
        for name in (migration.source, migration.target):
            self._require(name)
        told: Counter[str] = Counter()
        for outcome in self._work.move(migration, THREADS, flow):
            told[outcome.state] += outcome.records
        log.info("migration %s was worked at: %s", migration.id, dict(told))

    def _settle(self, migration: Migration, flow: Flow) -> None:
        if migration.state == "finalizing":
            self._work.let_go(migration, flow)
            return
        self._require(migration.source)
        told: Counter[str] = Counter()
        for outcome in self._work.go_back(migration, flow):
            told[outcome.state] += outcome.records
        log.info("migration %s was rolled back: %s", migration.id, dict(told))

    def _require(self, backend: str) -> None:
        self._backends.use(backend)
        self._backends.check(backend)
