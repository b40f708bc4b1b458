"""`rclone copy`, and what it costs."""

import os
from pathlib import Path

from commands import Cost, run
from places import program

# Looking at the target beforehand is spared it: nothing is there.
OPTIONS = ["--config", os.devnull, "--no-traverse", "--no-check-dest", "--retries", "1"]


def copy(source: str, target: str, at_once: int, log: Path) -> Cost:
    """Copies all files of a folder into an empty one. Raises RuntimeError if not all went well."""
    rclone = program("rclone") or "rclone"
    return run([rclone, "copy", "--transfers", str(at_once), *OPTIONS, source, target], log)
