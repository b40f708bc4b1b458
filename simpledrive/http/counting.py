"""Bodies that are counted while they are read: never trusted to end where they were announced to."""

from __future__ import annotations

import hashlib
import io
from typing import IO, Any

from simpledrive.errors import BadRequest, DigestMismatch, DriveError, Stalled, TruncatedBody
from simpledrive.http import connection


class Counted(io.RawIOBase):
    """A body that raises TruncatedBody when it ends before its announced length or breaks off.

    And Stalled when the server gave up waiting for it.
    """

    def __init__(self, raw: IO[bytes], announced: int | None, ends_by_itself: bool) -> None:
        self._raw = raw
        self.received = 0
        # Without a length, only a server that says so ends the body (chunked); otherwise there is none.
        self._left = announced if announced is not None or ends_by_itself else 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        wanted = min(len(buffer), connection.PORTION)
        if self._left is not None:
            wanted = min(wanted, self._left)
        try:
            data = self._raw.read(wanted) if wanted else b""
        except TimeoutError as error:
            raise Stalled("The body stopped coming, or came too slowly.") from error
        except OSError as error:  # gunicorn's NoMoreData is one too
            raise TruncatedBody("The body broke off.") from error
        except Exception as error:  # each server has classes of its own for broken chunks
            raise BadRequest("The body is not in chunks as HTTP has them.") from error
        if self._left is not None:
            if wanted and not data:
                raise TruncatedBody(f"The body ended {self._left} bytes before its announced length.")
            self._left -= len(data)
        buffer[: len(data)] = data
        self.received += len(data)
        return len(data)


class Limited(io.RawIOBase):
    """A body that raises this error past so many bytes."""

    def __init__(self, body: IO[bytes], most: int, error: DriveError) -> None:
        self._body, self._left, self._error = body, most, error

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        data = self._body.read(min(len(buffer), self._left + 1))
        self._left -= len(data)
        if self._left < 0:
            raise self._error
        buffer[: len(data)] = data
        return len(data)


class Digested(io.RawIOBase):
    """A body that can be compared, once it has been read, with what its headers announced."""

    def __init__(self, body: IO[bytes], announced: dict[str, bytes]) -> None:
        self._body, self._announced = body, announced
        self._found = {name: hashlib.new(name) for name in announced}

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        data = self._body.read(len(buffer))
        for digest in self._found.values():
            digest.update(data)
        buffer[: len(data)] = data
        return len(data)

    def compare(self) -> None:
        """Raises DigestMismatch."""
        for name, digest in self._found.items():
            if digest.digest() != self._announced[name]:
                raise DigestMismatch(f"The {name} of the body is not the announced one.")
