"""Whether the backends and the database can be reached: looked at in the background, told at once.

Each is looked at in a thread of its own, one at a time, however many ask; the answer is that of the last
look. So what hangs holds up no request for longer than WAIT, and nothing else at all.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import cast

from sqlalchemy import text
from sqlalchemy.exc import OperationalError, ProgrammingError
from sqlalchemy.orm import Session

from simpledrive.backends import Backends
from simpledrive.background import Background
from simpledrive.errors import DriveError, StorageError
from simpledrive.models import now
from simpledrive.sql import Database

log = logging.getLogger(__name__)

WAIT = 2.0
"""Seconds from the beginning of a look for which somebody who asks may wait for its end."""

SILENT = 15.0
"""Seconds after which a look that has not ended counts as no answer."""

SOON = 5.0
"""Seconds between looks at what cannot be reached, unless the interval is shorter: recovery shows soon."""

FRESH = 1.0
"""Seconds for which a look on demand serves everybody who asks."""


@dataclass(frozen=True)
class Probe:
    """What the last look found. `why` is a sentence without a secret, "" for what can be reached.

    `at` is when the look ended (None: none has yet), `seconds` how long it took.
    """

    reachable: bool
    why: str
    at: datetime | None
    seconds: float


class Probes:
    """Tells what could be reached as of the last look.

    Looks at the backends every `interval` in a thread of this process; for zero, when somebody asks.
    """

    def __init__(self, backends: Backends, database: Database, interval: timedelta) -> None:
        self._database, self._interval = database, interval.total_seconds()
        self._watches = {
            name: _Watch(f"the backend {name}", partial(backends.probe, name)) for name in backends
        }
        self._records = _Watch("the database", self._look_at_records)
        self._revision: str | None = None
        self._background = Background("probes", self._run)

    def ensure_started(self) -> None:
        """Starts looking in this process, if it has not begun."""
        if self._interval:
            self._background.ensure_started()

    def backends(self) -> dict[str, Probe]:
        """The last probe of each configured backend: its marker, and a small object stored, read and deleted.

        Waits briefly where there is none yet.
        """
        for watch in self._watches.values():
            # Where there is a thread, this is for the first question, and for when the thread is behind.
            watch.begin(SILENT + self._interval if self._interval else FRESH)
        return {
            name: watch.told(wait=watch.is_new or not self._interval) for name, watch in self._watches.items()
        }

    def database(self) -> tuple[Probe, str | None]:
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
    """One thing that is looked at by one thread at a time. `look` raises why it cannot be reached."""

    def __init__(self, name: str, look: Callable[[], None]) -> None:
        self._name, self._look = name, look
        self._changed = threading.Condition()
        self._began: float | None = None
        self._ended = float("-inf")
        self._last: Probe | None = None

    @property
    def is_new(self) -> bool:
        return self._last is None

    def begin(self, age: float = 0.0) -> None:
        """Begins a look, unless one is under way, or has ended less than so many seconds ago."""
        with self._changed:
            if self._began is None and time.monotonic() - self._ended >= age:
                self._began = time.monotonic()
                threading.Thread(target=self._run, name=f"probe of {self._name}", daemon=True).start()

    def told(self, *, wait: bool = False, ended: bool = False) -> Probe:
        """The last look; with `ended`, never that before one under way. May wait for the end of that one."""
        with self._changed:
            if wait and self._began is not None:
                left = self._began + WAIT - time.monotonic()
                self._changed.wait_for(lambda: self._began is None, max(0.0, left))
            if self._began is not None:
                seconds = time.monotonic() - self._began
                if self._last is None or ended or seconds > SILENT:
                    at = self._last.at if self._last is not None else None
                    return Probe(False, f"There was no answer in {seconds:.0f} seconds.", at, seconds)
            return self._last or Probe(False, "Nobody has looked yet.", None, 0.0)

    def _run(self) -> None:
        began, why = time.monotonic(), ""
        try:
            self._look()
        except StorageError as error:
            why = f"{error.operation}: {error.sentence}"
        except DriveError as error:
            why = str(error)
        except Exception:  # a storage that breaks its promise must not look as if it hung
            log.exception("a fault while looking at %s", self._name)
            why = "Looking at it failed by a fault of the drive, which its log tells."
        seconds = time.monotonic() - began
        before, self._last = self._last, Probe(not why, why, now(), seconds)
        if why and (before is None or before.reachable):
            log.warning("%s cannot be reached: %s", self._name, why)
        if not why and before is not None and not before.reachable:
            log.warning("%s can be reached again", self._name)
        with self._changed:
            self._began, self._ended = None, time.monotonic()
            self._changed.notify_all()
