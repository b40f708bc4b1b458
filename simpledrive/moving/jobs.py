"""What workers do of migrations, of their own accord: what the states of these ask for, the oldest first."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import NamedTuple

from simpledrive.errors import DriveError
from simpledrive.models import Migration, MigrationState
from simpledrive.moving.flow import Flow
from simpledrive.moving.running import Outcome
from simpledrive.moving.work import MigrationWork

log = logging.getLogger(__name__)

THREADS = 4
"""Contents of one migration that a worker copies side by side."""
AGAIN = 60.0
"""Seconds for which a worker leaves alone what it could not go on with: a backend that is down or full."""
LONGEST = 3600.0
"""The same when it could not again and again."""


class Rest(NamedTuple):
    """Until when, and for how many seconds, a migration is left alone."""

    until: float
    seconds: float


class MigrationJobs:
    """Each call takes up one migration until there is nothing left to do, or `stop` is set.

    Bytes pass through the flow `within`.

    Returns whether there was one, so that there may be another.
    """

    def __init__(self, work: MigrationWork, within: Flow | None = None) -> None:
        self._work, self._within = work, within
        self._rests: dict[tuple[MigrationState, str], Rest] = {}

    def plan(self, stop: threading.Event) -> bool:
        return self._take_up("planning", self._plan, stop)

    def move(self, stop: threading.Event) -> bool:
        return self._take_up("running", self._move, stop)

    def roll_back(self, stop: threading.Event) -> bool:
        return self._take_up("rolling_back", self._go_back, stop)

    def finalize(self, stop: threading.Event) -> bool:
        return self._take_up("finalizing", self._work.let_go, stop)

    def _take_up(
        self, state: MigrationState, work: Callable[[Migration, Flow], None], stop: threading.Event
    ) -> bool:
        waiting = self._work.waiting(state)
        migration = next((one for one in waiting if self._is_ready(state, one.id)), None)
        if migration is None:
            return False
        try:
            work(migration, Flow(stop=stop, within=self._within))
        except DriveError as error:
            if not stop.is_set():
                log.warning("migration %s, %s: %s", migration.id, migration.state, error)
            self._leave_alone(state, migration.id)
        except BaseException:
            self._leave_alone(state, migration.id)
            raise
        else:
            self._rests.pop((state, migration.id), None)
        return True

    def _is_ready(self, state: MigrationState, id: str) -> bool:
        rest = self._rests.get((state, id))
        return rest is None or rest.until <= time.monotonic()

    def _leave_alone(self, state: MigrationState, id: str) -> None:
        """For twice as long each time: what is full today may be full tomorrow, and bytes cost money."""
        last = self._rests.get((state, id))
        seconds = AGAIN if last is None else min(2 * last.seconds, LONGEST)
        self._rests[state, id] = Rest(time.monotonic() + seconds, seconds)

    def _plan(self, migration: Migration, flow: Flow) -> None:
        planned = self._work.plan(migration, flow)
        log.info("migration %s is planned: %d records", planned.id, planned.items)

    def _move(self, migration: Migration, flow: Flow) -> None:
        self._tell("worked at", migration, self._work.move(migration, THREADS, flow))

    def _go_back(self, migration: Migration, flow: Flow) -> None:
        self._tell("rolled back", migration, self._work.go_back(migration, flow))

    def _tell(self, what: str, migration: Migration, outcomes: Iterator[Outcome]) -> None:
        told: Counter[str] = Counter()
        for outcome in outcomes:
            told[outcome.state] += outcome.records
        log.info("migration %s was %s: %s", migration.id, what, dict(told))
