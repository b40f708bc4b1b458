"""Child processes: on which port, in which folder, as whom, until when, and waiting for what they do."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

PATIENCE = 30

Account = Mapping[str, Any]
"""What `subprocess` is told of the user that a process runs as; nothing for ourselves."""


def account(*names: str) -> Account:
    """The first of these users that there is where we are root, which servers do not like; else ourselves."""
    if os.geteuid() != 0:
        return {}
    for name in names:
        with suppress(KeyError):
            entry = pwd.getpwnam(name)
            return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    pytest.fail(f"there is none of the users {', '.join(names)}")


def give_away(folder: Path, whose: Account) -> None:
    """The folder and all below it belong to the account from now on."""
    if whose:
        for path in (folder, *folder.rglob("*")):
            shutil.chown(path, whose["user"], whose["group"])


@contextmanager
def temporary_folder(prefix: str) -> Iterator[Path]:
    """Not below pytest's own folder, into which no other user gets."""
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def free_port() -> int:
    """One that was free a moment ago: these servers do not say which they took."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def listens(port: int) -> bool:
    """Whether somebody takes connections at this port of the loopback."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


@contextmanager
def running(
    command: Sequence[object],
    port: int,
    log: Path,
    whose: Account | None = None,
    is_up: Callable[[int], bool] = listens,
) -> Iterator[int]:
    """The command, once it is up, until the end of the block: its process's id.

    Those that it has forked end with it.
    """
    with log.open("wb") as out:
        process = subprocess.Popen(
            list(map(str, command)),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
            **(whose or {}),
        )
    try:
        wait_for(lambda: is_up(port) or process.poll() is not None, f"{command[0]} to listen")
        assert process.poll() is None, log.read_text(errors="replace")
        yield process.pid
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_for(condition: Callable[[], object], what: str, patience: float = PATIENCE) -> None:
    """Returns as soon as the condition holds; fails when it never does."""
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, f"waited {patience} s for {what}"
        time.sleep(0.01)
