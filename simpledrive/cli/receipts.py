"""What has moved, in a file: whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from simpledrive.durable import sync
from simpledrive.http.current import parts
from simpledrive.http.migrations import receipt
from simpledrive.rights import SERVER


class Receipt:
    """A file beside the one that it is to become."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._part = path.with_name(path.name + ".part")

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Finds out whether it can be written, before hours of work. Raises OSError. Leaves no half."""
        self._part.touch()
        try:
            yield
        finally:
            self._part.unlink(missing_ok=True)

    def write(self, id: str) -> None:
        """Writes all that a migration has moved so far. Raises OSError.

        One that has moved nothing leaves the file of another as it is.
        """
        with self._part.open("wb") as file:
            file.writelines(receipt(parts().migrations.items(SERVER, id, "moved")))
        if self._part.stat().st_size == 0 and self._path.exists():
            return
        sync(self._part)
        self._part.replace(self._path)
        sync(self._path.parent)
