"""What has moved, in a file: whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from simpledrive.http.current import parts
from simpledrive.http.migrations import receipt
from simpledrive.rights import SERVER


def write_receipt(path: Path, id: str) -> None:
    """Writes all that a migration has moved so far. Raises OSError."""
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        file.writelines(receipt(parts().migrations.items(SERVER, id, "moved")))
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
