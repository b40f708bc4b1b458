"""Bytes in the files of a folder: `PATH/objects/ab/cd/KEY`, and `PATH/tmp/` for copies in the making.

An object gets its name in one step, when all of its bytes are already on the disk, and a name is never given
twice. This module checks no digests (what is read from `source` is verified already), removes no folders, and
does not look at names that no put of ours can have made.
"""

import errno
import fcntl
import os
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import datetime
from io import FileIO
from pathlib import Path

from simpledrive.durable import make_folder, sync, write_all
from simpledrive.errors import ObjectMissing, StorageFull, StorageRefused, StorageUnavailable
from simpledrive.ids import uuid7
from simpledrive.storage.base import KEY, MARKER, AnchoredPath, Options, Storage
from simpledrive.streams.source import BLOCK, Source

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
REFUSED = {errno.EACCES, errno.EPERM, errno.EROFS}
NO_LINKS = {errno.EPERM, errno.EXDEV, errno.EMLINK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}
LEVEL = re.compile(r"[0-9a-f]{2}")
COPY = re.compile(r"[0-9a-f]{32}\.copy")


class LocalOptions(Options):
    path: AnchoredPath


class LocalStorage(Storage):
    """Keeps objects as files of mode 0600 below one folder, which is made when it is first written to."""

    kind = "local"
    is_near = True
    Options = LocalOptions

    def __init__(self, name: str, options: LocalOptions) -> None:
        super().__init__(name, options)
        self._base = options.path
        self._objects, self._copies = self._base / "objects", self._base / "tmp"
        self._durable: set[Path] = set()
        self._seen = False

    @property
    def where(self) -> str:
        return str(self._base)

    def put(self, key: str, source: Source) -> None:
        with self._errors("put"):
            path = self._path(key)
            self._prepare(path.parent)
            if path.exists():
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        if not self._link(source, path):
            self._copy(source, path)
        with self._errors("put"):
            sync(path.parent)
        self._seen = True

    def open(self, key: str, start: int = 0, stop: int | None = None) -> "_Range":
        with self._errors("open"):
            file = self._path(key).open("rb", buffering=0)
            self._seen = True
            try:
                held = os.fstat(file.fileno()).st_size
                file.seek(start)
            except BaseException:
                file.close()
                raise
        end = held if stop is None else min(stop, held)
        return _Range(file, max(0, end - start), self._errors)

    def size(self, key: str) -> int:
        with self._errors("size"):
            return self._path(key).stat().st_size

    def delete(self, key: str) -> None:
        # Not synced: a deletion that a power cut undoes leaves an orphan, which sweeping finds.
        with self._errors("delete"):
            self._path(key).unlink(missing_ok=True)

    def keys(self, after: str | None = None) -> Iterator[str]:
        first = after or ""
        for one in self._names(self._objects, LEVEL):
            if one < first[:2]:
                continue
            for two in self._names(self._objects / one, LEVEL):
                if one + two < first[:4]:
                    continue
                for key in self._names(self._objects / one / two, KEY):
                    if key > first and key.startswith(one + two):
                        yield key

    def clean(self, before: datetime) -> int:
        removed = 0
        for name in self._names(self._copies, COPY, "clean"):
            with self._errors("clean"), suppress(FileNotFoundError):
                if (self._copies / name).stat().st_mtime < before.timestamp():
                    (self._copies / name).unlink()
                    removed += 1
        return removed

    def _path(self, key: str) -> Path:
        """Where the object lies. Only keys of ours have a place, so none leads out of the folder."""
        if not KEY.fullmatch(key) and key != MARKER:
            raise PermissionError(errno.EPERM, "not a storage key")
        return self._objects / key[:2] / key[2:4] / key

    def _names(self, folder: Path, shape: re.Pattern[str], operation: str = "keys") -> list[str]:
        """The names of that shape in a folder, in order; none in a folder that is not there."""
        with self._errors(operation), suppress(FileNotFoundError, NotADirectoryError):
            return sorted(filter(shape.fullmatch, os.listdir(folder)))
        return []

    def _prepare(self, folder: Path) -> None:
        """Makes a folder below PATH, and those above it, each one's entry synced into its parent.

        Once a process, also for folders that are there: whoever made one may not have synced it yet. PATH
        itself and its `objects` are not made once an object was seen there, the marker above all. If they
        disappear, the disk was unmounted: nothing is to be written to the disk below.
        """
        if folder in self._durable and folder.is_dir():
            return
        if folder.parent != self._base:
            self._prepare(folder.parent)
        elif not self._seen:
            make_folder(self._base)
        elif not self._objects.is_dir():
            raise FileNotFoundError(errno.ENOENT, "its folder is gone: is the disk mounted?")
        with suppress(FileExistsError):
            folder.mkdir(0o700)
        sync(folder.parent)
        self._durable.add(folder)

    def _link(self, source: Source, path: Path) -> bool:
        """Whether the staged file itself could become the object, without a second copy of its bytes."""
        if source.path is None or not _linkable(source.path, source.size, path.parent):
            return False
        with self._errors("put"):
            sync(source.path)
            try:
                os.link(source.path, path)
            except OSError as error:
                if error.errno not in NO_LINKS:
                    raise
                return False
        return True

    def _copy(self, source: Source, path: Path) -> None:
        # What the source raises is not this storage's error, even if it is an OSError: hence the small steps.
        with source.open() as reader:
            with self._errors("put"):
                self._prepare(self._copies)
                copy = self._copies / f"{uuid7().hex}.copy"
                file = os.open(copy, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
            try:
                while data := reader.read(BLOCK):
                    with self._errors("put"):
                        write_all(file, data)
                with self._errors("put"):
                    os.fsync(file)
                    _publish(copy, path)
            finally:
                os.close(file)
                with suppress(OSError):
                    copy.unlink()

    @contextmanager
    def _errors(self, operation: str) -> Iterator[None]:
        """Makes storage errors of the system's, which name paths and are not passed on."""
        try:
            yield
        except OSError as error:
            why = error.strerror or type(error).__name__
            if error.errno == errno.ENOENT and operation in ("open", "size"):
                raise ObjectMissing(self.name, operation, "there is no such object") from error
            if error.errno == errno.EEXIST:
                raise StorageRefused(self.name, operation, "the key is in use") from error
            if error.errno in FULL:
                raise StorageFull(self.name, operation, why) from error
            if error.errno in REFUSED:
                raise StorageRefused(self.name, operation, why) from error
            raise StorageUnavailable(self.name, operation, why) from error


class _Range:
    """Reads so many bytes of an open file from where it stands; raises if the file ends before."""

    def __init__(
        self, file: FileIO, left: int, errors: Callable[[str], AbstractContextManager[None]]
    ) -> None:
        self._file, self._left, self._errors = file, left, errors

    def read(self, size: int, /) -> bytes:
        with self._errors("read"):
            data = self._file.read(min(size, self._left))
            if not data and size and self._left:
                raise OSError(errno.EIO, f"the object ends {self._left} bytes early")
        self._left -= len(data)
        return data

    def close(self) -> None:
        with self._errors("read"):
            self._file.close()


def _linkable(file: Path, size: int, folder: Path) -> bool:
    try:
        staged, device = file.stat(), folder.stat().st_dev
    except OSError:
        return False  # copying will say what is wrong
    return staged.st_size == size and staged.st_dev == device


def _publish(copy: Path, path: Path) -> None:
    """Gives a copy its final name, unless that is taken."""
    try:
        os.link(copy, path)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
    else:
        return
    # Without hard links there is only renaming, which replaces: so all of us take turns at it.
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        if path.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        copy.rename(path)
    finally:
        os.close(folder)
