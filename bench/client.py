"""The client: HTTP over raw sockets on the loopback, with as little work a request as Python allows.

It shares the machine's cores with what it measures, and says how busy it was: near 1.0 the client is the
limit, not the server. This module has single exchanges; load.py keeps many under way.
"""

import re
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import BinaryIO

PATIENCE = 60.0
Address = tuple[str, int]
BUFFER = bytearray(1 << 20)
"""For whoever receives: there is one thread that does."""


@dataclass
class Outcome:
    """What came back: latencies of the answers that were 2xx, how many were not; how busy we were."""

    seconds: float = 0.0
    client_share: float = 0.0
    latencies: list[float] = field(default_factory=list)
    failed: int = 0


def request(method: str, path: str, headers: dict[str, str], body: bytes | None = None) -> bytes:
    """A request whole, on a connection that is kept."""
    if body is not None:
        headers = headers | {"Content-Length": str(len(body))}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"{method} {path} HTTP/1.1\r\nHost: bench\r\n{lines}\r\n".encode() + (body or b"")


def exchange(address: Address, data: bytes) -> bytes:
    """The body of one answer, on a connection of its own. Raises RuntimeError unless 2xx and complete."""
    body = bytearray()
    exchange_into(address, data, body.extend)
    return bytes(body)


def transfer(
    address: Address, data: bytes, file: BinaryIO | None = None, offset: int = 0
) -> tuple[Outcome, int]:
    """As `exchange`, timed, connecting included. Of the answer's body only the length is kept."""
    started, busy = time.perf_counter(), time.thread_time()
    length = exchange_into(address, data, lambda portion: None, file, offset)
    seconds = time.perf_counter() - started
    return Outcome(seconds, (time.thread_time() - busy) / seconds), length


def exchange_into(
    address: Address,
    data: bytes,
    keep: Callable[[memoryview], object],
    file: BinaryIO | None = None,
    offset: int = 0,
) -> int:
    """As `exchange`, but portions of the body go to `keep` as they come; returns its length.

    With `file`, its bytes from `offset` on follow `data`.
    """
    with socket.create_connection(address, PATIENCE) as connection:
        connection.sendall(data)
        if file is not None:
            connection.sendfile(file, offset)
        answer = Answer()
        while not answer.complete:
            count = connection.recv_into(BUFFER)
            if not count:
                raise RuntimeError("the connection ended before the answer did")
            keep(answer.take(memoryview(BUFFER)[:count]))
    if not answer.good:
        raise RuntimeError(f"the answer was {answer.status}")
    return answer.length


class Answer:
    """One answer as it arrives. Every server here announces Content-Length."""

    def __init__(self) -> None:
        self._head = b""
        self.status = self.length = 0
        self.left: int | None = None

    @property
    def complete(self) -> bool:
        return self.left == 0

    @property
    def good(self) -> bool:
        return 200 <= self.status < 300

    def take(self, portion: memoryview) -> memoryview:
        """What of the portion belongs to the body."""
        if self.left is None:
            before = len(self._head)
            self._head += portion
            end = self._head.find(b"\r\n\r\n")
            if end < 0:
                return portion[:0]
            self.status = int(self._head[9:12])
            length = re.search(rb"\r\ncontent-length: *(\d+)", self._head[:end].lower())
            self.left = self.length = int(length[1]) if length else 0
            portion = portion[end + 4 - before :]
        self.left -= len(portion)
        return portion
