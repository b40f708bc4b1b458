"""Request bodies: counted, limited, never trusted to end where they were announced to.

gunicorn hands a truncated body over as a normal end. So every byte of every body passes `_Counted`, which
raises instead, and large ones go straight to staging, form uploads and JSON included. Of somebody who is not
signed in, no more is read than the form of the door.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import IO, Any, cast

import flask
import pybase64
from flask import current_app, g
from werkzeug.exceptions import RequestEntityTooLarge

from simpledrive.config import JSON_MEMORY_FACTOR
from simpledrive.errors import (
    BadRequest,
    DigestMismatch,
    DriveError,
    Forbidden,
    NotSignedIn,
    Stalled,
    TooLarge,
    TruncatedBody,
    UnsupportedType,
)
from simpledrive.http import connection
from simpledrive.http.current import caller, parts
from simpledrive.http.memory import MemoryBudget
from simpledrive.rights import Caller
from simpledrive.streams.source import Reader
from simpledrive.streams.staging import Arrival, Incoming, Staged

FORM_BYTES = 2 << 20
"""The most bytes of a form without files, which is read into memory: some thousand ticked files."""

STRANGERS_BYTES = 64 << 10
"""The most bytes of any form of somebody who is not signed in, or may only read."""

ENVELOPE_BYTES = 64 << 10
"""The most bytes around the one file of a form that has one: boundaries, headers, other fields."""

FILES_IN_MEMORY = 32
"""How many small files of one form may wait in memory; a form may have a thousand."""

FORMS = ("multipart/form-data", "application/x-www-form-urlencoded")

ALGORITHMS = {"sha-512": "sha512", "sha-256": "sha256", "sha": "sha1", "md5": "md5"}
"""Names of digests in HTTP (RFC 9530's registry) and in hashlib."""

_DIGEST = re.compile(r"\s*([a-z*][a-z0-9_.*-]*)=:([A-Za-z0-9+/=]*):\s*(?:;[^,]*)?")


class _Counted(io.RawIOBase):
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


class _Limited(io.RawIOBase):
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


class _Digested(io.RawIOBase):
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


@dataclass(frozen=True)
class FileLimit:
    """The most bytes that one file of a form may have, and what is raised for one that has more."""

    most: int
    error: DriveError


def file_limit(most: int | None = None, too_large: str = "") -> FileLimit | None:
    """What limits a file that this caller sends now: his room in the drive, or `most` where that is less."""
    room = parts().drive.room(caller())
    if most is not None and (room is None or most <= room):
        return FileLimit(most, TooLarge(too_large))
    return None if room is None else FileLimit(room, parts().drive.refusal(caller(), room))


class Request(flask.Request):
    """A request whose body is counted, and whose uploaded files go to the drive's staging.

    Reading its form raises TooLarge for more than a form may have, NotSignedIn for a stranger's file,
    Forbidden for a form with files of somebody who may not write, and DigestMismatch for a body that is not
    the announced one.
    """

    only_file: FileLimit | None = None
    """Set before the form is read, by who takes one file and no more: reading stops soon behind that much."""

    _counted: _Counted | None = None

    @property
    def received(self) -> int:
        """Bytes of the body that have been read."""
        return self._counted.received if self._counted is not None else 0

    @cached_property
    def stream(self) -> IO[bytes]:
        """The body. Reads raise TruncatedBody."""
        environ = self.environ
        ends = bool(environ.get("wsgi.input_terminated"))
        self._counted = _Counted(environ["wsgi.input"], self.content_length, ends)
        return cast(IO[bytes], io.BufferedReader(self._counted, connection.PORTION))

    def _load_form_data(self) -> None:
        try:
            super()._load_form_data()
        except RequestEntityTooLarge as error:
            most = f"{self.max_form_parts} fields and files, and {self.max_form_memory_size} bytes in a field"
            raise TooLarge(f"One form has at most {most}. Nothing of this one was stored.") from error
        if self._digested is not None:
            self._digested.compare()

    _digested: _Digested | None = None

    def _get_stream_for_parsing(self) -> IO[bytes]:
        stream = self._limited()
        if self.mimetype not in FORMS or not (announced := announced_digests(self)):
            return stream
        self._digested = _Digested(stream, announced)
        return cast(IO[bytes], io.BufferedReader(self._digested, connection.PORTION))

    def _limited(self) -> IO[bytes]:
        who: Caller | None = g.get("caller")
        if who is not None and self.mimetype == "multipart/form-data":
            who.require("write")
            if self.only_file is None:
                return self.stream  # what is a field in it has Werkzeug's limits, what is a file the drive's
            most, error = self.only_file.most + ENVELOPE_BYTES, self.only_file.error
        else:
            most = STRANGERS_BYTES if who is None or who.scopes <= {"read"} else FORM_BYTES
            error = TooLarge(f"A form has at most {most} bytes here.")
        if (self.content_length or 0) > most:
            raise error
        return cast(IO[bytes], io.BufferedReader(_Limited(self.stream, most, error), connection.PORTION))

    def _get_file_stream(
        self,
        total_content_length: int | None,
        content_type: str | None,
        filename: str | None = None,
        content_length: int | None = None,
    ) -> IO[bytes]:
        if g.get("caller") is None:
            raise NotSignedIn("Sign in first: no file of a stranger is received.")
        limit = self.only_file or file_limit()
        in_memory = len(self._opened) < FILES_IN_MEMORY
        arrival = parts().staging.begin(None if limit is None else limit.most, in_memory=in_memory)
        file = FormFile(arrival, None if limit is None else limit.error)
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
    """One file of a form, on its way into staging: what Werkzeug writes to and what the view takes.

    A file that cannot be received (TooLarge, StagingFull) fails alone: the rest of it is passed over, the
    form goes on, and `finish` raises what went wrong.
    """

    def __init__(self, arrival: Arrival, too_large: DriveError | None) -> None:
        self._arrival, self._too_large = arrival, too_large
        self._error: DriveError | None = None

    def write(self, data: bytes) -> int:
        if self._error is None:
            try:
                self._arrival.write(data)
            except DriveError as error:
                self._error = self._too_large if isinstance(error, TooLarge) else error
                self._arrival.close()
        return len(data)

    def finish(self) -> Staged:
        """The whole file. The caller closes it."""
        if self._error is not None:
            raise self._error
        return self._arrival.finish()

    def seek(self, offset: int, whence: int = 0) -> int:
        return 0  # Werkzeug rewinds when a file is complete; Staged is opened from the start anyway

    def close(self) -> None:
        self._arrival.close()


def incoming(request: flask.Request, limit: int | None = None) -> Incoming:
    """The raw body on its way to the drive, with what the headers announce of it.

    Raises BadRequest and UnsupportedType for a body that is not the bytes themselves, all of them, and
    Forbidden for who may only read: nothing that a body asks for is theirs to ask.
    """
    if caller().scopes <= {"read"}:
        raise Forbidden(f"The key {caller().name} may only read.")
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

    It comes into memory only when all of it has arrived in staging: who sends slowly, or does not say how
    much, keeps no room from others. Then JSON_MEMORY_FACTOR times its length is reserved: the document, its
    text and what the text decodes to. Raises what receiving raises, TooLarge with the sentence `too_large`,
    UnsupportedType, Busy.
    """
    budget = cast(MemoryBudget, current_app.extensions["simpledrive.json_memory"])
    try:
        staged = parts().staging.receive(incoming(request, limit))
    except TooLarge as error:
        raise TooLarge(too_large) from error
    with staged, budget.reserve(JSON_MEMORY_FACTOR * staged.size):
        reader = staged.source.opener()
        try:
            body = reader.read(staged.size)
        finally:
            reader.close()
        yield body
