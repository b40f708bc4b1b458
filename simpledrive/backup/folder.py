"""The folder of back-ups: its names, writing that is whole or not at all, and the lock of a run under way."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from io import FileIO
from pathlib import Path
from typing import BinaryIO
from uuid import UUID

from simpledrive.backup.regular import NotRegular, open_regular
from simpledrive.backup.runs import BackupError, Content, Run
from simpledrive.durable import make_folder, sync, write_all
from simpledrive.ids import uuid7
from simpledrive.streams.source import BLOCK, Reader, Source

NAME = "%Y%m%dT%H%M%SZ"
"""Of a run: its moment in UTC, without what some file systems do not have in a name."""

RUN = re.compile(r"\d{8}T\d{6}Z\.jsonl")
LEVEL = re.compile(r"[0-9a-f]{2}")
OBJECT = re.compile(r"[0-9a-f]{64}")
PART = re.compile(r"[0-9a-f]{32}\.part")
NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}

README = """\
This folder holds back-ups of a Simple Drive. The bytes can be had without it.

    sha256sum --check --quiet SHA256SUMS

says whether everything is whole (no output: it is). Each file in runs/ holds the drive's records at one
moment (UTC), one JSON document a line; "sha256" names the file that holds a record's bytes: those of
"sha256": "abcd..." are in objects/ab/abcd...

    flask drive restore THIS_FOLDER

