"""A small proxy between a client and an FTP server without TLS, that breaks what it is told to break.

It understands as much FTP as it takes to know which reply belongs to which command, and to lead data
connections (PASV) through itself. Nothing is broken as long as nothing is set.
"""

import fcntl
import re
import socket
import struct
import termios
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal, Self

What = Literal["reset", "stall", "close", "corrupt", "drip", "flood"]
PATIENCE = 30
DROPS, DROP_SECONDS = 40, 0.05
"""What drips does so for two seconds: never silent for long, and over at last if nobody gives it up."""
FLOOD = 4 << 20
"""Bytes. What floods ends too."""


@dataclass
class Break:
    """What happens behind the byte `at` of a data connection, the next `times` times, and what `then`.

    What drips is late, and what floods has lines in it that nobody wrote: nothing else is wrong with it.
    """

    at: int
    what: What
    times: int = 1
    then: "Break | None" = None

    @property
    def now(self) -> "Break | None":
        """The one whose turn it is."""
        return self if self.times > 0 else self.then and self.then.now


@dataclass
class Faults:
    """`answers`: what a command is answered instead of being passed on. `lost`: commands whose last reply is
    lost, with the connection or without a word. `long`: what its last reply begins with, "" for the greeting.
    `twice`: commands whose last reply comes twice, in one packet. `codes`: what a command's reply becomes.
    `stutter`: a second reply to each broken transfer. `turned_away`: how many connections are greeted
    with 421.
    """

    upload: Break | None = None
    download: Break | None = None
    answers: dict[str, str] = field(default_factory=dict)
    lost: dict[str, Literal["reset", "stall"]] = field(default_factory=dict)
    long: dict[str, Literal["drip", "flood"]] = field(default_factory=dict)
    twice: set[str] = field(default_factory=set)
    codes: dict[tuple[str, str], str] = field(default_factory=dict)
    stutter: bool = False
    turned_away: int = 0


