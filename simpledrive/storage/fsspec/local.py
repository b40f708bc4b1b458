"""file:// — a folder of this machine, or one that the system mounts from elsewhere."""

import os
from typing import Any
from urllib.parse import SplitResult

from fsspec.implementations.local import LocalFileSystem

from simpledrive.storage.fsspec.filesystem import Arguments, Filesystem, check_names, pour
from simpledrive.streams.source import Reader


class Local(Filesystem):
    """Files of the system. The kind `local` does the same with links instead of copies."""

    @classmethod
    def arguments(cls, address: SplitResult, given: Arguments, timeout: float) -> Arguments:
        if address.netloc or not address.path.startswith("/"):
            raise ValueError("a folder's URL begins with three slashes: file:///srv/drive")
        check_names(given)
        return {}

    @staticmethod
    def connect(arguments: Arguments) -> Any:
        return LocalFileSystem(**arguments, skip_instance_cache=True)

    def write(self, path: str, reader: Reader, size: int) -> None:
        with self.fs.open(path, "wb") as file:
            pour(reader, file.write)
            file.flush()
            os.fsync(file.fileno())

    def rename(self, old: str, new: str) -> None:
        # Not fsspec's `mv`: what it cannot rename it copies.
        os.rename(old, new)
        folder = os.open(os.path.dirname(new), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def open(self, path: str, start: int, stop: int) -> Reader:
        file: Any = self.fs.open(path, "rb")
        file.seek(start)
        return file  # type: ignore[no-any-return]
