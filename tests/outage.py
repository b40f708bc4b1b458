"""A line to PostgreSQL that goes down, hangs and comes back, as a server does that is stopped and started."""

import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tests.relays import break_off, connect, listener_at, path_in, pump, url_by


class Line:
    """Passes everything on while it is up. `url` is the database's, by this line."""

    def __init__(self, url: str, folder: str) -> None:
        self._target = url
        self.url = url_by(folder, url).render_as_string(hide_password=False)
        self._path = path_in(folder, url)
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
        break_off(*self._ends)

    def hang(self) -> None:
        """Connections are taken and never answered."""
        self._hangs = True
        break_off(*self._ends)

    def close(self) -> None:
        self.down()
        for thread in self._pumps:
            thread.join()
        for end in self._ends:
            end.close()

    def _listen(self) -> None:
        self._listener = listener_at(self._path)
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                self._ends.append(client)
                if not self._hangs:
                    server = connect(self._target)
                    self._ends.append(server)
                    for source, target in ((client, server), (server, client)):
                        thread = threading.Thread(target=pump, args=(source, target), daemon=True)
                        self._pumps.append(thread)
                        thread.start()


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
