"""A TCP proxy that does to connections what networks and servers do, on purpose and once for each fault.

It knows no protocol: a fault begins when what the client sends contains `when`, and counts bytes from there
on. What no fault is waiting for passes through untouched.

    with FaultyProxy(server_port) as proxy:
        proxy.expect(Reset(when=b"PUT /", up=1000))
        ...talk to proxy.port...
        assert proxy.happened == 1
"""

import select
import socket
import struct
import threading
from collections import deque
from contextlib import suppress
from dataclasses import dataclass

from tests.relays import break_off

STEP = 64 << 10
FOREVER = 1 << 62


@dataclass(frozen=True)
class Fault:
    """Passes `up` bytes to the server and `down` bytes back, from `when` on, and then something happens."""

    when: bytes = b""
    up: int = FOREVER
    down: int = FOREVER


class Reset(Fault):
    """Both ends get a reset. With `down=0` as soon as the server begins to answer: the reply is lost."""


class Closed(Fault):
    """Both ends see an ordinary end."""


class Stalled(Fault):
    """Nothing moves any more, and nobody is told."""


@dataclass(frozen=True)
class Corrupted(Fault):
    """The byte behind `up` or `down` is changed on its way, and all goes on as if nothing was."""


@dataclass(frozen=True)
class Slowed(Fault):
    """What comes back arrives `step` bytes at a time, a hundredth of a second apart."""

    step: int = 1


@dataclass(frozen=True)
class Answered(Fault):
    """The server gets `up` bytes and an end; the client gets `reply`, and what it still sends is lost.

    The reply of an HTTP server has to say `Connection: close`.
    """

    up: int = 0
    reply: bytes = b""


class FaultyProxy:
    """Listens on `port` of the loopback, from `with` to the end of its block."""

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self._faults: deque[Fault] = deque()
        self._lock = threading.Lock()
        self._links: list[_Link] = []
        self.port = 0
        self.happened = 0
        self.refusing = True

    def __enter__(self) -> "FaultyProxy":
        self.admit()
        return self

    def __exit__(self, *error: object) -> None:
        self.refuse()
        self.close_all()

    def expect(self, *faults: Fault) -> None:
        """These happen next, each once, in this order, whichever connection gives occasion."""
        with self._lock:
            self._faults.extend(faults)

    @property
    def expected(self) -> int:
        """How many of these are still to come."""
        with self._lock:
            return len(self._faults)

    def calm(self) -> None:
        """What is still expected does not happen any more, and connections that a fault holds are ended."""
        with self._lock:
            self._faults.clear()
            held = [link for link in self._links if link.fault is not None]
        for link in held:
            link.stop()

    def admit(self) -> None:
        """Takes connections, at the same port as before."""
        self._listener = socket.create_server(("127.0.0.1", self.port), backlog=128)
        self.port, self.refusing = self._listener.getsockname()[1], False
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def refuse(self) -> None:
        """From now on connections are refused. Those that are open stay."""
        self.refusing = True
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def accept_again(self) -> None:
        """From now on connections are taken again, at the same port."""
        self._listen()

    def _listen(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self.port), backlog=128)
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def close_all(self) -> int:
        """Ends all connections, as a server does with idle ones; how many. New ones may be made."""
        with self._lock:
            links, self._links = self._links, []
        return sum(link.stop() for link in links)

    def occasion(self, data: bytes) -> tuple[Fault, int] | None:
        """The next fault, if this is what it waits for, and where in the data."""
        with self._lock:
            if not self._faults or (at := data.find(self._faults[0].when)) < 0:
                return None
            return self._faults.popleft(), at

    def note(self) -> None:
        with self._lock:
            self.happened += 1

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self._server_port))
            except OSError:
                client.close()
                continue
            with self._lock:
                self._links.append(_Link(self, client, server))


class _Over(Exception):
    """The connection ends here."""


class _Link:
    """A connection through the proxy, and the thread that owns both ends of it."""

    def __init__(self, proxy: FaultyProxy, client: socket.socket, server: socket.socket) -> None:
        self._proxy, self._client, self._server = proxy, client, server
        self.fault: Fault | None = None
        self._passed = {client: 0, server: 0}
        self._open = [client, server]
        self._stopping, self._stopped = socket.socketpair()
        for end in (client, server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> bool:
        """Ends the connection; returns whether it was still open."""
        was_open = self._thread.is_alive()
        self._stopping.close()
        break_off(self._client, self._server)  # it may be waiting for one of them to take something
        self._thread.join()
        return was_open

    def _run(self) -> None:
        with self._client, self._server, self._stopped, suppress(_Over, OSError):
            while self._open:
                ready, _, _ = select.select([*self._open, self._stopped], [], [])
                if self._stopped in ready:
                    return
                for end in ready:
                    self._take(end)

    def _take(self, end: socket.socket) -> None:
        other = self._server if end is self._client else self._client
        data = end.recv(STEP)
        if not data:
            self._open.remove(end)
            with suppress(OSError):
                other.shutdown(socket.SHUT_WR)
            return
        if end is self._client and self.fault is None and (found := self._proxy.occasion(data)):
            self.fault, at = found
            other.sendall(data[:at])
            data = data[at:]
            self._passed = {self._client: 0, self._server: 0}
        self._pass(end, other, data)

    def _pass(self, end: socket.socket, other: socket.socket, data: bytes) -> None:
        if isinstance(self.fault, Slowed):
            self._trickle(other, data, self.fault.step)
            return
        fault, before = self.fault, self._passed[end]
        self._passed[end] += len(data)
        if fault is None:
            other.sendall(data)
            return
        limit = (fault.up if end is self._client else fault.down) - before
        if len(data) < limit:
            other.sendall(data)
            return
        if isinstance(fault, Corrupted):
            limit = min(limit, len(data) - 1)
            other.sendall(data[:limit] + bytes([data[limit] ^ 1]) + data[limit + 1 :])
            self.fault = None
            self._proxy.note()
            return
        other.sendall(data[:limit])
        self._proxy.note()
        self._happen(fault)

    def _trickle(self, other: socket.socket, data: bytes, step: int) -> None:
        for at in range(0, len(data), step):
            if select.select([self._stopped], [], [], 0.01)[0]:
                raise _Over
            other.sendall(data[at : at + step])

    def _happen(self, fault: Fault) -> None:
        if isinstance(fault, Reset):
            for end in (self._client, self._server):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif isinstance(fault, Stalled):
            self._stopped.recv(1)
        elif isinstance(fault, Answered):
            self._server.shutdown(socket.SHUT_RDWR)
            self._client.sendall(fault.reply)
            while select.select([self._client, self._stopped], [], [])[0] == [self._client]:
                if not self._client.recv(STEP):
                    break
        raise _Over
