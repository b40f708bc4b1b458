"""Real servers for the kind `fsspec`: OpenSSH's sshd and Apache's mod_dav, on the loopback.

Both are ordinary processes, of `daemon` where we are root, and end with the session. sshd lets in only the
user that it runs as, by keys in a file of ours. (Not `nobody`: systemd says that this account is locked.)
"""

import getpass
import shutil
import subprocess
import uuid
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass, replace
from hashlib import sha1
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.children import account, free_port, give_away, running, temporary_folder
from tests.needs import need, server_program

PASSWORD = "correct horse"

APACHE_MODULES = (
    "mpm_event",
    "authz_core",
    "authz_user",
    "authn_core",
    "authn_file",
    "auth_basic",
    "dav",
    "dav_fs",
)


@dataclass(frozen=True)
class FsspecServer:
    """A server that runs: the URL of its root, which is the folder `root` here, and how to log in."""

    url: str
    root: Path
    login: dict[str, Any]
    stranger: dict[str, Any]
    """As `login`, and refused; `secret` is in it."""

    def config(self, login: dict[str, Any] | None = None, **options: Any) -> dict[str, Any]:
        """A backend in a folder of its own, which is not there yet."""
        return {
            "kind": "fsspec",
            "url": f"{self.url}{uuid.uuid4().hex}/some where",
            "timeout": 20,
            "storage_options": self.login if login is None else login,
        } | options

    @property
    def port(self) -> int:
        port = urlsplit(self.url).port
        assert port is not None
        return port

    def by(self, port: int) -> "FsspecServer":
        """The same server, by the port of something in between."""
        return replace(self, url=self.url.replace(f":{self.port}/", f":{port}/"))


@pytest.fixture(scope="session")
def sshd() -> Iterator[FsspecServer]:
    need("sshd")
    with temporary_folder("drive-fsspec-") as folder:
        root, port, daemon = folder / "root", free_port(), account("daemon")
        root.mkdir()
        for name in ("host", "user", "secret"):
            subprocess.run(
                ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", folder / name], check=True
            )
        shutil.copy(folder / "user.pub", folder / "authorized")
        public = " ".join((folder / "host.pub").read_text().split()[:2])
        # By any port, since some tests come by another.
        (folder / "known").write_text(f"127.0.0.1,[127.0.0.1]:* {public}\n")
        (folder / "sshd.conf").write_text(f"""
            ListenAddress 127.0.0.1:{port}
            HostKey {folder}/host
            AuthorizedKeysFile {folder}/authorized
            PidFile none
            StrictModes no
            UsePAM no
            PasswordAuthentication no
            MaxStartups 100
            Subsystem sftp internal-sftp -u 0077
            ForceCommand internal-sftp -u 0077\n""")
        give_away(folder, daemon)
        command = [server_program("sshd"), "-D", "-e", "-f", str(folder / "sshd.conf")]
        assert command[0] is not None
        login = {
            "username": "daemon" if daemon else getpass.getuser(),
            "client_keys": str(folder / "user"),
            "known_hosts": str(folder / "known"),
        }
        with running(command, port, folder / "log", daemon):
            yield FsspecServer(
                f"sftp://127.0.0.1:{port}{root}/",
                root,
                login,
                login | {"client_keys": str(folder / "secret")},
            )


@pytest.fixture(scope="session")
def apache() -> Iterator[FsspecServer]:
    need("apache2")
    with temporary_folder("drive-fsspec-") as folder:
        root, port, daemon = folder / "root", free_port(), account("daemon")
        program = server_program("apache2")
        assert program is not None
        root.mkdir()
        (folder / "users").write_text(
            f"drive:{{SHA}}{b64encode(sha1(PASSWORD.encode()).digest()).decode()}\n"
        )
        modules = Path(program).parent.parent / "lib/apache2/modules"
        loaded = "".join(f"LoadModule {name}_module {modules}/mod_{name}.so\n" for name in APACHE_MODULES)
        (folder / "apache.conf").write_text(f"""{loaded}
            ServerRoot {folder}
            ServerName 127.0.0.1
            Listen 127.0.0.1:{port}
            PidFile {folder}/pid
            Mutex file:{folder}
            ErrorLog {folder}/log
            DavLockDB {folder}/locks
            DocumentRoot {root}
            <Location />
                Dav On
                AuthType Basic
                AuthName drive
                AuthUserFile {folder}/users
                Require valid-user
            </Location>\n""")
        give_away(folder, daemon)
        command = [program, "-D", "FOREGROUND", "-f", str(folder / "apache.conf")]
        login = {"username": "drive", "password": PASSWORD}
        with running(command, port, folder / "output", daemon):
            yield FsspecServer(f"webdav://127.0.0.1:{port}/", root, login, login | {"password": "secret"})
