"""An object's bytes on their way here. Begins with the first read, and checks no digest."""

from simpledrive.errors import StorageUnavailable
from simpledrive.storage.fsspec.filesystem import Filesystem
from simpledrive.storage.fsspec.filesystems import Filesystems
from simpledrive.streams.source import Reader


class Range:
    """Reads bytes [at, end) of a file."""

    def __init__(self, name: str, filesystems: Filesystems, path: str, at: int, end: int) -> None:
        self._name, self._filesystems, self._path = name, filesystems, path
        self._at, self._end = at, end
        self._open: tuple[Filesystem, Reader] | None = None
        self._closed = False

    def read(self, size: int, /) -> bytes:
        if self._closed:
            raise ValueError("read from a closed reader")
        wanted = min(size, self._end - self._at)
        if wanted <= 0:
            return b""
        if self._open is None:
            self._open = self._filesystems.ask("read", self._begin)
        filesystem, file = self._open
        with self._filesystems.using("read", filesystem):
            data = file.read(wanted)
        if not data:
            left = self._end - self._at
            raise StorageUnavailable(self._name, "read", f"the transfer ends {left} bytes early")
        self._at += len(data)
        return data

    def close(self) -> None:
        self._closed = True
        if self._open is not None:
            (filesystem, file), self._open = self._open, None
            with self._filesystems.using("read", filesystem):
                file.close()

    def _begin(self, filesystem: Filesystem) -> tuple[Filesystem, Reader]:
        return filesystem, filesystem.open(self._path, self._at, self._end)