class FaultyFtp:
    """Listens on `port`. `faults` may be replaced at any time; `commands` is what clients said.

    `happened` is how often something was broken, lost, turned away or answered instead.
    """

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self.port = 0
        self.refusing = True
        self.happened = 0
        self.faults = Faults()
        self.commands: list[str] = []
        self.connections = 0
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._controls: set[socket.socket] = set()
        self._over = threading.Event()

    def __enter__(self) -> Self:
        self.admit()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self.refuse()

    def admit(self) -> None:
        """Takes connections, at the same port as before."""
        self._listening = socket.create_server(("127.0.0.1", self.port), backlog=64)
        self.port, self.refusing = self._listening.getsockname()[1], False
        self._accepting = _start(self._accept)

    def refuse(self) -> None:
        """From now on connections are refused. Those that are open are reset."""
        self.refusing = True
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._accepting.join()
        self._listening.close()
        for connection in self._held():
            reset(connection)

    def note(self) -> None:
        with self._lock:
            self.happened += 1

    def expel(self) -> None:
        """What a server says to idle clients, unasked, before it closes."""
        with self._lock:
            controls, self._controls = self._controls, set()
        for control in controls:
            with suppress(OSError):
                control.sendall(b"421 Idle for too long.\r\n")
                control.shutdown(socket.SHUT_RDWR)
                self.note()

    def count(self) -> Counter[str]:
        """How often each command came."""
        return Counter(command.split(" ", 1)[0] for command in self.commands)

    def _held(self) -> list[socket.socket]:
        with self._lock:
            return list(self._open)

    def _hold(self, *connections: socket.socket) -> None:
        with self._lock:
            self._open.update(connections)

    def _accept(self) -> None:
        while not self._over.is_set():
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            self.connections += 1
            if self.faults.turned_away > 0:
                self.faults.turned_away -= 1
                self.note()
                client.sendall(b"421 Too many of you.\r\n")
                client.close()
                continue
            server = socket.create_connection(("127.0.0.1", self._server_port))
            self._hold(client, server)
            with self._lock:
                self._controls.add(client)
            talk = _Talk(self, client, server)
            _start(talk.commands)
            _start(talk.replies)

    def lead(self, server_port: int) -> int:
        """A port that leads to a data port of the server, once."""
        listening = socket.create_server(("127.0.0.1", 0))
        listening.settimeout(PATIENCE)
        port: int = listening.getsockname()[1]

        def carry() -> None:
            with listening:
                try:
                    client, _ = listening.accept()
                except OSError:
                    return
            try:
                server = socket.create_connection(("127.0.0.1", server_port))
            except OSError:
                reset(client)
                return
            self._hold(client, server)
            _start(lambda: self._pump(client, server, lambda: self.faults.upload))
            _start(lambda: self._pump(server, client, lambda: self.faults.download))

        _start(carry)
        return port

    def _pump(self, source: socket.socket, target: socket.socket, fault: Callable[[], Break | None]) -> None:
        passed = 0
        try:
            while data := source.recv(1 << 16):
                first = fault()
                broken = first and first.now
                if broken and passed <= broken.at < passed + len(data):
                    broken.times -= 1
                    self.note()
                    cut = broken.at - passed
                    if broken.what == "corrupt":
                        data = data[:cut] + bytes([data[cut] ^ 1]) + data[cut + 1 :]
                    elif broken.what == "drip":
                        target.sendall(data[:cut])
                        self.drip(target, data[cut : cut + DROPS])
                        data = data[cut + DROPS :]
                    elif broken.what == "flood":
                        data = data[:cut] + b"flood\r\n" * (FLOOD // 7) + data[cut:]
                    else:
                        target.sendall(data[:cut])
                        self._break(source, target, broken.what)
                        return
                target.sendall(data)
                passed += len(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            reset(source)
            reset(target)

    def drip(self, target: socket.socket, data: bytes) -> None:
        for drop in data:
            target.sendall(bytes([drop]))
            self._over.wait(DROP_SECONDS)

    def _break(self, source: socket.socket, target: socket.socket, what: What) -> None:
        if what == "stall":
            self._over.wait(PATIENCE)
        elif what == "close":
            target.shutdown(socket.SHUT_RDWR)
            while source.recv(1 << 16):  # the client is to notice nothing
                pass
        else:
            # A reset takes along what is still on its way: how much would depend on who is faster.
            while not _has_arrived(target) and not self._over.wait(0.001):
                pass
            reset(source)
            reset(target)


class _Talk:
    """One control connection."""

    def __init__(self, proxy: FaultyFtp, client: socket.socket, server: socket.socket) -> None:
        self._proxy, self._client, self._server = proxy, client, server
        self._command = ""

    def commands(self) -> None:
        with suppress(OSError), self._client.makefile("rb") as lines:
            for line in lines:
                text = line.decode().rstrip("\r\n")
                self._command = text.split(" ", 1)[0]
                self._proxy.commands.append(text)
                if answer := self._proxy.faults.answers.get(self._command):
                    self._proxy.note()
                    self._client.sendall(f"{answer}\r\n".encode())
                else:
                    self._server.sendall(line)
        reset(self._server)

    def replies(self) -> None:
        with suppress(OSError), self._server.makefile("rb") as lines:
            for line in lines:
                if not self._pass_on(line.decode()):
                    return
            self._client.shutdown(socket.SHUT_RDWR)

    def _pass_on(self, line: str) -> bool:
        faults, code = self._proxy.faults, line[:3]
        if code == "227" and (found := re.search(r"(\d+),(\d+)\)", line)):
            port = self._proxy.lead(int(found[1]) * 256 + int(found[2]))
            line = line.replace(found[0], f"{port // 256},{port % 256})")
        if code.startswith("2") and (what := faults.lost.get(self._command)):
            self._proxy.note()
            if what == "reset":
                reset(self._client)
                reset(self._server)
                return False
            return True
        if code[0] in "23" and (how := faults.long.get(self._command)):
            self._proxy.note()
            if how == "drip":
                self._proxy.drip(self._client, f"{code}-{'.' * DROPS}\r\n".encode())
            else:
                self._client.sendall(f"{code}-flood\r\n".encode() * (FLOOD // 11))
        if code.startswith("2") and self._command in faults.twice:
            line *= 2
        if other := faults.codes.get((self._command, code)):
            line = other + line[3:]
        if faults.stutter and code == "426":
            line += "226 Abort successful.\r\n"
        self._client.sendall(line.encode())
        return True


def reset(connection: socket.socket) -> None:
    """Ends a connection with RST, as a crash or a firewall does."""
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        # Another thread may be reading: closing alone would wait for it.
        connection.shutdown(socket.SHUT_RD)
    connection.close()


def _has_arrived(connection: socket.socket) -> bool:
    """Whether the other side, or at least its system, has all that was sent, or has gone."""
    try:
        return not any(fcntl.ioctl(connection, termios.TIOCOUTQ, bytes(4)))
    except (OSError, ValueError):  # it was closed meanwhile
        return True


def _start(work: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread
