"""Bytes in files that fsspec reaches: `BASE/objects/ab/KEY`, and `BASE/tmp/` for those in the making.

Where others see a file before it is complete, it is written under another name, counted, and renamed; object
stores show it when it is whole (objects.py). Whether what the server acknowledges is on its disk is up to the
server. This module checks no digests, and knows no implementation.
"""

import posixpath
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime
from functools import partial

from simpledrive.errors import ObjectMissing, StorageError, StorageRefused, StorageUnavailable
from simpledrive.ids import uuid7
from simpledrive.storage import claims
from simpledrive.storage.base import KEY, MARKER, Storage, made_at
from simpledrive.storage.fsspec.faults import is_timeout
from simpledrive.storage.fsspec.filesystem import Filesystem
from simpledrive.storage.fsspec.filesystems import Filesystems
from simpledrive.storage.fsspec.options import FsspecOptions
from simpledrive.storage.fsspec.reading import Range
from simpledrive.storage.taken import Taken
from simpledrive.streams.source import Reader, Source

FOLDER = re.compile(r"[0-9a-f]{2}")
PART = re.compile(r"part\.[0-9a-f]{32}")

Removal = Callable[[Filesystem], object]


class FsspecStorage(Storage):
    """Keeps objects as files below one folder, which is made when it is first written to."""

    kind = "fsspec"
    Options = FsspecOptions

    def __init__(self, name: str, options: FsspecOptions) -> None:
        super().__init__(name, options)
        self._base, self._where = options.base, options.where
        self._publishes_whole = options.implementation.publishes_whole
        self._filesystems = Filesystems(name, options)
        self._lease = claims.lease(options.timeout)
        self._taken = Taken(name)
        self._made: set[str] = set()
        self._seen = False

    @property
    def where(self) -> str:
        return self._where

    def put(self, key: str, source: Source) -> None:
        path = self._path("put", key)
        with self._taken.taking(key) as unused, source.open() as reader:
            if self._publishes_whole:
                self._put_at_once(path, source.size, reader)
            else:
                self._put_and_rename(path, source.size, reader, unused)
        self._seen = True

    def open(self, key: str, start: int = 0, stop: int | None = None) -> Range:
        held = self._held("open", key)
        end = held if stop is None else min(stop, held)
        return Range(self.name, self._filesystems, self._path("open", key), start, end)

    def size(self, key: str) -> int:
        return self._held("size", key)

    def delete(self, key: str) -> None:
        path = self._path("delete", key)
        self._filesystems.ask("delete", _removal(path))

    def keys(self, after: str | None = None) -> Iterator[str]:
        """A page is one of 256 folders, so that is what memory grows with: 1 MiB for a million objects."""
        first = after or ""
        for folder in self._names("keys", "objects", FOLDER):
            if folder >= first[:2]:
                for key in self._names("keys", f"objects/{folder}", KEY):
                    if key > first and key.startswith(folder):
                        yield key

    def clean(self, before: datetime) -> int:
        # How old they are is in their names, by our own clock.
        parts = [name for name in self._names("clean", "tmp", PART) if made_at(name) < before]
        left = self._names("clean", "tmp", claims.CLAIM)
        work = [_removal(self._at(f"tmp/{name}")) for name in parts]
        work += [partial(claims.expire, claim=self._at(f"tmp/{name}"), before=before) for name in left]
        return sum(bool(self._filesystems.ask("clean", removal)) for removal in work)

    def close(self) -> None:
        self._filesystems.close()

    def _path(self, operation: str, key: str) -> str:
        """Where the object lies. Only keys of ours have a place, so none leads out of the folder."""
        if not KEY.fullmatch(key) and key != MARKER:
            raise StorageRefused(self.name, operation, "not a storage key")
        return self._at(f"objects/{key[:2]}/{key}")

    def _at(self, path: str) -> str:
        return posixpath.join(self._base, path)

    def _put_at_once(self, path: str, size: int, reader: Reader) -> None:
        with self._filesystems.using("put") as filesystem:
            self._refuse_if_there(filesystem, path)
        self._write(filesystem, path, size, reader)
        with self._filesystems.using("put", filesystem):
            try:
                self._check_size(filesystem, path, size)
            except StorageError:
                filesystem.remove(path)
                raise

    def _put_and_rename(self, path: str, size: int, reader: Reader, unused: bool) -> None:
        part = self._at(f"tmp/part.{uuid7().hex}")
        undo = [_removal(part)]
        filesystem = self._filesystems.ask("put", lambda filesystem: self._prepare(filesystem, path))
        try:
            self._write(filesystem, part, size, reader)
            with self._filesystems.using("put", filesystem):
                self._check_size(filesystem, part, size)
                if unused:
                    filesystem.rename(part, path)
                else:
                    self._publish(filesystem, part, path, undo)
        except BaseException as error:
            self._made.clear()
            # A server that says nothing would be waited for a second time: `clean` is there for it.
            if error.__cause__ is None or not is_timeout(error.__cause__):
                self._take_back(undo)
            raise

    def _write(self, filesystem: Filesystem, path: str, size: int, reader: Reader) -> None:
        observed = _Observed(reader)
        try:
            with self._filesystems.using("put", filesystem):
                filesystem.write(path, observed, size)
            return
        except (_SourceFailed, StorageError):
            error = observed.raised
            if error is None:
                raise
        raise error

    def _check_size(self, filesystem: Filesystem, path: str, size: int) -> None:
        held = filesystem.size(path)
        if held is None:
            raise StorageUnavailable(self.name, "put", "it was removed while it was stored")
        if held != size:
            raise StorageUnavailable(self.name, "put", f"of {size} bytes the server holds {held}")

    def _publish(self, filesystem: Filesystem, part: str, path: str, undo: list[Removal]) -> None:
        """Gives the bytes their name, unless that is taken.

        Most renaming replaces. Making a folder is what only one can do: who made the folder of a key's claim
        may look whether the key is in use, and rename if it is not.
        """
        claim = self._at(f"tmp/{posixpath.basename(path)}.claim")
        look = partial(self._refuse_if_there, filesystem, path)
        if not claims.wait_for(filesystem, claim, self._lease, look):
            said = f"tmp/{posixpath.basename(claim)}"
            raise StorageUnavailable(self.name, "put", claims.told(said, self._lease))
        undo.append(partial(claims.give_up, claim=claim))
        look()
        filesystem.rename(part, path)
        claims.give_up(filesystem, claim)

    def _refuse_if_there(self, filesystem: Filesystem, path: str) -> None:
        if filesystem.size(path) is not None:
            raise FileExistsError

    def _take_back(self, undo: list[Removal]) -> None:
        for step in reversed(undo):
            with suppress(StorageError):
                self._filesystems.ask("put", step)

    def _prepare(self, filesystem: Filesystem, path: str) -> Filesystem:
        """Makes the folders that a put needs, each looked for once a process; returns the filesystem.

        The base folder and its `objects` are not made once an object was seen there, the marker above all. If
        they disappear, the server's disk was unmounted: nothing is to be written to the disk below.
        """
        folders = {self._at("tmp"), posixpath.dirname(path)} - self._made
        if folders and not self._seen:
            _make_whole(filesystem, self._at("objects"))
        elif folders and not filesystem.has_folder(self._at("objects")):
            raise FileNotFoundError
        for folder in folders:
            filesystem.make_folder(folder)
            self._made.add(folder)
        return filesystem

    def _held(self, operation: str, key: str) -> int:
        path = self._path(operation, key)
        size = self._filesystems.ask(operation, lambda filesystem: filesystem.size(path))
        if size is None:
            raise ObjectMissing(self.name, operation, "there is no such object")
        self._seen = True
        return size

    def _names(self, operation: str, folder: str, shape: re.Pattern[str]) -> list[str]:
        """The names of that shape in a folder, in order; none in a folder that is not there."""
        path = self._at(folder)
        return sorted(
            filter(shape.fullmatch, self._filesystems.ask(operation, lambda files: files.names(path)))
        )


class _SourceFailed(BaseException):
    """Passes through all that would take a source's error for one of the server's."""


class _Observed:
    """A source's reader that remembers what it raised."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self.raised: BaseException | None = None

    def read(self, size: int, /) -> bytes:
        try:
            return self._reader.read(size)
        except BaseException as error:
            self.raised = error
            raise _SourceFailed from error

    def close(self) -> None:
        self._reader.close()


def _removal(path: str) -> Removal:
    return lambda filesystem: filesystem.remove(path)


def _make_whole(filesystem: Filesystem, folder: str) -> None:
    """Makes a folder and all that are missing above it."""
    if folder.strip("/") and not filesystem.has_folder(folder):
        _make_whole(filesystem, posixpath.dirname(folder))
        filesystem.make_folder(folder)
