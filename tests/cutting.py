"""A proxy in front of PostgreSQL that breaks a connection around one COMMIT."""

import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tests.relays import break_off, connect, listener_at, path_in, pump, url_by

CUTS = ("before", "after", "during")
"""The server never sees the COMMIT; has done it; or gets it when the client was cut off and has looked."""

WRITES = (b"INSERT INTO", b"UPDATE ", b"DELETE FROM")
TERMINATE = b"X\0\0\0\4"


class CuttingProxy:
    """Passes everything on until it is armed; then cuts the first connection that commits a write."""

    def __init__(self, url: str, folder: str) -> None:
        self._target = url
        self.url = url_by(folder, url)
        self._listener = listener_at(path_in(folder, url))
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
                threading.Thread(
                    target=self._serve, args=(client, connect(self._target)), daemon=True
                ).start()

    def _serve(self, client: socket.socket, server: socket.socket) -> None:
        muted = threading.Event()
        back = threading.Thread(target=pump, args=(server, client, muted), daemon=True)
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
        break_off(client, server)
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


@contextmanager
def cutting_proxy(url: str) -> Iterator[CuttingProxy]:
    """A proxy to the database at `url`; the path of its socket is short enough for PostgreSQL's client."""
    with tempfile.TemporaryDirectory(prefix="drive-cut-", dir="/tmp") as folder:
        proxy = CuttingProxy(url, folder)
        try:
            yield proxy
        finally:
            proxy.close()
