"""A proxy in front of PostgreSQL that breaks a connection around one COMMIT."""

import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sqlalchemy import make_url

CUTS = ("before", "after", "during")
"""The server never sees the COMMIT; has done it; or gets it when the client was cut off and has looked."""

WRITES = (b"INSERT INTO", b"UPDATE ", b"DELETE FROM")
TERMINATE = b"X\0\0\0\4"


class CuttingProxy:
    """Passes everything on until it is armed; then cuts the first connection that commits a write."""

    def __init__(self, url: str, folder: str) -> None:
        self._target = make_url(url)
        port = self._target.port or 5432
        self.url = make_url(url).set(host=None, port=None, query={"host": folder, "port": str(port)})
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(Path(folder, f".s.PGSQL.{port}")))
        self._listener.listen()
        self._armed: str | None = None
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def arm(self, cut: str) -> None:
        self._armed = cut

    @property
    def has_cut(self) -> bool:
        return self._armed is None

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client, self._connect()), daemon=True).start()

    def _connect(self) -> socket.socket:
        host = self._target.host or str(self._target.query.get("host"))
        port = self._target.port or 5432
        if not host.startswith("/"):
            return socket.create_connection((host, port))
        server = socket.socket(socket.AF_UNIX)
        server.connect(f"{host}/.s.PGSQL.{port}")
        return server

    def _serve(self, client: socket.socket, server: socket.socket) -> None:
        muted = threading.Event()
        back = threading.Thread(target=_pump, args=(server, client, muted), daemon=True)
        back.start()
        writes = False
        with suppress(OSError):
            while data := client.recv(1 << 16):
                writes = writes or any(word in data for word in WRITES)
                if b"COMMIT\0" in data:
                    if writes and (cut := self._take()):
                        muted.set()
                        _cut(cut, client, server, data, back)
                        break
                    writes = False
                server.sendall(data)
        # Closing would not be enough while the other thread reads: the server would keep its locks.
        for end in (client, server):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        back.join()
        client.close()
        server.close()

    def _take(self) -> str | None:
        with self._lock:
            cut, self._armed = self._armed, None
            return cut


def _cut(
    cut: str, client: socket.socket, server: socket.socket, commit: bytes, back: threading.Thread
) -> None:
    if cut == "before":
        return
    if cut == "during":
        client.shutdown(socket.SHUT_RDWR)
        time.sleep(0.2)
    server.sendall(commit + TERMINATE)
    back.join(10)


def _pump(server: socket.socket, client: socket.socket, muted: threading.Event) -> None:
    with suppress(OSError):
        while data := server.recv(1 << 16):
            if not muted.is_set():
                client.sendall(data)


@contextmanager
def cutting_proxy(url: str) -> Iterator[CuttingProxy]:
    """A proxy to the database at `url`; the path of its socket is short enough for PostgreSQL's client."""
    with tempfile.TemporaryDirectory(prefix="drive-cut-", dir="/tmp") as folder:
        proxy = CuttingProxy(url, folder)
        try:
            yield proxy
        finally:
            proxy.close()
