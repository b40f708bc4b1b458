"""A run: the records of a drive at one moment, as JSON lines. docs/backup.md tells the format to outsiders.

The first line is a Header, the last one an End, which holds the digest of all lines before it: so a run says
by itself whether it is whole. Between them is a line a record, in the order of their digests: what shares its
bytes are neighbours, and any number of runs can be compared side by side without being held in memory.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Literal, NamedTuple, TypeVar
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, NonNegativeInt, ValidationError

from simpledrive.errors import DriveError
from simpledrive.ids import MAX_ID, flaw

VERSION = 1
DIGEST = r"^[0-9a-f]{64}$"

Digest = Annotated[str, Field(pattern=DIGEST)]
M = TypeVar("M", bound=BaseModel)


class BackupError(DriveError):
    """The folder of a back-up is not what it has to be, or cannot be read or written."""


class Content(NamedTuple):
    """Some bytes that records have."""

    sha256: str
    size: int


class _Line(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Header(_Line):
    """Of which drive the run is, and which of its records were selected."""

    model_config = ConfigDict(extra="ignore")  # of a later version is known at least that it is one

    format: Literal["simpledrive backup"] = "simpledrive backup"
    version: int = VERSION
    drive: UUID
    created_at: AwareDatetime
    selection: dict[str, Any]


class Record(_Line):
    """A blob (`current`), an earlier version of one, or one in the trash (`deleted`).

    `record` names this one version for ever. `storage_key` is that of its bytes at its home, the backend
    `storage_backend`. `owner` is the id of the key that stored it. `unread` says why its bytes are not in the
    back-up; without it they are.
    """

    sha256: Digest
    size: NonNegativeInt
    state: Literal["current", "earlier", "deleted"]
    id: Annotated[str, Field(max_length=MAX_ID)]
    version: int
    filename: str
    content_type: str
    metadata: dict[str, str]
    storage_backend: str
    storage_key: str
    created_at: AwareDatetime
    updated_at: AwareDatetime
    put_aside_at: AwareDatetime | None = None
    owner: str
    record: UUID
    unread: str | None = None

    @property
    def content(self) -> Content:
        return Content(self.sha256, self.size)


class End(_Line):
    """What the lines before it are. `unread` is how many of the records lack their bytes.

    `contents` and `bytes` count what is in the back-up, each content once; `backends` are the homes.
    """

    end: Literal[True] = True
    records: int
    unread: int
    contents: int
    bytes: int
    backends: list[str]
    sha256: Digest


class Writer:
    """Writes a run. The records come in the order of their digests."""

    def __init__(self, file: BinaryIO, header: Header) -> None:
        self._file, self._digest = file, hashlib.sha256()
        self._records = self._unread = self._contents = self._bytes = 0
        self._backends: set[str] = set()
        self._last = ""
        self._write(header)

    def add(self, record: Record) -> None:
        self._write(record)
        self._records += 1
        if record.unread is not None:
            self._unread += 1
            return
        self._backends.add(record.storage_backend)
        if record.sha256 != self._last:
            self._last = record.sha256
            self._contents += 1
            self._bytes += record.size

    def end(self) -> End:
        end = End(
            records=self._records,
            unread=self._unread,
            contents=self._contents,
            bytes=self._bytes,
            backends=sorted(self._backends),
            sha256=self._digest.hexdigest(),
        )
        self._write(end)
        return end

    def _write(self, line: _Line) -> None:
        data = line.model_dump_json(exclude_none=True).encode() + b"\n"
        self._digest.update(data)
        self._file.write(data)


class Run:
    """A run that was written. Reading one that is not whole raises BackupError, at its end at the latest."""

    def __init__(self, path: Path) -> None:
        self.path, self.name = path, path.stem

    def header(self) -> Header:
        with self._opened() as file:
            return self._header(file.readline())

    def check(self) -> End:
        """Reads all of it and says what is in it."""
        return _last(self._lines())

    def records(self) -> Iterator[Record]:
        """Every record, in the order of their digests."""
        for line in self._lines():
            record = self._parsed(Record, line)
            if (why := flaw(record.id)) is not None:
                raise BackupError(f"The run {self.name} is damaged: {record.id!r} is no id. {why}")
            yield record

    def contents(self) -> Iterator[Content]:
        """The contents that the run needs, in the order of their digests, each once."""
        for content, _ in groupby(self.readable(), key=attrgetter("content")):
            yield content

    def readable(self) -> Iterator[Record]:
        """The records whose bytes are in the back-up."""
        return (record for record in self.records() if record.unread is None)

    def digests(self) -> Iterator[str]:
        return (content.sha256 for content in self.contents())

    def _lines(self) -> Generator[bytes, None, End]:
        """The lines between the first and the last, whose digest is compared; returns the End."""
        digest = hashlib.sha256()
        with self._opened() as file:
            before = file.readline()
            self._header(before)
            is_first = True
            for line in file:
                digest.update(before)
                if not is_first:
                    yield before
                before, is_first = line, False
        end = self._parsed(End, before)
        if end.sha256 != digest.hexdigest():
            raise BackupError(f"The run {self.name} is damaged: its digest is not the one in its last line.")
        return end

    @contextmanager
    def _opened(self) -> Iterator[BinaryIO]:
        try:
            with self.path.open("rb") as file:
                yield file
        except OSError as error:
            raise BackupError(f"The run {self.name} cannot be read: {error.strerror}.") from error

    def _header(self, line: bytes) -> Header:
        header = self._parsed(Header, line)
        if header.version > VERSION:
            raise BackupError(
                f"The run {self.name} has the format {header.version}, this drive knows {VERSION}: "
                "it was written by a later version of Simple Drive."
            )
        return header

    def _parsed(self, kind: type[M], line: bytes) -> M:
        try:
            return kind.model_validate_json(line)
        except ValidationError as error:
            raise BackupError(f"The run {self.name} is damaged: {FLAWS[kind]}.") from error


FLAWS: dict[type[BaseModel], str] = {
    Header: "it does not begin as one",
    Record: "one of its lines is no record",
    End: "its end is missing",
}


def _last(lines: Generator[bytes, None, End]) -> End:
    """Reads to the end; what is returned there."""
    while True:
        try:
            next(lines)
        except StopIteration as stop:
            end: End = stop.value
            return end


def distinct(digests: Iterable[str]) -> Iterator[str]:
    """What comes in order, each once."""
    for digest, _ in groupby(digests):
        yield digest
