"""Which keys the puts of this process have taken: what spares a place a question before each put.

Many places cannot refuse a second put under one key by themselves: they have to be asked beforehand. But a
key that `new_key` made a moment ago holds 74 random bits that nobody else was told of. If no put of this
process has taken it either, it is in use nowhere.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from simpledrive.errors import StorageRefused
from simpledrive.storage.base import KEY, made_at

MOMENT = 10.0
"""Seconds. Keys are made right before they are put; which were taken is remembered for as long."""


class Taken:
    """The keys that puts of this process have taken, for the backend `name`. Safe from several threads."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = Lock()
        self._going: set[str] = set()
        self._recent: dict[str, float] = {}

    @contextmanager
    def taking(self, key: str) -> Iterator[bool]:
        """Around a put: whether the key is certain to be unused, so that the place need not be asked.

        Raises StorageRefused while another put under this key is going on.
        """
        with self._lock:
            if key in self._going:
                raise StorageRefused(self._name, "put", "the key is in use")
            unused = key not in self._recent and _is_fresh(key)
            self._going.add(key)
            self._remember(key)
        try:
            yield unused
        finally:
            with self._lock:
                self._going.discard(key)

    def _remember(self, key: str) -> None:
        now = time.monotonic()
        self._recent.pop(key, None)
        self._recent[key] = now
        while now - self._recent[oldest := next(iter(self._recent))] > MOMENT:
            del self._recent[oldest]


def _is_fresh(key: str) -> bool:
    """Whether the key was made within the last MOMENT. One from the future, after a clock was set: no."""
    return KEY.fullmatch(key) is not None and 0 <= time.time() - made_at(key).timestamp() < MOMENT
