"""Where storages keep bytes in the benchmark: a folder, a database, and servers of S3 and of FTP.

Each place can be opened by the drive's storage of its kind and, but for the database, by rclone. What is not
installed is left out: `why_not` says what is missing. Servers run as `nobody` where we are root.
"""

import grp
import os
import pwd
import shutil
import socket
import subprocess
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from processes import Child, free_port
from servers import ROOT

KEY_ID, SECRET, BUCKET = "benchaccess", "bench-secret-key", "bench"
USERNAME, PASSWORD = "bench", "bench-password"
PASSWORD_HASH = (
    "$6$bench$KPKgHNbzf5O7L5CsfGuyBalHgoEyQ3Ul/TZbk0MSM7pK0Rrv2zAyaU833JNXRzm5sQlRkfjk.TIVQVBuXvp5M."
)
"""Of PASSWORD, as crypt(3) has it."""


def program(name: str) -> str | None:
    """Where a program is: in the test environment, in PATH, or where servers are installed."""
    places = [ROOT / ".venv-test" / "bin", *os.get_exec_path(), "/usr/local/sbin", "/usr/sbin"]
    return shutil.which(name, path=os.pathsep.join(map(str, places)))


def nobody() -> dict[str, Any]:
    """As whom servers run: `nobody` if we are root, else ourselves."""
    if os.geteuid() != 0:
        return {}
    entry = pwd.getpwnam("nobody")
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


class Place(ABC):
    """Somewhere to keep bytes. What it needs is started by `start`, in an empty folder."""

    name: str
    by_rclone = True

    @abstractmethod
    def config(self, folder: str = "drive") -> dict[str, str]:
        """Of a backend of the drive's that keeps all in this folder."""

    @abstractmethod
    def remote(self, folder: str) -> str:
        """A folder there, in rclone's words."""

    @abstractmethod
    def path(self, folder: str) -> Path:
        """Where that folder lies on this machine's disk."""

    def start(self, folder: Path) -> None:
        self.folder = folder

    def stop(self) -> None:  # noqa: B027 (a folder needs none)
        """Ends what `start` began."""

    def said(self) -> str:
        """The end of its log."""
        return ""

    @classmethod
    def why_not(cls) -> str | None:
        """What is missing on this machine."""
        return None


class Local(Place):
    name = "local"

    def config(self, folder: str = "drive") -> dict[str, str]:
        return {"kind": "local", "path": f"{self.folder}/{folder}"}

    def remote(self, folder: str) -> str:
        return f"{self.folder}/{folder}"

    def path(self, folder: str) -> Path:
        return self.folder / folder


class Database(Place):
    """SQLite. rclone knows no databases."""

    name, by_rclone = "database", False

    def config(self, folder: str = "drive") -> dict[str, str]:
        return {"kind": "database", "url": f"sqlite:///{self.folder}/{folder}.db"}

    def remote(self, folder: str) -> str:
        raise NotImplementedError

    def path(self, folder: str) -> Path:
        raise NotImplementedError


class Served(Place):
    """A place with a server of its own."""

    needs: str

    def start(self, folder: Path) -> None:
        super().start(folder)
        self.port = free_port()
        (folder / "root").mkdir()
        command, user = self.command(), self.user()
        if user:
            for path in (folder, *folder.rglob("*")):
                shutil.chown(path, user["user"], user["group"])
        self.child = Child(command, {}, folder, user)
        self.child.wait_until(lambda: socket.create_connection(("127.0.0.1", self.port), 5).close())

    def command(self) -> list[str]:
        """What to start."""
        raise NotImplementedError

    def user(self) -> dict[str, Any]:
        return {}

    def path(self, folder: str) -> Path:
        return self.folder / "root" / folder

    def stop(self) -> None:
        self.child.stop()

    def said(self) -> str:
        return f"{self.name}:\n{self.child.said()}"

    @classmethod
    def why_not(cls) -> str | None:
        return None if program(cls.needs) else f"{cls.needs} is not installed"


class S3(Served):
    """`rclone serve s3`, which checks signatures."""

    name, needs = "s3", "rclone"

    def command(self) -> list[str]:
        (self.folder / "root" / BUCKET).mkdir()
        command = [program("rclone") or "rclone", "serve", "s3", "--config", os.devnull]
        address = ["--addr", f"127.0.0.1:{self.port}", "--auth-key", f"{KEY_ID},{SECRET}"]
        return [*command, *address, f"{self.folder}/root"]

    def path(self, folder: str) -> Path:
        return super().path(BUCKET) / folder

    def config(self, folder: str = "drive") -> dict[str, str]:
        return {
            "kind": "s3",
            "endpoint_url": f"http://127.0.0.1:{self.port}",
            "bucket_name": BUCKET,
            "prefix": f"{folder}/",
            "access_key_id": KEY_ID,
            "secret_access_key": SECRET,
        }

    def remote(self, folder: str) -> str:
        server = f"provider=Rclone,endpoint='http://127.0.0.1:{self.port}',no_check_bucket=true"
        parts = "chunk_size=16Mi,upload_cutoff=64Mi,upload_concurrency=4"  # as the drive's defaults are
        return f":s3,{server},{parts},access_key_id={KEY_ID},secret_access_key={SECRET}:{BUCKET}/{folder}"


