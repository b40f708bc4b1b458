"""The configured backends, and the marker that says which drive a place belongs to."""

import hashlib
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from threading import Lock

from simpledrive.errors import (
    BackendNotFound,
    Forbidden,
    Invalid,
    MarkerRefused,
    ObjectMissing,
    StorageError,
    StorageRefused,
)
from simpledrive.storage.base import MARKER, Begin, Storage
from simpledrive.streams.source import Source, first_bytes


class Backends:
    """Named storages, each used only after its marker was seen.

    The marker object holds the drive's UUID and the backend's name. It is written at first use, and only
    where no record says that bytes should already be: so an unmounted disk, another drive's bucket or another
    drive's database stops with a sentence instead of scattering or deleting bytes. An older copy of this
    drive's own database is not noticed here: it has the same UUID.
    """

    def __init__(
        self,
        storages: Mapping[str, Storage],
        default: str,
        identity: Callable[[], str],
        in_use: Callable[[str], bool],
    ) -> None:
        """`identity` gives the drive's UUID, `in_use` whether any record says that a backend holds bytes."""
        self._storages, self.default = dict(storages), default
        self.identity, self._in_use = identity, in_use
        self._claimed: set[str] = set()
        self._locks = {name: Lock() for name in self._storages}

    def __iter__(self) -> Iterator[str]:
        return iter(self._storages)

    def __contains__(self, name: object) -> bool:
        return name in self._storages

    def require(self, name: str) -> None:
        """Returns for a backend that is configured. Raises BackendNotFound with the known ones."""
        if name not in self._storages:
            known = ", ".join(sorted(self._storages))
            raise BackendNotFound(f"There is no backend '{name}'. Known are: {known}.")

    def kind(self, name: str) -> str:
        """The kind of storage behind a name; "gone" for a backend that is no longer configured."""
        return self._storages[name].kind if name in self._storages else "gone"

    def where(self, name: str) -> str:
        """The place behind a name, as its storage has it; "" for a backend that is no longer configured."""
        return self._storages[name].where if name in self._storages else ""

    def chosen(self, name: str | None, allowed: Sequence[str] | None = None) -> str:
        """The backend that a caller asked for; else the default, or the first that is `allowed` (None: all).

        Raises Invalid with the known ones, Forbidden for one that is not allowed.
        """
        known = [other for other in self._storages if allowed is None or other in allowed]
        if name is None:
            preferred = [self.default, *(allowed or ())]
            name = next((other for other in preferred if other in known), None)
        elif name not in self._storages:
            listed = ", ".join(sorted(known))
            raise Invalid(("storage_backend", f"There is no backend of this name. Known are: {listed}."))
        if name not in known:
            raise Forbidden("This key may not place bytes at that backend.")
        return name

    def use(self, name: str) -> Storage:
        """The storage of that name, its marker seen once in this process.

        Raises StorageRefused for one that is not configured or not ours, and what the storage raises.
        """
        storage = self._storages.get(name)
        if storage is None:
            raise StorageRefused(name, "use", "no backend of this name is configured any more")
        if name not in self._claimed:
            with self._locks[name]:
                if name not in self._claimed:
                    self.check(name)
                    self._claimed.add(name)
        return storage

    def check(self, name: str) -> None:
        """Looks at the marker now, and writes it where none is needed yet. Raises StorageRefused."""
        storage = self._storages[name]
        ours = f"{self.identity()} {name}\n".encode()
        found = _content(storage, len(ours) + 1)
        if found is None and self._in_use(name):
            why = "its marker is missing though bytes are recorded there: is its disk mounted?"
            raise MarkerRefused(name, "check", why)
        if found is None:
            try:
                storage.put(
                    MARKER, Source(len(ours), hashlib.sha256(ours).hexdigest(), lambda: io.BytesIO(ours))
                )
            except StorageError:
                # Another process of this drive may have been first.
                if _content(storage, 1) is None:
                    raise
            found = _content(storage, len(ours) + 1)
        if found != ours:
            raise MarkerRefused(name, "check", "its marker is that of another drive or backend")

    def adopt(self, name: str, drive: str) -> None:
        """Takes a place over from the drive with that UUID, which must be gone: it stops at its next look.

        That nobody or this drive has marked the place is fine. Raises StorageRefused for anybody else's.
        """
        storage, theirs = self._storages[name], f"{drive} {name}\n".encode()
        if _content(storage, len(theirs) + 1) == theirs:
            storage.delete(MARKER)
        self.check(name)

    def probe(self, name: str, begin: Begin = lambda step: None) -> None:
        """Looks now whether a backend can be used: its marker, then what the storage's own probe does.

        Raises StorageError, and what reading the records raises.
        """
        begin("marker")
        self.check(name)
        self._storages[name].probe(begin)

    def close(self) -> None:
        for storage in self._storages.values():
            storage.close()


def _content(storage: Storage, most: int) -> bytes | None:
    """The marker's bytes, as far as they matter; None without one."""
    try:
        reader = storage.open(MARKER)
    except ObjectMissing:
        return None
    return first_bytes(reader, most)
