"""What has moved, a line a record, for somebody who trusts neither side: to be checked with sha256sum."""

from __future__ import annotations

import json
import os
from pathlib import Path

from simpledrive.http.current import parts
from simpledrive.logs import moment
from simpledrive.rights import SERVER


def write_receipt(path: Path, id: str) -> None:
    """Writes all that a migration has moved so far, whole or not at all. Raises OSError."""
    part = path.with_name(path.name + ".part")
    with part.open("w", encoding="utf-8") as file:
        for batch in parts().migrations.items(SERVER, id, "moved"):
            for item in batch:
                line = {
                    "id": item.blob_id,
                    "version": item.version,
                    "sha256": item.sha256,
                    "size": item.size,
                    "source_key": item.source_key,
                    "target_key": item.target_key,
                    "verified_at": item.verified_at and moment(item.verified_at),
                }
                file.write(json.dumps(line) + "\n")
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
