"""What the drive does beside its requests, and what takes long: jobs, each in a thread of its own.

Any number of workers may be at it, on any number of hosts: what a job takes up, it leases.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from simpledrive.errors import DriveError

log = logging.getLogger(__name__)

PAUSE = 2.0
"""Seconds between looks where there is nothing to do."""
AFTER_FAULT = 10.0
"""Seconds until the next look where the last one failed."""
LOOK = 0.5
"""Seconds between looks whether the worker is still wanted."""


@dataclass(frozen=True)
class Job:
    """Some of the drive's long work.

    `work` does some of what there is to do, and returns whether there may be more at once. Once the event is
    set it soon returns, or raises, and what it had taken up others can go on with.
    """

    name: str
    work: Callable[[threading.Event], bool]


class Worker:
    """Does jobs, side by side. Costs nothing worth mentioning while there is nothing to do."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self._jobs = jobs

    def run(self, is_wanted: Callable[[], bool] = lambda: True) -> None:
        """Works until `is_wanted`, which is asked often, says no, or an exception interrupts it (Ctrl-C).

        Ends when all jobs have finished or let go what they were at. What fails is logged and tried again.
        """
        stop = threading.Event()
        threads = [
            threading.Thread(target=_keep_doing, args=(job, stop), name=job.name) for job in self._jobs
        ]
        log.info(
            "process %d does what takes long: %s", os.getpid(), ", ".join(job.name for job in self._jobs)
        )
        try:
            for thread in threads:
                thread.start()
            while is_wanted():
                time.sleep(LOOK)
        finally:
            stop.set()
            for thread in threads:
                if thread.ident is not None:
                    thread.join()


def _keep_doing(job: Job, stop: threading.Event) -> None:
    pause = 0.0
    while not stop.wait(pause):
        try:
            pause = 0.0 if job.work(stop) else PAUSE
        except DriveError as error:
            pause = AFTER_FAULT
            if not stop.is_set():
                log.error("%s: %s", job.name, error)
        except Exception:  # else nothing of its kind would be done until the next start
            pause = AFTER_FAULT
            log.exception("a fault while %s", job.name)
