"""Servers as child processes, and what their process trees cost: CPU time and resident memory, from /proc."""

import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, Self

PATIENCE = 30.0
INTERVAL, SETTLED = 0.01, 0.3
_TICKS, _PAGE = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")


def free_port() -> int:
    """A port of the loopback that nobody listens on at this moment."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


class Child:
    """A server that we started, with all below it: as `user`, if given. What it prints goes to `log`."""

    def __init__(
        self, command: list[str], environ: dict[str, str], folder: Path, user: Mapping[str, Any] | None = None
    ) -> None:
        self.log = folder / "server.log"
        inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        with self.log.open("ab") as log:
            # In an empty folder of its own, so that nobody's .env or TOML file changes what is measured.
            self._process = subprocess.Popen(
                command,
                cwd=folder,
                env=inherited | environ,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **(user or {}),
            )

    def wait_until(self, answers: Callable[[], object]) -> None:
        """Returns when it serves. Raises RuntimeError with its log when it ended or took too long."""
        deadline = time.monotonic() + PATIENCE
        while self._process.poll() is None and time.monotonic() < deadline:
            try:
                answers()
            except (OSError, RuntimeError):
                time.sleep(0.02)
            else:
                return
        self.stop()
        raise RuntimeError(f"it did not start:\n{self.said()}")

    def tree(self) -> list[int]:
        """Its process and those that it forked."""
        pid = self._process.pid
        return [pid, *map(int, _read(pid, f"task/{pid}/children").split())]

    def idle_bytes(self) -> int:
        """What it holds when its start is over: when the workers are up and nothing changes any more."""
        deadline, before = time.monotonic() + PATIENCE, -1
        while (now := resident(self.tree())) != before and time.monotonic() < deadline:
            before = now
            time.sleep(SETTLED)
        return now

    def said(self) -> str:
        """The end of its log."""
        return "\n".join(self.log.read_text().splitlines()[-20:])

    def stop(self) -> None:
        """Ends it; what is left of its own process group is killed."""
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(10)


class Tree(Protocol):
    """A process and those that it forked."""

    def tree(self) -> list[int]: ...


class Meter:
    """Around a case: the CPU seconds that a process tree used, and the most memory that it held at once.

    Memory is the sum of the processes' RSS, looked at every 10 ms: what two of them share counts twice.
    """

    def __init__(self, child: Tree) -> None:
        self._pids = child.tree()
        self.cpu_seconds, self.peak = 0.0, 0
        self._done = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._before = cpu_seconds(self._pids)
        self._watcher.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._done.set()
        self._watcher.join()
        self.cpu_seconds = cpu_seconds(self._pids) - self._before

    def _watch(self) -> None:
        while True:
            self.peak = max(self.peak, resident(self._pids))
            if self._done.wait(INTERVAL):
                return


def resident(pids: list[int]) -> int:
    """Resident bytes of these processes together."""
    fields = [_read(pid, "statm").split() for pid in pids]
    return sum(int(each[1]) for each in fields if each) * _PAGE


def cpu_seconds(pids: list[int]) -> float:
    """CPU time of these processes so far, user and system, with that of their children that have ended."""
    ticks = 0
    for pid in pids:
        # The command's name may contain spaces; behind its closing bracket the fields are fixed (proc(5)).
        fields = _read(pid, "stat").rpartition(")")[2].split()
        ticks += sum(map(int, fields[11:15]))
    return ticks / _TICKS


def _read(pid: int, name: str) -> str:
    """What /proc says; nothing for a process that has ended meanwhile."""
    try:
        return Path(f"/proc/{pid}/{name}").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