class Ftp(Served):
    """A server of FTP, and how both log in there."""

    username, tls = USERNAME, False

    def user(self) -> dict[str, Any]:
        return nobody()

    def config(self, folder: str = "drive") -> dict[str, str]:
        config = {
            "kind": "ftp",
            "host": "127.0.0.1",
            "port": str(self.port),
            "username": self.username,
            "password": PASSWORD,
            "base_dir": folder,
        }
        return config | ({"tls": "explicit", "ca_bundle": f"{self.folder}/cert.pem"} if self.tls else {})

    def remote(self, folder: str) -> str:
        hidden = subprocess.run(
            [program("rclone") or "rclone", "obscure", PASSWORD], capture_output=True, check=True
        )
        login = f"user={self.username},pass={hidden.stdout.decode().strip()}"
        # It is one machine: whose certificate it is takes no time worth measuring.
        tls = ",explicit_tls=true,no_check_certificate=true" if self.tls else ""
        return f":ftp,host=127.0.0.1,port={self.port},{login}{tls}:{folder}"


class ProFtpd(Ftp):
    name, needs = "proftpd", "proftpd"

    def command(self) -> list[str]:
        user = self.user()
        uid, gid = user.get("user", os.getuid()), user.get("group", os.getgid())
        users, groups, config = (self.folder / name for name in ("users", "groups", "proftpd.conf"))
        users.write_text(f"{USERNAME}:{PASSWORD_HASH}:{uid}:{gid}::{self.folder}/root:/bin/false\n")
        groups.write_text(f"{USERNAME}:x:{gid}:\n")
        for path in (users, groups):
            path.chmod(0o600)
        config.write_text(f"""
            ServerType standalone
            User {pwd.getpwuid(uid).pw_name}
            Group {grp.getgrgid(gid).gr_name}
            DefaultAddress 127.0.0.1
            Port {self.port}
            UseIPv6 off
            UseReverseDNS off
            MaxInstances 200
            PidFile {self.folder}/pid
            ScoreboardFile none
            ControlsEngine off
            DelayEngine off
            WtmpLog off
            TransferLog none
            SystemLog {self.folder}/log
            AuthOrder mod_auth_file.c
            AuthUserFile {users}
            AuthGroupFile {groups}
            RequireValidShell off
            AllowOverwrite on
            AllowStoreRestart on
            AllowRetrieveRestart on
            {self.security()}\n""")
        return [program("proftpd") or "proftpd", "--nodaemon", "--quiet", "--config", str(config)]

    def security(self) -> str:
        return ""


class ProFtpdTls(ProFtpd):
    name, tls = "proftpd-tls", True

    def security(self) -> str:
        make_certificate(self.folder)
        return f"""
            LoadModule mod_tls.c
            TLSEngine on
            TLSRequired on
            TLSLog {self.folder}/tls-log
            TLSECCertificateFile {self.folder}/cert.pem
            TLSECCertificateKeyFile {self.folder}/key.pem"""

    @classmethod
    def why_not(cls) -> str | None:
        if not program("openssl"):
            return "openssl is not installed"
        if not any(Path("/usr").glob("lib*/**/proftpd/mod_tls.so")):
            return "ProFTPD has no mod_tls"
        return super().why_not()


class Vsftpd(Ftp):
    """Its anonymous user alone: so no user has to be added to the system."""

    name, needs, username = "vsftpd", "vsftpd", "anonymous"

    def command(self) -> list[str]:
        settings = {
            "listen": "YES",
            "listen_address": "127.0.0.1",
            "listen_port": self.port,
            "background": "NO",
            "run_as_launching_user": "YES",
            "seccomp_sandbox": "NO",
            "vsftpd_log_file": self.folder / "log",
            "xferlog_enable": "NO",
            "anonymous_enable": "YES",
            "no_anon_password": "YES",
            "anon_root": self.folder / "root",
            "anon_umask": "077",
            "anon_world_readable_only": "NO",
            "write_enable": "YES",
            "anon_upload_enable": "YES",
            "anon_mkdir_write_enable": "YES",
            "anon_other_write_enable": "YES",
        }
        config = self.folder / "vsftpd.conf"
        config.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
        return [program("vsftpd") or "vsftpd", str(config)]


class PyFtpdLib(Ftp):
    """In Python, one process and one thread: it is the limit for everybody."""

    name, needs = "pyftpdlib", "rclone"  # they come together, with the test environment

    def user(self) -> dict[str, Any]:
        return {}  # others may not be able to read our interpreter

    def command(self) -> list[str]:
        options = ["--interface", "127.0.0.1", "--port", str(self.port), "--write"]
        login = ["--username", USERNAME, "--password", PASSWORD, "--directory", f"{self.folder}/root"]
        return [program("python") or "python", "-m", "pyftpdlib", *options, *login]

    @classmethod
    def why_not(cls) -> str | None:
        python = ROOT / ".venv-test" / "bin" / "python"
        there = (
            python.exists() and not subprocess.run([python, "-c", "import pyftpdlib"], check=False).returncode
        )
        return None if there else "pyftpdlib is not installed"


PLACES: dict[str, type[Place]] = {
    place.name: place for place in (Local, Database, S3, ProFtpd, ProFtpdTls, Vsftpd, PyFtpdLib)
}


def make_certificate(folder: Path) -> None:
    """`cert.pem` for 127.0.0.1, which is its own authority, and `key.pem`."""
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    name = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", folder / "key.pem", "-out", folder / "cert.pem"]
    subprocess.run(
        [program("openssl") or "openssl", "req", "-x509", *curve, *name, *files],
        check=True,
        capture_output=True,
    )
