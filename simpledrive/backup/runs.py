"""A run: the records of a drive at one moment, as JSON lines. docs/backup.md tells the format to outsiders.

The first line is a Header, the last one an End, which holds the digest of all lines before it: so a run says
by itself whether it is whole. Between them is a line a record, in the order of their digests: what shares its
bytes are neighbours, and any number of runs can be compared side by side without being held in memory.

Who seals a run may have written anything before the seal. So what is read is believed only when it is what
Writer writes: everything else is a BackupError, before anything was changed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from io import BufferedReader
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Literal, NamedTuple, NoReturn, Self, TypeVar
from uuid import UUID

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from simpledrive.backup.regular import open_regular
from simpledrive.errors import DriveError
from simpledrive.storage.base import KEY

VERSION = 1
DIGEST = r"^[0-9a-f]{64}$"

LINE = 16 << 20
"""Bytes of a line, at most: what a command can be told to select is less, and so is any record."""


def _in_utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("is not in the calendar in UTC") from None


Digest = Annotated[str, Field(pattern=DIGEST)]
Moment = Annotated[AwareDatetime, AfterValidator(_in_utc)]
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
    created_at: Moment
    selection: dict[str, Any]


class Record(_Line):
    """A blob (`current`), an earlier version of one, or one in the trash (`deleted`).

    `record` names this one version for ever. `storage_key` is that of its bytes at its home, the backend
    `storage_backend`. `owner` is the id of the key that stored it. `unread` says why its bytes are not in the
    back-up; without it they are.
    """

    sha256: Digest
    size: Annotated[int, Field(ge=0, lt=1 << 63)]
    state: Literal["current", "earlier", "deleted"]
    id: str
    version: Annotated[int, Field(ge=1, lt=1 << 31)]
    filename: str
    content_type: str
    metadata: dict[str, str]
    storage_backend: str
    storage_key: str
    created_at: Moment
    updated_at: Moment
    put_aside_at: Moment | None = None
    owner: str
    record: UUID
    unread: str | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if not (KEY.fullmatch(self.storage_key) and self.storage_key.startswith(self.sha256)):
            raise ValueError("its storage key is not one of these bytes")
        if (self.put_aside_at is None) != (self.state == "current"):
            raise ValueError("what is not current was put aside at some moment")
        return self

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


class _Totals:
    """What the End says of the records, counted as these come, in the order of their digests."""

    def __init__(self) -> None:
        self._records = self._unread = self._contents = self._bytes = 0
        self._backends: set[str] = set()
        self._last = ""

    def add(self, record: Record) -> None:
        self._records += 1
        if record.unread is not None:
            self._unread += 1
            return
        self._backends.add(record.storage_backend)
        if record.sha256 != self._last:
            self._last = record.sha256
            self._contents += 1
            self._bytes += record.size

    def end(self, sha256: str) -> End:
        return End(
            records=self._records,
            unread=self._unread,
            contents=self._contents,
            bytes=self._bytes,
            backends=sorted(self._backends),
            sha256=sha256,
        )


class Writer:
    """Writes a run. The records come in the order of their digests."""

    def __init__(self, file: BinaryIO, header: Header) -> None:
        self._file, self._digest, self._totals = file, hashlib.sha256(), _Totals()
        self._write(header)

    def add(self, record: Record) -> None:
        self._write(record)
        self._totals.add(record)

    def end(self) -> End:
        end = self._totals.end(self._digest.hexdigest())
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
            return self._header(self._line(file))

    def check(self) -> End:
        """Reads all of it and says what is in it."""
        return _last(self._read())

    def records(self) -> Iterator[Record]:
        """Every record, in the order of their digests."""
        return self._read()

    def contents(self) -> Iterator[Content]:
        """The contents that the run needs, in the order of their digests, each once."""
        for content, _ in groupby(self.readable(), key=attrgetter("content")):
            yield content

    def readable(self) -> Iterator[Record]:
        """The records whose bytes are in the back-up."""
        return (record for record in self.records() if record.unread is None)

    def digests(self) -> Iterator[str]:
        return (content.sha256 for content in self.contents())

    def _read(self) -> Generator[Record, None, End]:
        """The records; returns the End, which was compared with all lines before it."""
        digest, totals = hashlib.sha256(), _Totals()
        last: Record | None = None
        with self._opened() as file:
            before, is_first = self._line(file), True
            self._header(before)
            while line := self._line(file):
                digest.update(before)
                if not is_first:
                    record = self._parsed(Record, before)
                    self._compare(last, record)
                    totals.add(record)
                    yield record
                    last = record
                before, is_first = line, False
        end = self._parsed(End, before)
        if end.sha256 != digest.hexdigest():
            self._damaged("its digest is not the one in its last line")
        if end != totals.end(end.sha256):
            self._damaged("its last line tells of other records")
        return end

    def _compare(self, last: Record | None, record: Record) -> None:
        """Whatever goes through several runs side by side relies on it."""
        if last is None or last.sha256 < record.sha256:
            return
        if last.sha256 > record.sha256:
            self._damaged("its records are not in the order of their digests")
        if last.size != record.size:
            self._damaged("the same bytes have two sizes")

    @contextmanager
    def _opened(self) -> Iterator[BinaryIO]:
        try:
            with BufferedReader(open_regular(self.path)) as file:
                yield file
        except OSError as error:
            raise BackupError(f"The run {self.name} cannot be read: {error.strerror}.") from error

    def _line(self, file: BinaryIO) -> bytes:
        line = file.readline(LINE + 1)
        if len(line) > LINE:
            self._damaged("one of its lines does not end")
        return line

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
        except ValidationError:
            self._damaged(FLAWS[kind])

    def _damaged(self, why: str) -> NoReturn:
        raise BackupError(f"The run {self.name} is damaged: {why}.")


FLAWS: dict[type[BaseModel], str] = {
    Header: "it does not begin as one",
    Record: "one of its lines is no record",
    End: "its end is missing",
}


def _last(records: Generator[Record, None, End]) -> End:
    """Reads to the end; what is returned there."""
    while True:
        try:
            next(records)
        except StopIteration as stop:
            end: End = stop.value
            return end
