"""Whether the backends and the database can be reached: looked at in the background, told at once.

Each is looked at by one look at a time (look.py), however many ask; the answer is that of the last one. So
what hangs holds up no request for longer than WAIT, and nothing else at all.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import cast

from sqlalchemy import text
from sqlalchemy.exc import OperationalError, ProgrammingError
from sqlalchemy.orm import Session

from simpledrive.backends import Backends
from simpledrive.background import Background
from simpledrive.look import Look, ProbeResult
from simpledrive.sql import Database
from simpledrive.storage.base import Begin

log = logging.getLogger(__name__)

WAIT = 2.0
"""Seconds from the beginning of a look for which somebody who asks may wait for its end."""

SILENT = 15.0
"""Seconds after which a look that has not ended counts as no answer."""

SOON = 5.0
"""Seconds between looks at what cannot be reached, unless the interval is shorter: recovery shows soon."""

FRESH = 1.0
"""Seconds for which a look on demand serves everybody who asks."""

NOT_YET = ProbeResult(False, "Nobody has looked yet.", None, None)
NOT_CONFIGURED = ProbeResult(False, "No backend of this name is configured any more.", None, None)
"""Of a backend that is gone while bytes are recorded there."""


class Probes:
    """Tells what could be reached as of the last look.

    Looks at the backends every `interval` in a thread of this process; for zero, when somebody asks.
    """

    def __init__(self, backends: Backends, database: Database, interval: timedelta) -> None:
        self._backends, self._database = backends, database
        self._interval = interval.total_seconds()
        self._watches = {
            name: _Watch(f"the backend {name}", partial(backends.probe, name)) for name in backends
        }
        self._records = _Watch("the database", lambda begin: self._look_at_records())
        self._revision: str | None = None
        self._background = Background("probes", self._run)

    def ensure_started(self) -> None:
        """Starts looking in this process, if it has not begun."""
        if self._interval:
            self._background.ensure_started()

    def backends(self, now: Collection[str] = ()) -> dict[str, ProbeResult]:
        """The last probe of each configured backend; of those that are named, from a look that begins now.

        Waits for these, and where there is no probe yet. A look that is under way is waited for and not begun
        anew; what takes longer goes on, and the probe says so. Raises BackendNotFound.
        """
        for name in now:
            self._backends.require(name)
        for name, watch in self._watches.items():
            # Where there is a thread, this is for the first question, and for when the thread is behind.
            age = SILENT + self._interval if self._interval else FRESH
            watch.begin(0.0 if name in now else age)
        return {
            name: watch.told(wait=name in now or watch.is_new or not self._interval)
            for name, watch in self._watches.items()
        }

    def database(self) -> tuple[ProbeResult, str | None]:
        """Whether the database answers now, and the migration that it is at (None: it has no tables).

        What takes longer than WAIT is no answer.
        """
        self._records.begin()
        probe = self._records.told(wait=True, ended=True)
        return probe, self._revision if probe.reachable else None

    def _look_at_records(self) -> None:
        self._revision = self._database.read(_revision)

    def _run(self) -> None:
        pause = threading.Event()
        while True:
            for watch in self._watches.values():
                reachable = watch.told().reachable
                watch.begin(self._interval if reachable else min(SOON, self._interval))
            pause.wait(min(1.0, self._interval))


def _revision(session: Session) -> str | None:
    try:
        return cast(str | None, session.scalar(text("SELECT version_num FROM alembic_version")))
    except ProgrammingError:  # PostgreSQL: there is no such table
        return None
    except OperationalError as error:  # SQLite has the same class for it as for all that can go wrong
        if getattr(error.orig, "sqlite_errorcode", None) == sqlite3.SQLITE_ERROR:
            return None
        raise


class _Watch:
    """One thing that is looked at by one look at a time. Tells the log when it is lost and found again."""

    def __init__(self, name: str, work: Callable[[Begin], object]) -> None:
        self._name, self._work = name, work
        self._lock = threading.Lock()
        self._look: Look | None = None
        self._last: ProbeResult | None = None
        self._ended = float("-inf")

    @property
    def is_new(self) -> bool:
        return self._last is None

    def begin(self, age: float = 0.0) -> None:
        """Begins a look, unless one is under way, or has ended less than so many seconds ago."""
        with self._lock:
            is_under_way = self._look is not None and self._look.found is None
            if not is_under_way and time.monotonic() - self._ended >= age:
                self._look = Look(self._name, self._work, self._note)

    def told(self, *, wait: bool = False, ended: bool = False) -> ProbeResult:
        """The last look; with `ended`, never that before one under way. May wait for the end of that one."""
        look, before = self._look, self._last
        if look is None:
            return NOT_YET
        if found := look.wait(WAIT if wait else 0.0):
            return found
        if before is None or ended or look.seconds > SILENT:
            return look.unanswered(before.at if before is not None else None)
        return replace(before, goes_on=wait or look.seconds > WAIT)

    def _note(self, found: ProbeResult) -> None:
        before, self._last, self._ended = self._last, found, time.monotonic()
        if not found.reachable and (before is None or before.reachable):
            log.warning("%s cannot be reached: %s", self._name, found.why)
        if found.reachable and before is not None and not before.reachable:
            log.warning("%s can be reached again", self._name)
