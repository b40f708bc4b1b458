"""Readers, and the one that verifies whole blobs."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

from simpledrive.errors import IntegrityFault

BLOCK = 1 << 20
"""Bytes asked for at a time. gunicorn hands a body over six times as fast in 1 MiB steps as in 8 KiB."""


class Reader(Protocol):
    """What a storage's `open` returns: `read(n)` gives up to n bytes, and b"" only at the end."""

    def read(self, size: int, /) -> bytes: ...
    def close(self) -> None: ...


class Closing(ABC):
    """What is closed at the end of its `with` block."""

    @abstractmethod
    def close(self) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class VerifyingReader(Closing):
    """Hands over exactly `size` bytes whose SHA-256 is `sha256`.

    Raises IntegrityFault otherwise, and before the last portion is handed over: who reads to the end without
    an error holds the right bytes.
    """

    def __init__(self, reader: Reader, size: int, sha256: str) -> None:
        self._reader, self._left, self._expected = reader, size, sha256
        self._digest = hashlib.sha256()
        self._checked = False

    def read(self, size: int = -1, /) -> bytes:
        if self._checked:
            return b""
        asked = min(size, self._left) if size >= 0 else self._left
        data = self._reader.read(asked) if self._left else b""
        if self._left and not data and size:
            raise IntegrityFault(f"The bytes of {self._expected} end {self._left} bytes early.")
        if len(data) > asked:
            raise IntegrityFault(f"The bytes of {self._expected} came in a portion longer than asked for.")
        self._digest.update(data)
        self._left -= len(data)
        if self._left == 0:
            if self._digest.hexdigest() != self._expected or self._reader.read(1):
                raise IntegrityFault(f"The bytes of {self._expected} are not what was stored.")
            self._checked = True
        return data

    def close(self) -> None:
        self._reader.close()


@dataclass(frozen=True)
class Source:
    """The bytes that a storage is to keep. May be opened several times, each time from the start.

    `path`, where there is one, is a local file that holds exactly these bytes, was hashed while it was
    written and is not written to again: a storage on the same file system may link it instead of copying.
    """

    size: int
    sha256: str
    opener: Callable[[], Reader]
    path: Path | None = None

    def open(self) -> VerifyingReader:
        return VerifyingReader(self.opener(), self.size, self.sha256)


def first_bytes(reader: Reader, size: int) -> bytes:
    """What a reader begins with, up to so many bytes; it is closed then."""
    found = b""
    try:
        while len(found) < size and (data := reader.read(size - len(found))):
            found += data
    finally:
        reader.close()
    return found
