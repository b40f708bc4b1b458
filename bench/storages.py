"""Storing and fetching files through each storage, beside `rclone copy` to the same server."""

import filecmp
import os
import shutil
from abc import ABC, abstractmethod
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

from cases import Case, settle
from commands import Cost
from copying import Copier
from figures import Figures, Verb
from places import PLACES, Place, program
from processes import Meter, resident
from rclone import copy

SMALL = 64 << 10
FOLDERS = 16
AT_ONCE = (4, 16)
CHECKED = 2 * FOLDERS


class Copies(ABC):
    """Who copies folders to a place and back, and what that costs."""

    def __init__(self, place: Place, name: str) -> None:
        self.place, self.name = place, name

    @abstractmethod
    def start(self, folder: Path) -> None: ...
    @abstractmethod
    def stop(self) -> None: ...
    @abstractmethod
    def know(self, files: Path) -> None:
        """Told of a folder before it is copied, not timed."""

    @abstractmethod
    def copy(self, verb: Verb, files: Path, at_once: int) -> Cost:
        """Copies a folder there, or what was last stored of it back."""

    @abstractmethod
    def forget(self, files: Path) -> None:
        """Removes what was last stored of a folder, not timed."""

    def said(self) -> str:
        """The end of the logs."""
        return self.place.said()


class Storage(Copies):
    """The drive's storage of that place, which it also starts."""

    def __init__(self, place: Place) -> None:
        super().__init__(place, place.name)

    def start(self, folder: Path) -> None:
        self.place.start(folder)
        self._copier = Copier(self.place.config())

    def stop(self) -> None:
        self._copier.stop()
        self.place.stop()

    def know(self, files: Path) -> None:
        self._copier.know(files)
        self._idle = resident(self._copier.tree())

    def copy(self, verb: Verb, files: Path, at_once: int) -> Cost:
        with Meter(self._copier) as meter:
            seconds = self._copier.copy(verb, files, at_once)
        return Cost(seconds, meter.cpu_seconds, self._idle, meter.peak)

    def check(self, files: Path) -> None:
        """Fetching has checked every piece."""

    def forget(self, files: Path) -> None:
        self._copier.forget(files)


class RcloneCopies(Copies):
    """rclone, to a folder of its own at the same place."""

    def __init__(self, place: Place) -> None:
        super().__init__(place, f"rclone {place.name}")

    def start(self, folder: Path) -> None:
        self._log, self._fetched, self._nothing = folder / "log", folder / "fetched", folder / "nothing"
        self._nothing.mkdir()
        self._number = 0

    def stop(self) -> None:
        """It is over after each copy."""

    def know(self, files: Path) -> None:
        """It reads what it copies."""

    def copy(self, verb: Verb, files: Path, at_once: int) -> Cost:
        if verb == "store":
            self._number += 1
        there, here = self.place.remote(self._folder(files)), str(self._fetched)
        shutil.rmtree(self._fetched, ignore_errors=True)
        start = self._copy(str(self._nothing), there, at_once)
        return self._copy(*((str(files), there) if verb == "store" else (there, here)), at_once) - start

    def check(self, files: Path) -> None:
        """Raises RuntimeError if what was last fetched of a folder is not what it holds."""
        names = [str(path.relative_to(files)) for path in files.rglob("*") if path.is_file()]
        same, *_ = filecmp.cmpfiles(files, self._fetched, names, shallow=False)
        if len(same) != len(names):
            raise RuntimeError(f"{self.name} fetched {len(same)} of {len(names)} files right")

    def forget(self, files: Path) -> None:
        shutil.rmtree(self._fetched, ignore_errors=True)
        shutil.rmtree(self.stored(files))

    def stored(self, files: Path) -> Path:
        """Where on this machine's disk lies what was last stored of a folder."""
        return self.place.path(self._folder(files))

    def said(self) -> str:
        log = self._log.read_text() if self._log.exists() else ""
        return "\n".join([super().said(), f"{self.name}:", *log.splitlines()[-20:]])

    def _copy(self, source: str, target: str, at_once: int) -> Cost:
        return copy(source, target, at_once, self._log)

    def _folder(self, files: Path) -> str:
        return f"{files.name}{self._number}"


class Storages:
    """One large file, and many small ones. Each round stores, fetches and removes them."""

    def __init__(self, options: Namespace, folder: Path) -> None:
        self.mib, self.objects = options.mib, options.objects
        self.large, self.small, self.few = (folder / name for name in ("large", "small", "few"))
        fill(self.large, 1, options.mib << 20)
        fill(self.small, options.objects, SMALL)
        fill(self.few, CHECKED, SMALL)

    def prepare(self, target: Storage | RcloneCopies) -> None:
        target.know(self.few)
        for verb in ("store", "fetch"):
            target.copy(verb, self.few, max(AT_ONCE))
        target.check(self.few)
        target.forget(self.few)
        for files in (self.large, self.small):
            target.know(files)

    def cases(self) -> Iterator[Case]:
        against = {name: f"rclone {name}" for name in PLACES}
        for verb in ("store", "fetch"):
            measure = partial(self._measure, verb, self.large, 1, (self.mib << 20) / 1e6, 1)
            yield Case(f"{verb} {self.mib} MiB", "MB/s", measure, against)
        for at_once in AT_ONCE:
            for verb in ("store", "fetch"):
                measure = partial(self._measure, verb, self.small, at_once, self.objects, self.objects)
                name = f"{verb} {self.objects:,} of 64 KiB, {at_once} at a time"
                yield Case(name, "objects/s", measure, against)

    def order(self, targets: list[Copies], number: int) -> list[Copies]:
        """Both of a place directly after one another, each first in every other round."""
        return targets if number % 2 == 0 else targets[::-1]

    def _measure(
        self,
        verb: Verb,
        files: Path,
        at_once: int,
        work: float,
        objects: int,
        target: Copies,
        _number: int,
    ) -> Figures:
        if verb == "store":
            settle()
        cost = target.copy(verb, files, at_once)
        if verb == "fetch":
            target.forget(files)
        return Figures(
            rate=work / cost.seconds,
            seconds=cost.seconds,
            cpu_seconds=cost.cpu_seconds,
            requests=objects,
            idle_bytes=cost.idle_bytes,
            peak_bytes=cost.peak_bytes,
        )


def copies(
    ours: Callable[[Place], Copies], places: Iterable[str], note: Callable[[str], None]
) -> list[Copies]:
    """`ours` for each place, and rclone behind it where it can go. What is not installed is told."""
    targets: list[Copies] = []
    if not program("rclone"):
        note("rclone is not installed (make test does that): there is nothing to compare with")
    for name in places:
        if why := PLACES[name].why_not():
            note(f"{name} is left out: {why}")
            continue
        place = PLACES[name]()
        targets.append(ours(place))
        if place.by_rclone and program("rclone"):
            targets.append(RcloneCopies(place))
    return targets


def fill(folder: Path, count: int, size: int) -> None:
    """So many files, spread over folders: a storage spreads them too."""
    for number in range(count):
        path = folder / f"{number % FOLDERS:x}" / f"{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(size))