brings the latest run into an empty drive; --run WHEN another one. Do not change or remove single files: to
give up old runs, use `flask drive backup THIS_FOLDER --keep N`.
"""


class Folder:
    """Names and atomic writing. Whatever the system refuses is a BackupError with a sentence."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.objects, self.sums, self._runs = (
            self.path / "objects",
            self.path / "SHA256SUMS",
            self.path / "runs",
        )
        self._tmp = self.path / "tmp"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """The folder, made if it is not there, for one run alone. What killed ones left half written goes.

        Raises BackupError where another run is at work, and for a folder that holds something else, in which
        nothing is changed.
        """
        with self.errors():
            make_folder(self.path)
            if not self._is_ours():
                raise BackupError(
                    "The folder holds something else: name an empty one, or one that holds back-ups."
                )
            lock = os.open(self.path / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            with self.errors():
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                make_folder(self._tmp)
                for left in self._parts():
                    left.unlink()
                self.write("README.txt", README.encode())  # first: from now on the folder is known by it
                for folder in (self.objects, self._runs):
                    make_folder(folder)
            yield
        finally:
            os.close(lock)

    def _is_ours(self) -> bool:
        """A slip in the path is not to scatter objects over somebody's files, and to take his for ours."""
        if self._is_named() or self.drive() is not None:
            return True
        names = {entry.name for entry in self.path.iterdir()} - {"lost+found"}
        if "tmp" in names and len(self._parts()) < len(list(self._tmp.iterdir())):
            return False
        return names <= {"lock", "tmp"}  # of a first run that was killed before the README.txt was there

    def _is_named(self) -> bool:
        first = README.encode().splitlines(keepends=True)[0]
        try:
            with open_regular(self.path / "README.txt") as file:
                return file.read(len(first)) == first
        except (FileNotFoundError, NotRegular):
            return False

    def _parts(self) -> list[Path]:
        """What runs that were killed left half written."""
        return [left for left in self._tmp.iterdir() if PART.fullmatch(left.name)]

    def drive(self) -> UUID | None:
        """The drive whose back-ups these are, by the latest run that can be read; None if there is none."""
        for run in reversed(self.runs() if self._runs.is_dir() else []):
            with suppress(BackupError):
                return run.header().drive
        return None

    # --- Runs

    def runs(self) -> list[Run]:
        """Every run that was ended, the oldest first."""
        with self.errors():
            if not self._runs.is_dir():
                raise BackupError("The folder holds no back-ups.")
            named = (path for path in sorted(self._runs.iterdir()) if RUN.fullmatch(path.name))
            return [Run(path) for path in named if path.is_file()]

    def run(self, when: str | None) -> Run:
        """The latest run, or the latest whose name begins like that."""
        runs = self.runs()
        found = [run for run in runs if run.name.startswith(when or "")]
        if not found:
            known = ", ".join(run.name for run in runs[-10:]) or "none"
            raise BackupError(f"There is no run {when or 'in this folder'}. The latest are: {known}.")
        return found[-1]

    def new_run(self, moment: datetime) -> Path:
        """The name of a run that begins now: behind all others, also when the clock was set back."""
        runs = self.runs()
        name = moment.strftime(NAME)
        if runs and runs[-1].name >= name:
            latest = datetime.strptime(runs[-1].name, NAME)  # noqa: DTZ007 (only counted on)
            name = (latest + timedelta(seconds=1)).strftime(NAME)
        return self._runs / f"{name}.jsonl"

    # --- Objects

    def object(self, sha256: str) -> Path:
        return self.objects / sha256[:2] / sha256

    def holds(self, content: Content) -> bool:
        """Whether these bytes are there, by name and size. Their name was given when they were right."""
        with self.errors():
            try:
                found = self.object(content.sha256).stat()
            except FileNotFoundError:
                return False
            return stat.S_ISREG(found.st_mode) and found.st_size == content.size

    def name_of(self, sha256: str) -> str:
        """As SHA256SUMS names it."""
        return str(self.object(sha256).relative_to(self.path))

    def altered(self, sha256: str) -> str:
        """What is said of an object that holds other bytes."""
        return f"{self.name_of(sha256)} was altered."

    def open(self, content: Content) -> Reader:
        """These bytes. Raises BackupError, also if the object has another size."""
        with self.errors():
            try:
                file = open_regular(self.object(content.sha256))
            except FileNotFoundError as error:
                raise BackupError(f"{self.name_of(content.sha256)} is missing.") from error
            except NotRegular as error:
                raise BackupError(self.altered(content.sha256)) from error
            if os.fstat(file.fileno()).st_size != content.size:
                file.close()
                raise BackupError(self.altered(content.sha256))
            return _Object(file, self)

    def keep(self, source: Source) -> None:
        """Stores these bytes under their digest, once they have been read and are right.

        What `source` raises passes through; then there is nothing. The name is on the disk after `settle`.
        """
        with source.open() as reader, self.part() as (part, file):
            while data := reader.read(BLOCK):
                with self.errors():
                    write_all(file.fileno(), data)
            with self.errors():
                os.fsync(file.fileno())
                path = self.object(source.sha256)
                path.parent.mkdir(0o700, exist_ok=True)
                part.rename(path)

    def settle(self) -> None:
        """Brings the names of all objects to the disk: those of an earlier run that was killed too."""
        with self.errors():
            for folder in self._levels():
                sync(folder)
            sync(self.objects)

    def digests(self) -> Iterator[str]:
        """The digests of all objects that are there, in order."""
        with self.errors():
            for level in self._levels():
                yield from sorted(filter(OBJECT.fullmatch, os.listdir(level)))

    def _levels(self) -> list[Path]:
        return [self.objects / name for name in sorted(filter(LEVEL.fullmatch, os.listdir(self.objects)))]

    # --- Files

    @contextmanager
    def part(self) -> Iterator[tuple[Path, BinaryIO]]:
        """A new file to write to. It is gone after the block, unless it was given a name."""
        part = self._tmp / f"{uuid7().hex}.part"
        with self.errors():
            file = os.fdopen(os.open(part, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600), "wb")
        try:
            yield part, file
        finally:
            with suppress(OSError):
                file.close()
            with suppress(OSError):
                part.unlink()

    def publish(self, part: Path, file: BinaryIO, path: Path) -> None:
        """Gives a part its name, in the place of what had it before, when all of it is on the disk."""
        with self.errors():
            file.flush()
            os.fsync(file.fileno())
            part.rename(path)
            sync(path.parent)

    def write(self, name: str, content: bytes) -> None:
        """A small file at the top of the folder."""
        with self.part() as (part, file):
            with self.errors():
                file.write(content)
            self.publish(part, file, self.path / name)

    def remove(self, paths: list[Path]) -> None:
        """These are gone, and stay so after a power cut."""
        with self.errors():
            for path in paths:
                path.unlink(missing_ok=True)
            for folder in {path.parent for path in paths}:
                sync(folder)

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Makes a sentence of what the system says."""
        try:
            yield
        except BlockingIOError as error:
            raise BackupError("Another run into this folder is under way.") from error
        except OSError as error:
            if error.errno in NO_ROOM:
                why = "There is no room left in the folder of the back-up. What was copied stays there."
                raise BackupError(why) from error
            why = error.strerror or type(error).__name__
            raise BackupError(f"The folder of the back-up cannot be used: {why}.") from error


class _Object:
    def __init__(self, file: FileIO, folder: Folder) -> None:
        self._file, self._folder = file, folder

    def read(self, size: int, /) -> bytes:
        with self._folder.errors():
            return self._file.read(size)

    def close(self) -> None:
        self._file.close()
