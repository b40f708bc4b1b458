"""How long a server is waited for, where it answers in several steps: a trickle is no answer."""

import socket
import time
from typing import Self

SLOWEST = 1 << 10
"""Bytes a second, on average over the timeout, below which a transfer counts as stalled."""


class Patience:
    """A connection's timeout for all steps within a `with` block together, instead of for each.

    `wait` comes before each step, and raises TimeoutError when the time is over. It begins anew whenever as
    many bytes have `moved` as the slowest transfer moves in it.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._seconds = connection.gettimeout() or 0.0
        self._begin()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._connection.settimeout(self._seconds)

    def wait(self) -> None:
        left = self._until - time.monotonic()
        if left <= 0:
            raise TimeoutError("too little in too long a time")
        self._connection.settimeout(left)

    def moved(self, count: int) -> None:
        self._due -= count
        if self._due <= 0:
            self._begin()

    def _begin(self) -> None:
        self._until = time.monotonic() + self._seconds
        self._due = self._seconds * SLOWEST
