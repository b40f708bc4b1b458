"""What the object stores of the clouds have in common.

They have no folders and no renaming, and need neither: a file that is opened for exclusive creation is seen
when it is closed, whole, and closing fails if the name is taken by then. So nothing is written under another
name first. What an upload that was not closed left behind nobody sees, and the cloud removes it within days.
"""

from typing import Any

from simpledrive.errors import StorageRefused
from simpledrive.storage.fsspec.faults import Meaning, by_status, causes
from simpledrive.storage.fsspec.filesystem import Filesystem, pour
from simpledrive.streams.source import Reader

MIB = 1 << 20
PORTION = 2 * MIB
"""The libraries hold some of them at a time."""
MOST_PORTIONS = 40_000
"""Of one object. Azure takes 50,000."""


class ObjectStore(Filesystem):
    publishes_whole = True
    gone = StorageRefused, "there is no such bucket or container"

    @staticmethod
    def meaning(error: BaseException) -> Meaning | None:
        if isinstance(error, FileNotFoundError | FileExistsError):
            return None
        for cause in causes(error):
            for name in ("status_code", "status", "code"):
                status = getattr(cause, name, None)
                if isinstance(status, int) and 400 <= status < 600:
                    return by_status(status)
        return None

    def write(self, path: str, reader: Reader, size: int) -> None:
        portion = max(PORTION, -(-size // MOST_PORTIONS // MIB) * MIB)
        file = self.fs.open(path, "xb", block_size=portion)
        try:
            pour(reader, file.write)
        except BaseException:
            # Closing would publish what there is, and so would the garbage collector.
            file.closed = True
            file.discard()
            raise
        file.close()

    def rename(self, old: str, new: str) -> None:
        raise NotImplementedError("objects are not renamed")

    def open(self, path: str, start: int, stop: int) -> Reader:
        return _Portions(self, path, start, stop)


class _Portions:
    """Reads bytes [at, stop) with a request for each portion, and holds nothing between them."""

    def __init__(self, store: ObjectStore, path: str, at: int, stop: int) -> None:
        self._store, self._path, self._at, self._stop = store, path, at, stop
        self._rest = memoryview(b"")

    def read(self, size: int, /) -> bytes:
        if not self._rest:
            end = min(self._stop, self._at + max(size, PORTION))
            data: Any = self._store.fs.cat_file(self._path, start=self._at, end=end, **self._store.limit)
            self._at += len(data)
            self._rest = memoryview(data)
        taken, self._rest = self._rest[:size], self._rest[size:]
        return bytes(taken)

    def close(self) -> None:
        self._rest = memoryview(b"")
