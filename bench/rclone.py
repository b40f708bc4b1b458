"""`rclone copy`, and what it costs."""

import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from places import program

# Looking at the target beforehand is spared it: nothing is there.
OPTIONS = ["--config", os.devnull, "--no-traverse", "--no-check-dest", "--retries", "1"]


@dataclass
class Cost:
    """What copying took. Memory is None where it is not measured."""

    seconds: float
    cpu_seconds: float
    idle_bytes: int | None = None
    peak_bytes: int | None = None

    def __sub__(self, start: "Cost") -> "Cost":
        """Without what starting took."""
        return Cost(max(self.seconds - start.seconds, 1e-3), max(self.cpu_seconds - start.cpu_seconds, 0))


def copy(source: str, target: str, at_once: int, log: Path) -> Cost:
    """Copies all files of a folder into an empty one. Raises RuntimeError if not all went well."""
    command = [program("rclone") or "rclone", "copy", "--transfers", str(at_once), *OPTIONS, source, target]
    started = time.perf_counter()
    with log.open("ab") as said:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"rclone failed with {process.returncode}")
    return Cost(seconds, used.ru_utime + used.ru_stime)
