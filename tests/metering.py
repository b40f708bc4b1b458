"""How many bytes go over the network, counted by a relay in between: no storage has to be believed.

with metered() as meter:
    ...connect by TCP, and talk...
assert meter.bytes < 1000
"""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import pytest

from tests.relays import break_off, pump

PATIENCE = 10
BUFFER = 64 << 10
"""Bytes that a connection holds on its way, at each end of the relay: what is sent in vain counts, too."""


class Meter:
    """Counts what both sides send."""

    def __init__(self) -> None:
        self.bytes = 0
        self._lock = threading.Lock()
        self._open = ExitStack()

    def relay(self, listener: socket.socket, connect: Callable[[], socket.socket]) -> None:
        """From now on passes on what comes to the listener, by a connection to the server for each."""
        thread = threading.Thread(target=self._accept, args=(listener, connect), daemon=True)
        self._open.callback(thread.join)
        self._open.callback(listener.close)
        self._open.callback(break_off, listener)
        thread.start()

    def close(self) -> None:
        self._open.close()

    def _accept(self, listener: socket.socket, connect: Callable[[], socket.socket]) -> None:
        threads = []
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
                threads.append(threading.Thread(target=self._pass, args=(client, connect), daemon=True))
                threads[-1].start()
        for thread in threads:
            thread.join(PATIENCE)

    def _pass(self, client: socket.socket, connect: Callable[[], socket.socket]) -> None:
        with client, suppress(OSError), connect() as server:
            back = threading.Thread(target=pump, args=(server, client), kwargs={"note": self._note})
            back.start()
            pump(client, server, note=self._note)
            back.join()

    def _note(self, data: bytes) -> None:
        with self._lock:
            self.bytes += len(data)


@contextmanager
def metered() -> Iterator[Meter]:
    """Until the end of the block each new TCP connection of this process leads through the meter.

    That is, each that Python makes: with TLS or without, a data connection of FTP, or one of asyncio's.
    """
    meter, lock = Meter(), threading.Lock()
    original = socket.socket.connect
    ways: dict[Any, Any] = {}

    def way_to(family: int, address: Any) -> Any:
        with lock:
            if address not in ways:

                def connect() -> socket.socket:
                    server = socket.socket(family, socket.SOCK_STREAM)
                    server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
                    original(server, address)
                    return server

                host = "127.0.0.1" if family == socket.AF_INET else "::1"
                listener = socket.create_server((host, 0), family=family, backlog=128)
                meter.relay(listener, connect)
                ways[address] = listener.getsockname()
            return ways[address]

    def led(self: socket.socket, address: Any, /) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and self.type == socket.SOCK_STREAM:
            address = way_to(self.family, address)
        original(self, address)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", led)
        try:
            yield meter
        finally:
            meter.close()
