"""Real FTP servers for the tests: pyftpdlib, vsftpd and ProFTPD, on the loopback, ended with the session.

vsftpd and ProFTPD want TLS, and data connections that take up the control connection's TLS session. Where we
are root they run as `nobody`. No user is added to the system: vsftpd takes whoever knows one password for its
anonymous user, and ProFTPD has a file of users of its own.
"""

import grp
import json
import os
import pwd
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme

from tests.children import account, free_port, give_away, running, temporary_folder
from tests.needs import need, server_program
from tests.servers import ROOT

USERNAME, PASSWORD = "drive", "correct horse"
PASSWORD_HASH = (
    "$6$simpledrive$lyGg5xAg8I96n5Ck1aEJBw3.nKrQtPnHLLtmB6XIO6ujGgsb02k/cFInPy1PzKzNz8kL7//ncJi5mJi3Sd46x1"
)
"""Of PASSWORD, as crypt(3) has it."""


@dataclass(frozen=True)
class FtpServer:
    """A server that runs: where, as whom, and the folder that the login leads to."""

    root: Path
    port: int
    ca_bundle: Path | None
    username: str = USERNAME
    process: int = 0

    def config(self, **options: object) -> dict[str, str]:
        """A backend in a folder of its own, which is not there yet."""
        given = {
            "kind": "ftp",
            "host": "127.0.0.1",
            "port": self.port,
            "username": self.username,
            "password": PASSWORD,
            "base_dir": f"{uuid.uuid4().hex}/über uns",
            "timeout": 20,
        }
        if self.ca_bundle:
            given |= {"tls": "explicit", "ca_bundle": self.ca_bundle}
        return {name: str(value) for name, value in (given | options).items()}


@pytest.fixture(scope="session")
def certificates() -> Iterator[Path]:
    """A folder: `ca.pem`, by it `server.pem` for 127.0.0.1 with its key, and `stranger.pem` of another."""
    with temporary_folder("drive-ftp-") as folder:
        authority = trustme.CA()
        certificate = authority.issue_cert("127.0.0.1")
        authority.cert_pem.write_to_path(str(folder / "ca.pem"))
        certificate.private_key_and_cert_chain_pem.write_to_path(str(folder / "server.pem"))
        trustme.CA().cert_pem.write_to_path(str(folder / "stranger.pem"))
        give_away(folder, account("nobody"))
        yield folder


@pytest.fixture(scope="session")
def pyftpdlib() -> Iterator[FtpServer]:
    with _pyftpdlib(None) as server:
        yield server


@pytest.fixture
def mortal_ftp() -> Iterator[FtpServer]:
    """One for a single test, which may kill its process."""
    with _pyftpdlib(None) as server:
        yield server


@pytest.fixture(scope="session")
def pyftpdlib_tls(certificates: Path) -> Iterator[FtpServer]:
    with _pyftpdlib(certificates) as server:
        yield server


@pytest.fixture(scope="session")
def vsftpd(certificates: Path) -> Iterator[FtpServer]:
    need("vsftpd")
    with temporary_folder("drive-ftp-") as folder:
        root, port, nobody = _root(folder), free_port(), account("nobody")
        (folder / "passwords").write_text(f"{PASSWORD}\n")
        settings = {
            "listen": "YES",
            "listen_address": "127.0.0.1",
            "listen_port": port,
            "background": "NO",
            "run_as_launching_user": "YES",
            "seccomp_sandbox": "NO",
            "xferlog_file": folder / "transfers",
            "vsftpd_log_file": folder / "log",
            # The anonymous user alone, with a password after all.
            "anonymous_enable": "YES",
            "secure_email_list_enable": "YES",
            "email_password_file": folder / "passwords",
            "delay_failed_login": 0,
            "anon_root": root,
            "anon_umask": "077",
            "anon_world_readable_only": "NO",
            "write_enable": "YES",
            "anon_upload_enable": "YES",
            "anon_mkdir_write_enable": "YES",
            "anon_other_write_enable": "YES",
            "ssl_enable": "YES",
            "allow_anon_ssl": "YES",
            "force_anon_logins_ssl": "YES",
            "force_anon_data_ssl": "YES",
            "require_ssl_reuse": "YES",
            "ssl_ciphers": "HIGH",
            "rsa_cert_file": certificates / "server.pem",
        }
        config = folder / "vsftpd.conf"
        config.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
        give_away(folder, nobody)
        command = [server_program("vsftpd"), config]
        with running(command, port, folder / "output", nobody, _greets) as process:
            yield FtpServer(root, port, certificates / "ca.pem", "anonymous", process)


@pytest.fixture(scope="session")
def proftpd(certificates: Path) -> Iterator[FtpServer]:
    need("proftpd")
    with temporary_folder("drive-ftp-") as folder:
        root, port, nobody = _root(folder), free_port(), account("nobody")
        uid, gid = nobody.get("user", os.getuid()), nobody.get("group", os.getgid())
        (folder / "users").write_text(f"{USERNAME}:{PASSWORD_HASH}:{uid}:{gid}::{root}:/bin/false\n")
        (folder / "groups").write_text(f"{USERNAME}:x:{gid}:\n")
        config = folder / "proftpd.conf"
        config.write_text(f"""
            LoadModule mod_tls.c
            ServerType standalone
            User {pwd.getpwuid(uid).pw_name}
            Group {grp.getgrgid(gid).gr_name}
            DefaultAddress 127.0.0.1
            Port {port}
            UseIPv6 off
            UseReverseDNS off
            MaxInstances 200
            PidFile {folder}/pid
            ScoreboardFile none
            ControlsEngine off
            DelayEngine off
            WtmpLog off
            TransferLog none
            SystemLog {folder}/log
            AuthOrder mod_auth_file.c
            AuthUserFile {folder}/users
            AuthGroupFile {folder}/groups
            RequireValidShell off
            AllowOverwrite on
            AllowRetrieveRestart on
            TLSEngine on
            TLSRequired on
            TLSLog {folder}/tls-log
            TLSECCertificateFile {certificates}/server.pem
            TLSECCertificateKeyFile {certificates}/server.pem\n""")
        for name in ("users", "groups"):
            (folder / name).chmod(0o600)
        give_away(folder, nobody)
        command = [server_program("proftpd"), "--nodaemon", "--quiet", "--config", config]
        with running(command, port, folder / "output", nobody, _greets) as process:
            yield FtpServer(root, port, certificates / "ca.pem", process=process)


@contextmanager
def _pyftpdlib(certificates: Path | None) -> Iterator[FtpServer]:
    with temporary_folder("drive-ftp-") as folder:
        options = {"root": str(_root(folder)), "username": USERNAME, "password": PASSWORD}
        if certificates:
            options["certificate"] = str(certificates / "server.pem")
        command = [sys.executable, "-m", "tests.ftp_child", json.dumps(options)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
            try:
                assert process.stdout is not None
                port = int(process.stdout.readline())
                ca_bundle = certificates / "ca.pem" if certificates else None
                yield FtpServer(folder / "root", port, ca_bundle, process=process.pid)
            finally:
                process.kill()


def _greets(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 5) as connection:
            return connection.recv(3) == b"220"
    except ConnectionError:
        return False


def _root(folder: Path) -> Path:
    root = folder / "root"
    root.mkdir()
    return root
