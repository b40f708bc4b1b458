"""The server's own sweeping, in the background."""

import logging
import threading
from datetime import timedelta

from simpledrive.errors import DriveError
from simpledrive.upkeep import Upkeep

log = logging.getLogger(__name__)


class Sweeper:
    """The server's own sweeping, in a thread of each process, every `interval`; none for zero.

    Started by the first request and not when the app is made: a thread does not survive a fork, and a command
    line needs none.
    """

    def __init__(self, upkeep: Upkeep, interval: timedelta) -> None:
        self._upkeep, self._interval = upkeep, interval
        self._started = not interval
        self._lock = threading.Lock()

    def ensure_started(self) -> None:
        """Starts the thread, once."""
        if self._started:
            return
        with self._lock:
            if not self._started:
                self._started = True
                threading.Thread(target=self._run, name="sweeper", daemon=True).start()

    def _run(self) -> None:
        pause = threading.Event()
        while not pause.wait(self._interval.total_seconds() / 5):
            try:
                if self._upkeep.due(self._interval):
                    swept = self._upkeep.sweep()
                    for problem in swept.problems:
                        log.error("sweep: %s", problem)
                    log.info("swept: %s", swept)
            except DriveError as error:
                log.error("sweep: %s", error)
            except Exception:  # else nothing would be swept until the next start
                log.exception("a fault while sweeping")
