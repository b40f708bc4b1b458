"""A body on its way to the server: sent in one pass, its digest known beforehand."""

import hashlib
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Protocol

from simpledrive.streams.source import Reader, Source

SENT_AT_ONCE = 256 << 10
"""A connection's timeout counts for all that is sent at once: 8 KiB/s are still enough."""


class Content(Protocol):
    """What a body is made of. May be opened again for a repetition, each time from the start."""

    @property
    def size(self) -> int: ...
    @property
    def sha256(self) -> str: ...
    def open(self) -> Reader: ...


class Sending:
    """The body of one attempt.

    What the content raises is kept in `error`: on its way through the HTTP client it looks like an error of
    the connection. `complete` says whether the client took everything: a server may answer before.
    """

    def __init__(self, content: Content) -> None:
        self._size, self._left = content.size, content.size
        self._portions = self._read(content)
        self.error: BaseException | None = None

    @property
    def complete(self) -> bool:
        return self._left == 0

    def body(self) -> bytes | Iterator[bytes]:
        """A small body whole, so that none that breaks its word is sent in part; a larger one piecemeal."""
        return self._portions if self._size > SENT_AT_ONCE else b"".join(self._portions)

    def close(self) -> None:
        self._portions.close()

    def _read(self, content: Content) -> Generator[bytes, None, None]:
        with self._noted():
            reader = content.open()
        try:
            while True:
                with self._noted():
                    data = reader.read(SENT_AT_ONCE)
                if not data:
                    return
                yield data
                self._left -= len(data)  # asked for more: so the connection took this
        finally:
            reader.close()

    @contextmanager
    def _noted(self) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            self.error = error
            raise


class Tallied:
    """A source whose MD5 is made while it is sent: what most servers answer as the object's ETag."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.size, self.sha256 = source.size, source.sha256
        self._md5 = hashlib.md5(usedforsecurity=False)

    @property
    def etag(self) -> str:
        return f'"{self._md5.hexdigest()}"'

    def open(self) -> Reader:
        self._reader = self._source.open()
        self._md5 = hashlib.md5(usedforsecurity=False)
        return self

    def read(self, size: int, /) -> bytes:
        data = self._reader.read(size)
        self._md5.update(data)
        return data

    def close(self) -> None:
        self._reader.close()
