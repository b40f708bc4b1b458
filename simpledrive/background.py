"""Work that a serving process does beside its requests."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Background:
    """A thread of this process that starts once, when somebody asks for it; it ends with the process.

    Whoever serves calls `ensure_started`, and not who makes the app: a thread does not survive a fork, and a
    command line needs none.
    """

    def __init__(self, name: str, work: Callable[[], None]) -> None:
        self._name, self._work = name, work
        self._started = False
        self._lock = threading.Lock()

    def ensure_started(self) -> None:
        """Starts the thread, once."""
        if self._started:
            return
        with self._lock:
            if not self._started:
                self._started = True
                threading.Thread(target=self._work, name=self._name, daemon=True).start()
