"""Commands that come to their end, and what they cost."""

import os
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from processes import Meter


@dataclass
class Cost:
    """What copying took; memory as in Figures."""

    seconds: float
    cpu_seconds: float
    idle_bytes: int | None = None
    peak_bytes: int | None = None

    def __sub__(self, start: "Cost") -> "Cost":
        """Without what starting took; memory beside what it had taken then."""
        seconds, cpu_seconds = self.seconds - start.seconds, self.cpu_seconds - start.cpu_seconds
        return Cost(max(seconds, 1e-3), max(cpu_seconds, 0), start.peak_bytes, self.peak_bytes)


class _Command(subprocess.Popen[bytes]):
    def tree(self) -> list[int]:
        return [self.pid]


def run(command: list[str], log: Path, environ: Mapping[str, str] | None = None) -> Cost:
    """Runs a command in the log's folder, and what it says goes there. Raises RuntimeError if it fails."""
    started = time.perf_counter()
    nothing = subprocess.DEVNULL
    with log.open("ab") as said:
        process = _Command(command, cwd=log.parent, env=environ, stdin=nothing, stdout=said, stderr=said)
    with Meter(process) as meter:
        _, status, used = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{command[0]} failed with {process.returncode}")
    return Cost(seconds, used.ru_utime + used.ru_stime, peak_bytes=meter.peak)
