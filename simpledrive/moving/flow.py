"""How bytes pass from one backend to another: at a pace that all threads share, until it is stopped."""

from __future__ import annotations

import threading
import time

from simpledrive.errors import DriveError
from simpledrive.streams.source import Reader

SECONDS_AT_A_TIME = 0.25
"""How many seconds' worth of bytes are handed over at once, so that a slow flow is a steady one."""


class Stopped(DriveError):
    """The work was stopped before its end. What is left is still to be done."""


class Flow:
    """Passes on at most `rate` bytes a second on average, however many read; None for as fast as it goes.

    It ends when it is stopped, and soon after `stop` is set, which stops other work too. What passes here
    passes through the flow `within` as well, where there is one: others share that.
    """

    def __init__(
        self, rate: int | None = None, stop: threading.Event | None = None, within: Flow | None = None
    ) -> None:
        self._rate, self._within = rate, within
        self._stop = stop or threading.Event()
        self._lock = threading.Lock()
        self._free_at = time.monotonic()
        self._stopped = threading.Event()

    def keep(self, reader: Reader) -> Reader:
        """A reader of the same bytes in this flow: raises Stopped once that is stopped."""
        return _Kept(reader if self._within is None else self._within.keep(reader), self)

    def stop(self) -> None:
        """Ends all that is under way, and whoever waits."""
        self._stopped.set()

    def wait(self, seconds: float) -> None:
        """Returns after so many seconds. Raises Stopped."""
        if self._stopped.wait(seconds) or self._stop.is_set():
            raise Stopped("It was stopped.")

    def portion(self, size: int) -> int:
        """How many of so many bytes to ask for at once."""
        return size if self._rate is None else min(size, max(1, int(self._rate * SECONDS_AT_A_TIME)))

    def passed(self, size: int) -> None:
        """Returns when so many bytes may have passed. Raises Stopped."""
        if self._rate is None:
            return self.wait(0)
        with self._lock:
            self._free_at = max(self._free_at, time.monotonic()) + size / self._rate
            seconds = self._free_at - time.monotonic()
        return self.wait(seconds)


class _Kept:
    def __init__(self, reader: Reader, flow: Flow) -> None:
        self._reader, self._flow = reader, flow

    def read(self, size: int, /) -> bytes:
        data = self._reader.read(self._flow.portion(size))
        self._flow.passed(len(data))
        return data

    def close(self) -> None:
        self._reader.close()
