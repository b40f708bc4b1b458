"""Load: many requests under way at any time, from one thread.

Closed loop: each connection sends its next request when the last answer is complete. Answers are counted and
timed, and not kept.
"""

import itertools
import selectors
import socket
import time
from collections.abc import Callable
from contextlib import suppress

from client import BUFFER, PATIENCE, Address, Answer, Outcome


def load(
    address: Address,
    make: Callable[[int], bytes],
    connections: int,
    seconds: float,
    patience: float = PATIENCE,
) -> Outcome:
    """Sends `make(0)`, `make(1)`... for so long, so many at a time. Ends when the last one is answered.

    Connections that break count as failed, and are made anew. So do requests that still have no answer when
    there was none at all for so many seconds.
    """
    with selectors.DefaultSelector() as selector:
        return _Load(address, make, selector).run(connections, seconds, patience)


class _Load:
    def __init__(
        self, address: Address, make: Callable[[int], bytes], selector: selectors.BaseSelector
    ) -> None:
        self.address, self.make, self.selector = address, make, selector
        self.numbers, self.outcome, self.ends = itertools.count(), Outcome(), 0.0

    def run(self, connections: int, seconds: float, patience: float) -> Outcome:
        started, busy = time.perf_counter(), time.thread_time()
        answered = self.ends = started + seconds
        for _ in range(connections):
            self.open()
        while self.selector.get_map():
            ready = self.selector.select(patience)
            if not ready:
                for key in [*self.selector.get_map().values()]:
                    self.outcome.failed += 1
                    self.close(key.data)
                break
            answered = time.perf_counter()
            for key, _ in ready:
                try:
                    self.advance(key.data)
                except OSError:
                    self.outcome.failed += 1
                    self.close(key.data)
                    if time.perf_counter() < self.ends:
                        self.open()
        self.outcome.seconds = answered - started
        self.outcome.client_share = (time.thread_time() - busy) / self.outcome.seconds
        return self.outcome

    def open(self) -> None:
        connection = _Connection(self.address)
        connection.begin(self.make(next(self.numbers)))
        self.selector.register(connection.socket, selectors.EVENT_WRITE, connection)

    def close(self, connection: "_Connection") -> None:
        self.selector.unregister(connection.socket)
        connection.socket.close()

    def advance(self, connection: "_Connection") -> None:
        """Goes on with a connection that is ready: sends, or receives and begins the next exchange."""
        if connection.out:
            self.send(connection)
        elif connection.receive():
            now = time.perf_counter()
            if connection.answer.good:
                self.outcome.latencies.append(now - connection.started)
            else:
                self.outcome.failed += 1
            if now >= self.ends:
                self.close(connection)
                return
            connection.begin(self.make(next(self.numbers)))
            self.send(connection)

    def send(self, connection: "_Connection") -> None:
        wanted = selectors.EVENT_READ if connection.send() else selectors.EVENT_WRITE
        if wanted != connection.waits_for:
            connection.waits_for = wanted
            self.selector.modify(connection.socket, wanted, connection)


class _Connection:
    """Its socket, what is still to be sent, what has come back."""

    def __init__(self, address: Address) -> None:
        self.socket = socket.create_connection(address, PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.waits_for = selectors.EVENT_WRITE

    def begin(self, data: bytes) -> None:
        self.out, self.answer, self.started = memoryview(data), Answer(), time.perf_counter()

    def send(self) -> bool:
        """Whether everything is sent now."""
        with suppress(BlockingIOError):
            self.out = self.out[self.socket.send(self.out) :]
        return not self.out

    def receive(self) -> bool:
        """Whether the answer is complete now."""
        count = self.socket.recv_into(BUFFER)
        if not count:
            raise ConnectionError("closed in the middle of an exchange")
        self.answer.take(memoryview(BUFFER)[:count])
        return self.answer.complete
