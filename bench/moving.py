"""Moving a drive's blobs from its local backend to another one, beside `rclone copy` of the same files."""

import hashlib
import os
import shutil
import sys
from argparse import Namespace
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TypeVar

import client
from cases import Case, settle
from commands import Cost, run
from figures import Figures, Verb
from places import PLACES, Place
from servers import Drive
from storages import AT_ONCE, CHECKED, SMALL, Copies, RcloneCopies, fill

T = TypeVar("T")
LARGE_FILES = 4


class Moves(Copies):
    """`flask drive migrate-backend`, to a folder of its own at the place, which it also starts."""

    def __init__(self, place: Place) -> None:
        super().__init__(place, place.name)

    def start(self, folder: Path) -> None:
        self.place.start(folder)
        self._drive, self._number = folder / "moving", 0

    def stop(self) -> None:
        self.place.stop()

    def know(self, files: Path) -> None:
        """A drive has them: see `keep`."""

    def copy(self, verb: Verb, files: Path, at_once: int) -> Cost:
        self._number += 1
        # Objects are never written to again, so that all can have the same; their drive's records cannot.
        shutil.copytree(_drive_of(files), self._drive, copy_function=_link_or_copy)
        start = self._migrate(files, at_once, "--prefix", "of-which-there-is-none/")
        return self._migrate(files, at_once) - start

    def stored(self, files: Path) -> Path:
        return self.place.path(f"{files.name}-moved{self._number}")

    def forget(self, files: Path) -> None:
        shutil.rmtree(self._drive)
        shutil.rmtree(self.stored(files))

    def said(self) -> str:
        log = self._drive / "log"
        told = log.read_text().splitlines()[-20:] if log.exists() else []
        return "\n".join([super().said(), "flask drive migrate-backend:", *told])

    def _migrate(self, files: Path, at_once: int, *selected: str) -> Cost:
        """Moves those that are selected. That not all moved is an error as well."""
        config = self.place.config(self.stored(files).name)
        target = {f"SIMPLEDRIVE_BACKENDS__TARGET__{name.upper()}": value for name, value in config.items()}
        flask = [sys.executable, "-m", "flask", "--app", "wsgi", "drive"]
        move = ["migrate-backend", "local", "target", "--workers", str(at_once)]
        return run([*flask, *move, *selected], self._drive / "log", environ(self._drive) | target)


class Moving:
    """Many small blobs and a few large ones: each round moves them, or copies their files."""

    def __init__(self, options: Namespace, folder: Path) -> None:
        self.large = options.mib // LARGE_FILES
        self.objects = options.objects
        self.all, self.few = folder / "all", folder / "few"
        fill(self.all / "small", options.objects, SMALL)
        fill(self.all / "large", LARGE_FILES, self.large << 20)
        fill(self.few, CHECKED, SMALL)
        for files in (self.all, self.few):
            keep(files)

    def prepare(self, target: Moves | RcloneCopies) -> None:
        target.know(self.few)
        target.copy("store", self.few, max(AT_ONCE))
        if missing := _digests(self.few) - _digests(target.stored(self.few)):
            raise RuntimeError(f"{target.name} lacks {missing.total()} of {CHECKED} files")
        target.forget(self.few)
        target.know(self.all)

    def cases(self) -> Iterator[Case]:
        against = {name: f"rclone {name}" for name in PLACES}
        for at_once in AT_ONCE:
            what = f"move {self.objects:,} of 64 KiB and {LARGE_FILES} of {self.large} MiB"
            yield Case(f"{what}, {at_once} at a time", "MB/s", partial(self._measure, at_once), against)

    def order(self, targets: list[T], number: int) -> list[T]:
        """Both of a place directly after one another, each first in every other round."""
        return targets if number % 2 == 0 else targets[::-1]

    def _measure(self, at_once: int, target: Copies, _number: int) -> Figures:
        settle()
        cost = target.copy("store", self.all, at_once)
        target.forget(self.all)
        return Figures(
            rate=(self.objects * SMALL + LARGE_FILES * (self.large << 20)) / 1e6 / cost.seconds,
            seconds=cost.seconds,
            cpu_seconds=cost.cpu_seconds,
            requests=1,
            idle_bytes=cost.idle_bytes,
            peak_bytes=cost.peak_bytes,
        )


def keep(files: Path) -> None:
    """Makes a drive that has a blob of each of the files, stored as its users do, and stops it again."""
    folder = _drive_of(files)
    folder.mkdir()
    drive = Drive("local")
    drive.start(folder)
    try:
        for path in _files(files):
            data = path.read_bytes()
            head = drive.raw("PUT", str(path.relative_to(files)), {"Content-Length": str(len(data))})
            client.exchange(drive.address, head + data)
    finally:
        drive.stop()


def environ(folder: Path) -> dict[str, str]:
    """Of a command for the drive in that folder."""
    _, settings = Drive("local").command(folder, 0)
    return {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ} | settings


def _drive_of(files: Path) -> Path:
    return files.with_name(f"{files.name}-drive")


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _digests(folder: Path) -> Counter[str]:
    """Of what is in the files of a folder, and how often."""
    return Counter(hashlib.sha256(path.read_bytes()).hexdigest() for path in _files(folder))


def _link_or_copy(source: str, target: str) -> None:
    if "objects" in Path(source).parts:
        os.link(source, target)
    else:
        shutil.copy2(source, target)
