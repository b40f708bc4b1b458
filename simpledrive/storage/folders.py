"""What storages have in common that keep objects as the files of a server: where they lie, and their claims.

An object is `objects/ab/KEY`; `tmp/` holds those in the making, and claims (claims.py). How a server is
asked, and how bytes come and go, is each storage's own.
"""

import posixpath
import re
from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import partial
from typing import Generic, Protocol, TypeVar

from simpledrive.errors import ObjectMissing, StorageError, StorageRefused, StorageUnavailable
from simpledrive.ids import uuid7
from simpledrive.storage import claims
from simpledrive.storage.base import KEY, MARKER, Options, Storage, made_at
from simpledrive.storage.taken import Taken

FOLDER = re.compile(r"[0-9a-f]{2}")
PART = re.compile(r"part\.[0-9a-f]{32}")


class Files(claims.Folders, Protocol):
    """What a server is asked for, beside folders."""

    def size(self, path: str, /) -> int | None:
        """Bytes in the file; None if there is none."""

    def remove(self, path: str, /) -> bool:
        """Whether there was such a file, and is none now."""


F = TypeVar("F", bound=Files)
T = TypeVar("T")
Question = Callable[[F], T]


class FolderStorage(Storage, Generic[F]):
    """Keeps objects as files below one folder of a server. `timeout` is that of each step, in seconds."""

    def __init__(self, name: str, options: Options, timeout: float) -> None:
        super().__init__(name, options)
        self._lease = claims.lease(timeout)
        self._taken = Taken(name)
        self._seen = False
        """Whether an object was seen there, the marker above all."""

    @abstractmethod
    def _ask(self, operation: str, question: Question[F, T]) -> T:
        """What `question` returns. If the connection breaks it is asked again, so it may be done twice.

        Raises StorageErrors alone.
        """

    def _at(self, path: str) -> str:
        """A path below the base folder as the server is asked for it."""
        return path

    def size(self, key: str) -> int:
        return self._held("size", key)

    def delete(self, key: str) -> None:
        self._ask("delete", removal(self._path("delete", key)))

    def keys(self, after: str | None = None) -> Iterator[str]:
        """A page is one of 256 folders, so that is what memory grows with: 1 MiB for a million objects."""
        first = after or ""
        for folder in self._names("keys", "objects", FOLDER):
            if folder >= first[:2]:
                for key in self._names("keys", f"objects/{folder}", KEY):
                    if key > first and key.startswith(folder):
                        yield key

    def clean(self, before: datetime) -> int:
        # How old they are is in their names, by our own clock. Not all servers tell a file's time.
        parts = [name for name in self._names("clean", "tmp", PART) if made_at(name) < before]
        left = self._names("clean", "tmp", claims.CLAIM)
        work: list[Question[F, object]] = [removal(self._at(f"tmp/{name}")) for name in parts]
        work += [partial(claims.expire, claim=self._at(f"tmp/{name}"), before=before) for name in left]
        return sum(bool(self._ask("clean", step)) for step in work)

    def _path(self, operation: str, key: str) -> str:
        """Where the object lies. Only keys of ours have a place, so none leads out of the folder."""
        if not KEY.fullmatch(key) and key != MARKER:
            raise StorageRefused(self.name, operation, "not a storage key")
        return self._at(f"objects/{key[:2]}/{key}")

    def _new_part(self) -> str:
        """Where an object is made. No two share one."""
        return self._at(f"tmp/part.{uuid7().hex}")

    def _held(self, operation: str, key: str) -> int:
        """Bytes of an object. Raises ObjectMissing."""
        path = self._path(operation, key)
        size = self._ask(operation, lambda files: files.size(path))
        if size is None:
            raise ObjectMissing(self.name, operation, "there is no such object")
        self._seen = True
        return size

    def _names(self, operation: str, folder: str, shape: re.Pattern[str]) -> list[str]:
        """The names of that shape in a folder, in order; none in a folder that is not there."""
        path = self._at(folder)
        return sorted(filter(shape.fullmatch, self._ask(operation, lambda files: files.names(path))))

    def _check_size(self, held: int | None, size: int) -> None:
        """Raises if what was stored, of which the server holds so much, is not of this size."""
        if held is None:
            raise StorageUnavailable(self.name, "put", "it was removed while it was stored")
        if held != size:
            raise StorageUnavailable(self.name, "put", f"of {size} bytes the server holds {held}")

    def _refuse_if_there(self, held: int | None) -> None:
        """Raises if the key is in use: then the server holds some bytes under it, or none at least."""
        if held is not None:
            raise StorageRefused(self.name, "put", "the key is in use")

    @contextmanager
    def _claimed(
        self, files: F, path: str, look: Callable[[], object], undo: list[Question[F, object]]
    ) -> Iterator[None]:
        """Around giving bytes their name: only this put may, and nobody has it.

        Most renaming replaces. Making a folder is what only one can do: who made the folder of a key's claim
        may `look` whether the key is in use, which raises if it is, and rename if it is not. Where that fails
        the claim is left to `undo`, since nobody knows what `files` does next.
        """
        claim = self._at(f"tmp/{posixpath.basename(path)}.claim")
        if not claims.wait_for(files, claim, self._lease, look):
            said = f"tmp/{posixpath.basename(claim)}"
            raise StorageUnavailable(self.name, "put", claims.told(said, self._lease))
        undo.append(partial(claims.give_up, claim=claim))
        look()
        yield
        claims.give_up(files, claim)

    def _take_back(self, undo: list[Question[F, object]]) -> None:
        """What a put that failed began, as far as it can be undone: `clean` does the rest."""
        for step in reversed(undo):
            with suppress(StorageError):
                self._ask("put", step)


def removal(path: str) -> Question[Files, bool]:
    """Removes a file, whoever is asked."""
    return lambda files: files.remove(path)
