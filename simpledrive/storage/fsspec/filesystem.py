"""What the storage asks of an implementation of fsspec, and what all of them share.

Each gets a class of its own because they differ where it matters: when others see a file, whether moving is
renaming, what a timeout is called, what their errors are. Nothing is remembered between calls: other
processes write to the same place.
"""

import inspect
import posixpath
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any, ClassVar
from urllib.parse import SplitResult

import fsspec.config

from simpledrive.errors import StorageUnavailable
from simpledrive.storage.fsspec.faults import Meaning
from simpledrive.streams.source import BLOCK, Reader

# From ~/.config/fsspec and FSSPEC_* this library takes arguments for every filesystem. Ours are the drive's.
fsspec.config.conf.clear()

Arguments = dict[str, Any]

OURS = {"self", "args", "kwargs", "storage_options", "asynchronous", "loop"}
"""Arguments that the drive gives itself, or that are none."""


class Filesystem(ABC):
    """One filesystem of fsspec. Safe from several threads; paths are relative to its root.

    What goes wrong is raised as the implementation raises it: `meaning` tells what it is.
    """

    publishes_whole: ClassVar[bool] = False
    """Whether a new file is seen by others only when it is complete, and never replaces one."""

    files: ClassVar[frozenset[str]] = frozenset()
    """Arguments whose text names a file: it may lie where the settings do."""

    gone: ClassVar[Meaning] = StorageUnavailable, "its folder is gone: is the server's disk mounted?"
    """What it means that there is no place for a new file."""

    def __init__(self, arguments: Arguments, timeout: float) -> None:
        """May connect: a filesystem is made when it is first used."""
        self.fs = self.connect(arguments)
        # Where fsspec runs an event loop, each call takes a limit; elsewhere it is among the arguments.
        self.limit: Arguments = {"timeout": timeout} if self.fs.async_impl else {}

    @classmethod
    @abstractmethod
    def arguments(cls, address: SplitResult, given: Arguments, timeout: float) -> Arguments:
        """What `connect` needs for this URL, from the storage_options that were given.

        Touches no network. Raises ValueError with a sentence that holds no value.
        """

    @staticmethod
    @abstractmethod
    def connect(arguments: Arguments) -> Any:
        """An instance of fsspec's class, which nobody else has."""

    @staticmethod
    def base(address: SplitResult) -> str:
        """The folder of the URL, as a path."""
        return address.path.rstrip("/")

    @staticmethod
    def meaning(error: BaseException) -> Meaning | None:
        """What an error of this implementation alone means; None for any other."""
        return None

    @classmethod
    def is_passing(cls, error: BaseException) -> bool:
        """Whether, after this error, the same may go well at once."""
        return cls.is_broken_by(error)

    @staticmethod
    def is_broken_by(error: BaseException) -> bool:
        """Whether, after this error, a new instance is needed."""
        return False

    def close(self) -> None:  # noqa: B027 (most hold nothing)
        """Ends connections. Who is still waiting for one gets an error."""

    def size(self, path: str) -> int | None:
        """Bytes in the file, or None if there is none."""
        try:
            size: int = self.fs.info(path, **self.limit)["size"]
        except FileNotFoundError:
            return None
        return size

    def names(self, folder: str) -> list[str]:
        """What is in a folder, in any order; nothing in one that is not there."""
        try:
            found = self.fs.ls(folder, detail=False, **self.limit)
        except FileNotFoundError:
            return []
        return [posixpath.basename(path.rstrip("/")) for path in found]

    def has_folder(self, folder: str) -> bool:
        try:
            kind: str = self.fs.info(folder, **self.limit)["type"]
        except FileNotFoundError:
            return False
        return kind == "directory"

    def make_folder(self, folder: str) -> bool:
        """Makes a folder in one that is there; False if it is there itself. Of several, one gets True."""
        try:
            self.fs.mkdir(folder, create_parents=False, **self.limit)
        except FileExistsError:
            return False
        except Exception:  # noqa: BLE001 (implementations raise whatever they like)
            # Not all servers say why not. If it was there and has been removed since, that is no reason.
            if self.has_folder(folder):
                return False
            self.fs.mkdir(folder, create_parents=False, **self.limit)
        return True

    def remove_folder(self, folder: str) -> bool:
        """Whether there was such an empty folder, and is none now."""
        try:
            self.fs.rmdir(folder, **self.limit)
        except FileNotFoundError:
            return False
        return True

    def remove(self, path: str) -> bool:
        """Whether there was such a file, and is none now."""
        try:
            self.fs.rm_file(path, **self.limit)
        except FileNotFoundError:
            return False
        return True

    @abstractmethod
    def write(self, path: str, reader: Reader, size: int) -> None:
        """Makes a file of the `size` bytes that the reader gives. May leave a part of it behind."""

    @abstractmethod
    def rename(self, old: str, new: str) -> None:
        """Gives a file another name in one step, or none at all. Never by copying."""

    @abstractmethod
    def open(self, path: str, start: int, stop: int) -> Reader:
        """The bytes [start, stop), which the file has. Raises FileNotFoundError, at the latest when read."""


def check_names(given: Mapping[str, object], *takers: type | Callable[..., object]) -> None:
    """Raises ValueError for an argument that none of these takes: functions, or classes with their bases."""
    calls = [call for taker in takers for call in (_makers(taker) if isinstance(taker, type) else [taker])]
    known = {name for call in calls for name in inspect.signature(call).parameters} - OURS
    for name in given:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            raise ValueError(f"there is no '{name}'" + (f"; the nearest is '{near[0]}'" if near else ""))


def pour(reader: Reader, write: Callable[[bytes], object]) -> None:
    """Passes on all that the reader gives, in portions."""
    while data := reader.read(BLOCK):
        write(data)


def _makers(cls: type) -> list[Callable[..., object]]:
    return [vars(base)["__init__"] for base in cls.__mro__ if base is not object and "__init__" in vars(base)]
