"""Bytes in files that fsspec reaches: `BASE/objects/ab/KEY`, and `BASE/tmp/` for those in the making.

Where others see a file before it is complete, it is written under another name, counted, and renamed; object
stores show it when it is whole (objects.py). Whether what the server acknowledges is on its disk is up to the
server. This module checks no digests, and knows no implementation.
"""

import posixpath
from contextlib import nullcontext

from simpledrive.errors import StorageError
from simpledrive.storage.folders import FolderStorage, Question, T, removal
from simpledrive.storage.fsspec.faults import is_timeout
from simpledrive.storage.fsspec.filesystem import Filesystem
from simpledrive.storage.fsspec.filesystems import Filesystems
from simpledrive.storage.fsspec.options import FsspecOptions
from simpledrive.storage.fsspec.reading import Range
from simpledrive.streams.source import Reader, Source


class FsspecStorage(FolderStorage[Filesystem]):
    """The folder is made when it is first written to. Paths begin at the filesystem's root."""

    kind = "fsspec"
    Options = FsspecOptions

    def __init__(self, name: str, options: FsspecOptions) -> None:
        super().__init__(name, options, options.timeout)
        self._options, self._base = options, options.base
        self._filesystems = Filesystems(name, options)
        self._made: set[str] = set()

    @property
    def where(self) -> str:
        return self._options.where

    def put(self, key: str, source: Source) -> None:
        path = self._path("put", key)
        with self._taken.taking(key) as unused, source.open() as reader:
            if self._options.implementation.publishes_whole:
                self._put_at_once(path, source.size, reader)
            else:
                self._put_and_rename(path, source.size, reader, unused)
        self._seen = True

    def open(self, key: str, start: int = 0, stop: int | None = None) -> Range:
        held = self._held("open", key)
        end = held if stop is None else min(stop, held)
        return Range(self.name, self._filesystems, self._path("open", key), start, end)

    def close(self) -> None:
        self._filesystems.close()

    def _ask(self, operation: str, question: Question[Filesystem, T]) -> T:
        return self._filesystems.ask(operation, question)

    def _at(self, path: str) -> str:
        return posixpath.join(self._base, path)

    def _put_at_once(self, path: str, size: int, reader: Reader) -> None:
        with self._filesystems.using("put") as filesystem:
            self._refuse_if_there(filesystem.size(path))
        self._write(filesystem, path, size, reader)
        with self._filesystems.using("put", filesystem):
            try:
                self._check_size(filesystem.size(path), size)
            except StorageError:
                filesystem.remove(path)
                raise

    def _put_and_rename(self, path: str, size: int, reader: Reader, unused: bool) -> None:
        part = self._new_part()
        undo: list[Question[Filesystem, object]] = [removal(part)]
        filesystem = self._ask("put", lambda filesystem: self._prepare(filesystem, path))

        def look() -> None:
            self._refuse_if_there(filesystem.size(path))

        try:
            self._write(filesystem, part, size, reader)
            with self._filesystems.using("put", filesystem):
                self._check_size(filesystem.size(part), size)
                with nullcontext() if unused else self._claimed(filesystem, path, look, undo):
                    filesystem.rename(part, path)
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


def _make_whole(filesystem: Filesystem, folder: str) -> None:
    """Makes a folder and all that are missing above it."""
    if folder.strip("/") and not filesystem.has_folder(folder):
        _make_whole(filesystem, posixpath.dirname(folder))
        filesystem.make_folder(folder)
