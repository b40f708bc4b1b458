"""What stands between the drive and a server: PostgreSQL's socket led elsewhere, and bytes passed on."""

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from sqlalchemy import URL, make_url

PORT = 5432


def url_by(folder: str, url: str) -> URL:
    """The database's URL, by the socket at `path_in` instead of the server's own."""
    query = {"host": folder, "port": str(make_url(url).port or PORT)}
    return make_url(url).set(host=None, port=None, query=query)


def path_in(folder: str, url: str) -> Path:
    """Where PostgreSQL's client looks for the socket in a folder."""
    return Path(folder, f".s.PGSQL.{make_url(url).port or PORT}")


def listener_at(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    return listener


def connect(url: str) -> socket.socket:
    """A connection to the server itself."""
    target = make_url(url)
    host = target.host or str(target.query.get("host"))
    if not host.startswith("/"):
        return socket.create_connection((host, target.port or PORT))
    server = socket.socket(socket.AF_UNIX)
    server.connect(str(path_in(host, url)))
    return server


def pump(
    source: socket.socket,
    target: socket.socket,
    muted: threading.Event | None = None,
    note: Callable[[bytes], object] = lambda data: None,
) -> None:
    """Passes on what comes, until one end is gone; then neither gets more. What comes while muted is lost.

    `note` is told of all that came.
    """
    with suppress(OSError):
        while data := source.recv(1 << 16):
            note(data)
            if muted is None or not muted.is_set():
                target.sendall(data)
    break_off(source, target)


def break_off(*ends: socket.socket) -> None:
    """Ends connections for both sides, while other threads may still be reading."""
    for end in ends:
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
