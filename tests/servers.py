"""The drive as its users run it: gunicorn as a child process, on a free port of the loopback."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import pytest
import requests

from tests.apps import TOKEN, UNLIMITED
from tests.children import PATIENCE, wait_for

ROOT = Path(__file__).parent.parent
INHERITED = ("PATH", "HOME", "LANG", "LD_LIBRARY_PATH", "COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG")


class Server:
    """One gunicorn with its workers, in a folder of its own. `url` is where it answers."""

    def __init__(self, folder: Path, **settings: object) -> None:
        self.folder = folder
        self.root, self.conf, self.app = ROOT, ROOT / "gunicorn.conf.py", "wsgi:app"
        self.behind: list[str | Path] = []  # a command that the server is put behind, and that becomes it
        self.log = folder / "server.log"
        self.environ = {name: os.environ[name] for name in INHERITED if name in os.environ}
        given = {"HOST": "127.0.0.1", "PORT": 0, "API_TOKEN": TOKEN, "INSTANCE_PATH": folder / "instance"}
        given |= {name.upper(): value for name, value in UNLIMITED.items()}
        given |= {"RUN_JOBS": False}  # a process more each time; those that need it say so
        self.environ |= {name: str(value) for name, value in (given | settings).items()}
        self.process: subprocess.Popen[bytes] | None = None
        self.url = ""

    def start(self) -> "Server":
        """Starts it and waits until it answers."""
        before = self.log.stat().st_size if self.log.exists() else 0
        command = [*self.behind, sys.executable, "-m", "gunicorn", "-c", str(self.conf), self.app]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, cwd=self.root, env=self.environ, stdout=log, stderr=log, start_new_session=True
            )
        wait_for(lambda: self._announced(before) or self.process.poll() is not None, "the server's start")
        assert self.process.poll() is None, self.output()
        self.url = self._announced(before)
        wait_for(self._answers, "the first answer")
        return self

    def _announced(self, before: int) -> str:
        for line in self.log.read_bytes()[before:].decode().splitlines():
            if line.startswith("Simple Drive is at "):
                return line.split()[-1].removesuffix("/drive")
        return ""

    def _answers(self) -> bool:
        try:
            return requests.get(f"{self.url}/livez", timeout=5).ok
        except requests.ConnectionError:
            return False

    def pids(self) -> list[int]:
        """The processes: gunicorn and its workers."""
        assert self.process is not None
        return [self.process.pid, *children(self.process.pid)]

    def kill(self) -> None:
        """Ends every process at once, with SIGKILL."""
        for pid in self.pids():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        assert self.process is not None
        self.process.wait(PATIENCE)

    def stop(self) -> int:
        """Ends it as an operator does; returns the exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.terminate()
        return self.process.wait(2 * PATIENCE)  # gunicorn's own patience with a worker is 30 s

    def run(self, *arguments: str, **settings: object) -> subprocess.CompletedProcess[str]:
        """`flask ARGUMENTS` with the same settings."""
        environ = self.environ | {name: str(value) for name, value in settings.items()}
        command = [sys.executable, "-m", "flask", "--app", "wsgi", *arguments]
        return subprocess.run(
            command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=300, check=False
        )

    def output(self) -> str:
        """All it has printed and logged."""
        return self.log.read_text()


def settings_of(backends: Mapping[str, Mapping[str, object]]) -> dict[str, object]:
    """The environment that configures these backends, each with its kind and options."""
    return {
        f"SIMPLEDRIVE_BACKENDS__{name.upper()}__{option.upper()}": value
        for name, options in backends.items()
        for option, value in options.items()
    }


def children(pid: int) -> list[int]:
    """The processes below this one."""
    found = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, path.read_text().split()):
            found += [child, *children(child)]
    return found


def memory(pids: list[int]) -> int:
    """Resident bytes of these processes together."""
    pages = 0
    for pid in pids:
        with suppress(FileNotFoundError, ProcessLookupError):
            pages += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.fixture
def make_server(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Starts servers with the given settings; all are gone afterwards."""
    made: list[Server] = []

    def make(**settings: object) -> Server:
        server = Server(tmp_path, **settings)
        made.append(server)
        return server.start()

    yield make
    for server in made:
        if server.process is not None and server.process.poll() is None:
            server.stop()


@pytest.fixture
def server(make_server: Callable[..., Server]) -> Server:
    """A server with the default settings, alone."""
    return make_server()
