"""The promise that every storage keeps, and what all of them share.

A storage knows keys and bytes, and nothing of names, users, Flask or records. It is built from its own
options and its backend's name; building it does not touch the network. It is safe from several threads.
Memory is bounded to a few MiB a call, whatever the size. Keys are made here and never used a second time.
tests/contract.py holds every storage to each sentence of this page, on a real server.
"""

from __future__ import annotations

import hashlib
import io
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationInfo

from simpledrive.errors import ObjectMissing, StorageError, StorageUnavailable
from simpledrive.ids import uuid7
from simpledrive.paths import anchored
from simpledrive.streams.source import Reader, Source, first_bytes

MARKER = "simpledrive-marker"
"""The one key that is not a digest's: the object that says which drive and backend this place belongs to."""

KEY = re.compile(r"[0-9a-f]{64}\.[0-9a-f]{32}")
"""What `new_key` makes. Whatever else lies at a backend, MARKER included, is no object of ours to list."""

Begin = Callable[[str], object]
"""Told the name of each step before it is taken."""

BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
LAST_MOMENT = datetime.max.replace(tzinfo=UTC)


def new_key(sha256: str) -> str:
    """A fresh key for these bytes: digest, dot, UUIDv7. No two puts ever share one.

    So no put can harm, or be harmed by, another put, a failed put or a late delete, a storage can be checked
    without the database, and an orphan's age is in its name.
    """
    return f"{sha256}.{uuid7().hex}"


def made_at(key: str) -> datetime:
    """When `new_key` made this key (UTC).

    In a foreign name of the same shape may stand a time that the calendar does not reach: then its last.
    """
    milliseconds = int(key.partition(".")[2][:12], 16)
    return BEGINNING + min(timedelta(milliseconds=milliseconds), LAST_MOMENT - BEGINNING)


class Options(BaseModel):
    """Base of each kind's options: an unknown or missing one is an error that names it.

    One that names a file or folder is an AnchoredPath.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)


def folder_of(info: ValidationInfo) -> Path:
    """Where the settings lie that options are read from, which is where their relative paths begin."""
    folder: Path | None = (info.context or {}).get("folder")
    return folder or Path.cwd()


AnchoredPath = Annotated[Path, AfterValidator(lambda path, info: anchored(path, folder_of(info)))]
"""An option that is a path: absolute, wherever the process runs."""


class Storage(ABC):
    """One kind of place that keeps bytes under keys.

    Only StorageError's children leave a storage, from calls and from reading a stream; and what `source`
    raises while it is read, which passes through untouched. They never name a password, a signed URL or a
    header. Every wait has a timeout.
    """

    kind: ClassVar[str]
    Options: ClassVar[type[Options]]
    is_near: ClassVar[bool] = False
    """Whether bytes are read here as often as one likes: nobody is paid for it, and no far line is filled."""

    def __init__(self, name: str, options: BaseModel) -> None:
        """For the backend `name`, from options of this kind's own class, which each kind reads itself."""
        self.name, self.options = name, options

    @property
    def where(self) -> str:
        """The place in words for those who run the drive: a path or an address, without user or secret."""
        return ""

    @abstractmethod
    def put(self, key: str, source: Source) -> None:
        """Stores exactly the bytes of `source` under a key that was never used.

        When it returns they are complete and durable. When it raises, the object is absent or complete,
        never partial. A key that is in use raises StorageRefused and keeps what it holds. Raises StorageFull,
        StorageRefused, StorageUnavailable.
        """

    @abstractmethod
    def open(self, key: str, start: int = 0, stop: int | None = None) -> Reader:
        """A reader of bytes [start, stop), lazily: one byte of a large object costs one small transfer.

        Raises ObjectMissing at once. A reader that cannot go on raises; it never looks like the end. What
        lies past the object's end is not there to read: such a range is short or empty, without an error.
        """

    @abstractmethod
    def size(self, key: str) -> int:
        """Bytes held under the key. Raises ObjectMissing."""

    @abstractmethod
    def delete(self, key: str) -> None:
        """Afterwards the key is not there. That it was not there before is fine."""

    @abstractmethod
    def keys(self, after: str | None = None) -> Iterator[str]:
        """Every complete object's key, in order of its characters, beginning behind `after`; in pages.

        Only names in the shape of KEY: neither MARKER nor what others put there. Keys may come and go while
        this runs; one that is there all the time is named once.
        """

    @abstractmethod
    def clean(self, before: datetime) -> int:
        """Removes what unfinished puts older than `before` left behind; returns how many. Never an object.

        A put that is that old and still going may be among them: then it raises.
        """

    def probe(self, begin: Begin = lambda step: None) -> None:
        """Writes a small object, reads it back, compares, lists and deletes it. Returns if all went well.

        What it raises is why the step failed that was begun last. Nothing stays behind that can be deleted.
        """
        content = f"{self.name} {uuid7()}".encode()
        source = Source(len(content), hashlib.sha256(content).hexdigest(), lambda: io.BytesIO(content))
        key = new_key(source.sha256)
        try:
            begin("write")
            self.put(key, source)
            begin("read")
            found = first_bytes(self.open(key), len(content) + 1)
            begin("compare")
            if found != content:
                raise StorageUnavailable(self.name, "probe", "what was read is not what was written")
            begin("list")
            # From there on, which is one page. Not that it is in it: some servers list an object later.
            next(iter(self.keys(key[:-1])), None)
        except BaseException:
            with suppress(StorageError):
                self.delete(key)
            raise
        begin("delete")
        self.delete(key)
        try:
            self.size(key)
        except ObjectMissing:
            return
        raise StorageUnavailable(self.name, "probe", "the object is still there after it was deleted")

    def close(self) -> None:  # noqa: B027 (many kinds hold nothing)
        """Gives up connections. The storage is not used afterwards."""
