"""A line to PostgreSQL that goes down, hangs and comes back, as a server does that is stopped and started."""

import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sqlalchemy import make_url


class Line:
    """Passes everything on while it is up. `url` is the database's, by this line."""

    def __init__(self, url: str, folder: str) -> None:
        self._target = make_url(url)
        port = self._target.port or 5432
        line = make_url(url).set(host=None, port=None, query={"host": folder, "port": str(port)})
        self.url = line.render_as_string(hide_password=False)
        self._path = Path(folder, f".s.PGSQL.{port}")
        self._listener: socket.socket | None = None
        self._ends: list[socket.socket] = []
        self._pumps: list[threading.Thread] = []
        self._hangs = False

    def up(self) -> None:
        self._hangs = False
        if self._listener is None:
            self._listen()

    def down(self) -> None:
        """Nobody listens any more, and every connection is broken."""
        if self._listener is not None:
            self._path.unlink()
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        self._break()

    def hang(self) -> None:
        """Connections are taken and never answered."""
        self._hangs = True
        self._break()

    def close(self) -> None:
        self.down()
        for pump in self._pumps:
            pump.join()
        for end in self._ends:
            end.close()

    def _break(self) -> None:
        for end in list(self._ends):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _listen(self) -> None:
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self._path))
        self._listener.listen()
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                self._ends.append(client)
                if not self._hangs:
                    server = self._connect()
                    self._ends.append(server)
                    for source, target in ((client, server), (server, client)):
                        pump = threading.Thread(target=_pump, args=(source, target), daemon=True)
                        self._pumps.append(pump)
                        pump.start()

    def _connect(self) -> socket.socket:
        host = self._target.host or str(self._target.query.get("host"))
        port = self._target.port or 5432
        if not host.startswith("/"):
            return socket.create_connection((host, port))
        server = socket.socket(socket.AF_UNIX)
        server.connect(f"{host}/.s.PGSQL.{port}")
        return server


def _pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
    for end in (source, target):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


@contextmanager
def line_to(url: str) -> Iterator[Line]:
    """A line that is up; the path of its socket is short enough for PostgreSQL's client."""
    with tempfile.TemporaryDirectory(prefix="drive-line-", dir="/tmp") as folder:
        line = Line(url, folder)
        line.up()
        try:
            yield line
        finally:
            line.close()
