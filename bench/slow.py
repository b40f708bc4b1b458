"""Clients that are slow on purpose: many connections of one thread, each sending a byte a second."""

import socket
import threading
from contextlib import suppress
from typing import Self

from client import PATIENCE, Address

INTERVAL = 1.0


class Trickle:
    """Around a case: so many connections that have sent `opening`, and go on with a byte each second."""

    def __init__(self, address: Address, opening: bytes, count: int) -> None:
        self._address, self._opening, self._count = address, opening, count
        self._connections: list[socket.socket] = []
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._go_on, daemon=True)

    def __enter__(self) -> Self:
        for _ in range(self._count):
            connection = socket.create_connection(self._address, PATIENCE)
            self._connections.append(connection)
            connection.sendall(self._opening)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._done.set()
        self._thread.join()
        for connection in self._connections:
            connection.close()

    def _go_on(self) -> None:
        while not self._done.wait(INTERVAL):
            for connection in self._connections:
                with suppress(OSError):  # the server may have had enough
                    connection.send(b"a")
