"""Request bodies: counted, limited, never trusted to end where they were announced to.

gunicorn hands a truncated body over as a normal end. So every byte of every body passes `_Counted`, which
raises instead, and large ones go straight to staging, form uploads included.
"""

from __future__ import annotations

import hashlib
import io
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import IO, Any, cast

import flask
import pybase64
from flask import current_app

from simpledrive.errors import BadRequest, DigestMismatch, TooLarge, TruncatedBody, UnsupportedType
from simpledrive.http.current import parts
from simpledrive.http.memory import MemoryBudget
from simpledrive.streams.source import BLOCK, Reader
from simpledrive.streams.staging import Arrival, Incoming

STALLED_SECONDS = 60.0
"""How long a body may stop. It holds a thread, perhaps a share of the memory, and would for ever."""

FILES_IN_MEMORY = 32
"""How many small files of one form may wait in memory; a form may have a thousand."""

ALGORITHMS = {"sha-512": "sha512", "sha-256": "sha256", "sha": "sha1", "md5": "md5"}
"""Names of digests in HTTP (RFC 9530's registry) and in hashlib."""

_DIGEST = re.compile(r"\s*([a-z*][a-z0-9_.*-]*)=:([A-Za-z0-9+/=]*):\s*(?:;[^,]*)?")


class _Counted(io.RawIOBase):
    """A body that raises TruncatedBody when it ends before its announced length, breaks off or stalls.

    `connection` is where it comes from, if the server tells; only then can its stalling be noticed.
    """

    def __init__(
        self, raw: IO[bytes], announced: int | None, ends_by_itself: bool, connection: socket.socket | None
    ) -> None:
        self._raw, self._connection = raw, connection
        # Without a length, only a server that says so ends the body (chunked); otherwise there is none.
        self._left = announced if announced is not None or ends_by_itself else 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        wanted = len(buffer) if self._left is None else min(len(buffer), self._left)
        try:
            data = self._receive(wanted) if wanted else b""
        except TimeoutError as error:
            raise TruncatedBody(f"Nothing of the body came for {STALLED_SECONDS:.0f} seconds.") from error
        except OSError as error:  # gunicorn's NoMoreData is one too
            raise TruncatedBody("The body broke off.") from error
        except Exception as error:  # each server has classes of its own for broken chunks
            raise BadRequest("The body is not in chunks as HTTP has them.") from error
        if self._left is not None:
            if wanted and not data:
                raise TruncatedBody(f"The body ended {self._left} bytes before its announced length.")
            self._left -= len(data)
        buffer[: len(data)] = data
        return len(data)

    def _receive(self, size: int) -> bytes:
        if self._connection is None:
            return self._raw.read(size)
        self._connection.settimeout(STALLED_SECONDS)
        try:
            return self._raw.read(size)
        finally:
            self._connection.settimeout(None)


class Request(flask.Request):
    """A request whose body is counted, and whose uploaded files go to the drive's staging."""

    @cached_property
    def stream(self) -> IO[bytes]:
        """The body. Reads raise TruncatedBody."""
        environ = self.environ
        ends = bool(environ.get("wsgi.input_terminated"))
        connection = environ.get("gunicorn.socket")
        counted = _Counted(environ["wsgi.input"], self.content_length, ends, connection)
        return cast(IO[bytes], io.BufferedReader(counted, BLOCK))

    def _get_file_stream(
        self,
        total_content_length: int | None,
        content_type: str | None,
        filename: str | None = None,
        content_length: int | None = None,
    ) -> IO[bytes]:
        limit = parts().settings.max_blob_bytes or None
        in_memory = len(self._opened) < FILES_IN_MEMORY
        file = FormFile(parts().drive.staging.begin(limit, in_memory=in_memory))
        self._opened.append(file)
        return cast(IO[bytes], file)

    @cached_property
    def _opened(self) -> list[FormFile]:
        return []

    def close(self) -> None:
        """Forgets every file that no view has taken, also when the form broke off in the middle."""
        for file in self._opened:
            file.close()
        super().close()


class FormFile:
    """One file of a form, on its way into staging: what Werkzeug writes to and what the view takes."""

    def __init__(self, arrival: Arrival) -> None:
        self.arrival = arrival

    def write(self, data: bytes) -> int:
        return self.arrival.write(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        return 0  # Werkzeug rewinds when a file is complete; Staged is opened from the start anyway

    def close(self) -> None:
        self.arrival.close()


def incoming(request: flask.Request, limit: int | None) -> Incoming:
    """The raw body on its way to the drive, with what the headers announce of it.

    Raises BadRequest and UnsupportedType for a body that is not the bytes themselves, all of them.
    """
    if "Content-Range" in request.headers:
        raise BadRequest("A part of a blob cannot be stored: send all of its bytes, without Content-Range.")
    refuse_codings(request)
    return Incoming(cast(Reader, request.stream), request.content_length, announced_digests(request), limit)


def refuse_codings(request: flask.Request) -> None:
    """Raises UnsupportedType for a compressed body: it would be kept as it came, and how to read it lost."""
    content = request.headers.get("Content-Encoding", "identity").strip().lower()
    transfer = request.headers.get("Transfer-Encoding", "chunked").strip().lower()
    if content != "identity" or transfer != "chunked":
        raise UnsupportedType("Send the bytes themselves: compressed bodies are not taken here.")


def announced_digests(request: flask.Request) -> dict[str, bytes]:
    """The digests in Repr-Digest, Content-Digest (RFC 9530) and Content-MD5, by hashlib name.

    Unknown algorithms are passed over, as the RFC wants. Raises BadRequest for what cannot be read.
    """
    digests: dict[str, bytes] = {}
    for header in ("Repr-Digest", "Content-Digest"):
        listed = request.headers.get(header, "").strip()
        for item in listed.split(",") if listed else ():
            found = _DIGEST.fullmatch(item)
            if found is None:
                raise BadRequest(f"{header} is not of the form sha-256=:BASE64:.")
            if name := ALGORITHMS.get(found[1]):
                _announce(digests, header, name, found[2])
    if value := request.headers.get("Content-MD5"):
        _announce(digests, "Content-MD5", "md5", value.strip())
    return digests


def _announce(digests: dict[str, bytes], header: str, name: str, value: str) -> None:
    try:
        digest = pybase64.b64decode(value, validate=True)
    except ValueError as error:
        raise BadRequest(f"{header} is not base64.") from error
    if digests.setdefault(name, digest) != digest:
        raise DigestMismatch("The headers announce two different digests.")


@contextmanager
def json_body(request: flask.Request, limit: int, too_large: str) -> Iterator[bytes]:
    """The whole body in memory, for as long as the block lasts, within the process's budget.

    Three times its length is reserved: the document, its text and what the text decodes to. Raises TooLarge
    (with the sentence `too_large`), TruncatedBody, DigestMismatch, UnsupportedType, Busy.
    """
    refuse_codings(request)
    most = limit if request.content_length is None else request.content_length
    if most > limit:
        raise TooLarge(too_large)
    budget = cast(MemoryBudget, current_app.extensions["simpledrive.json_memory"])
    with budget.reserve(3 * most):
        body = request.stream.read(most + 1)
        if len(body) > limit:
            raise TooLarge(too_large)
        for name, digest in announced_digests(request).items():
            if hashlib.new(name, body).digest() != digest:
                raise DigestMismatch(f"The {name} of the body is not the announced one.")
        yield body
