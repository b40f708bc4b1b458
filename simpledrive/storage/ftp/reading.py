"""An object's bytes on their way from the server. Begins with the first read, and checks no digest."""

import ftplib
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from functools import partial

from simpledrive.errors import ObjectMissing, StorageUnavailable
from simpledrive.storage.ftp.connections import Connections
from simpledrive.storage.ftp.session import Session
from simpledrive.storage.ftp.transfers import Receiving

Errors = Callable[[str], AbstractContextManager[None]]


class Range:
    """Reads bytes [at, end) of a file of `held` bytes. From the first read on it holds a session."""

    def __init__(
        self, name: str, connections: Connections, errors: Errors, path: str, at: int, end: int, held: int
    ) -> None:
        self._name, self._connections, self._errors, self._path = name, connections, errors, path
        self._at, self._end, self._held = at, end, held
        self._transfer: tuple[Session, Receiving] | None = None
        self._closed = False

    def read(self, size: int, /) -> bytes:
        if self._closed:
            raise ValueError("read from a closed reader")
        wanted = min(size, self._end - self._at)
        if wanted <= 0:
            return b""
        data = self._read(wanted)
        if not data:
            left = self._end - self._at
            raise StorageUnavailable(self._name, "read", f"the transfer ends {left} bytes early")
        self._at += len(data)
        return data

    def close(self) -> None:
        self._closed = True
        if self._transfer is not None:
            (session, receiving), self._transfer = self._transfer, None
            try:
                receiving.leave(at_end=self._at == self._held)
            except (ftplib.Error, EOFError, OSError):
                session.close()
            else:
                self._connections.give_back(session)

    def _read(self, size: int) -> bytes:
        """The next bytes. A transfer that breaks before its first is asked for once more, like a question."""
        with self._errors("read"):
            if self._transfer is not None:
                return self._take(*self._transfer, size)
            with suppress(EOFError, ConnectionError):
                if data := self._take(*self._begin(), size):
                    return data
            return self._take(*self._begin(), size)

    def _take(self, session: Session, receiving: Receiving, size: int) -> bytes:
        """What the transfer gives; one that gives nothing is over."""
        self._transfer = None
        data = b""
        try:
            data = receiving.read(size)
        finally:
            if data:
                self._transfer = session, receiving
            else:
                receiving.close()
                session.close()
        return data

    def _begin(self) -> tuple[Session, Receiving]:
        session, receiving = self._connections.hold(partial(Session.fetch, path=self._path, start=self._at))
        if receiving is None:
            self._connections.give_back(session)
            raise ObjectMissing(self._name, "read", "the object is gone")
        return session, receiving
