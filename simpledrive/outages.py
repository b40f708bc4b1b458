"""Which backends did not answer a moment ago, so that whoever has a choice asks others first.

Every process finds out for itself, from all that its storages are asked to do: requests, and the probes that
go on looking at what cannot be reached. Nothing is refused because of it.
"""

from __future__ import annotations

import time

REMEMBERED = 60.0
"""Seconds for which it counts; longer than a probe of a silent server takes, which renews or ends it."""


class Outages:
    """Told of every operation how it ended (storage/measured.py), tells who is silent."""

    def __init__(self) -> None:
        self._since: dict[str, float] = {}

    def observe(self, backend: str, outcome: str) -> None:
        if outcome == "unavailable":
            self._since[backend] = time.monotonic()
        elif backend in self._since:
            self._since.pop(backend, None)

    def includes(self, backend: str) -> bool:
        """Whether it was silent the last time that it was asked, and that is not long ago."""
        since = self._since.get(backend)
        return since is not None and time.monotonic() - since < REMEMBERED
