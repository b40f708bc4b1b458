"""One look at something that may hang: a thread of its own, its steps with their times, and a sentence.

Who wants to know waits for as long as he likes, and no longer: what hangs holds up nobody else.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from simpledrive.errors import DriveError, StorageError
from simpledrive.models import now
from simpledrive.storage.base import Begin

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Step:
    """A step of a look, how long it took, and whether it went well. Only the last one can have failed."""

    name: str
    seconds: float
    passed: bool


@dataclass(frozen=True)
class ProbeResult:
    """What a look found. `why` is a sentence without a secret, "" for what can be reached.

    `at` is when the look ended and `seconds` how long it took (None: there was none). `goes_on`: another
    look has been under way since, for longer than anybody waits.
    """

    reachable: bool
    why: str
    at: datetime | None
    seconds: float | None
    steps: tuple[Step, ...] = ()
    goes_on: bool = False


class Look:
    """Looks, from the moment on when it is made. `work` is handed what it tells its steps to, and raises why.

    `found` is None until the look has ended; before that is to be seen, `ended` is called with it.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[Begin], object],
        ended: Callable[[ProbeResult], object] = lambda found: None,
    ) -> None:
        self._name, self._work, self._ended = name, work, ended
        self._began = time.monotonic()
        self._steps: list[tuple[str, float]] = []
        self._over = threading.Event()
        self.found: ProbeResult | None = None
        threading.Thread(target=self._run, name=f"look at {name}", daemon=True).start()

    @property
    def seconds(self) -> float:
        """For how long it has been going on."""
        return time.monotonic() - self._began

    def wait(self, seconds: float) -> ProbeResult | None:
        """What was found; None if the look has not ended so many seconds after its beginning."""
        self._over.wait(max(0.0, seconds - self.seconds))
        return self.found

    def unanswered(self, at: datetime | None = None) -> ProbeResult:
        """What is to be said of a look that goes on for too long; `at` is when the one before it ended."""
        seconds = self.seconds
        why = f"There was no answer in {seconds:.{1 if seconds < 10 else 0}f} seconds."
        return ProbeResult(False, why, at, seconds, self._timed(passed=False), goes_on=True)

    def _run(self) -> None:
        why = ""
        try:
            self._work(lambda step: self._steps.append((step, time.monotonic())))
        except StorageError as error:
            why = f"{error.operation}: {error.sentence}"
        except DriveError as error:
            why = str(error)
        except Exception:  # a storage that breaks its promise must not look as if it hung
            log.exception("a fault while looking at %s", self._name)
            why = "Looking at it failed by a fault of the drive, which its log tells."
        found = ProbeResult(not why, why, now(), self.seconds, self._timed(passed=not why))
        self._ended(found)
        self.found = found
        self._over.set()

    def _timed(self, *, passed: bool) -> tuple[Step, ...]:
        """The steps so far. Each ended when the next began; the last one ends now, in this way."""
        begun = list(self._steps)
        ends = [began for _, began in begun[1:]] + [time.monotonic()]
        return tuple(
            Step(name, end - began, passed or place < len(begun))
            for place, ((name, began), end) in enumerate(zip(begun, ends, strict=False), 1)
        )
