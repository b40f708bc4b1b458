"""The server's own sweeping, in the background."""

import logging
import threading
from datetime import timedelta

from simpledrive.background import Background
from simpledrive.errors import DriveError
from simpledrive.upkeep import Upkeep

log = logging.getLogger(__name__)


class Sweeper:
    """The server's own sweeping, in a thread of each process, every `interval`; none for zero."""

    def __init__(self, upkeep: Upkeep, interval: timedelta) -> None:
        self._upkeep, self._interval = upkeep, interval
        self._background = Background("sweeper", self._run)

    def ensure_started(self) -> None:
        """Starts sweeping in this process, if it has not begun."""
        if self._interval:
            self._background.ensure_started()

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
