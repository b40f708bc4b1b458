"""sftp:// — files of an SSH server, by sshfs, which leans on asyncssh.

Neither ~/.ssh nor an agent is looked at: the drive logs in with what it was told. sshfs of itself trusts
every server; here its key must be known. fsspec's own implementation, on paramiko, cannot be told which.
"""

import asyncio
import errno
from contextlib import suppress
from typing import Any
from urllib.parse import SplitResult

import asyncssh
from fsspec.asyn import sync_wrapper
from sshfs import SSHFileSystem
from sshfs.file import SSHFile

from simpledrive.errors import StorageFull, StorageRefused, StorageUnavailable
from simpledrive.storage.fsspec.faults import MISSING, TAKEN, Meaning
from simpledrive.storage.fsspec.filesystem import Arguments, Filesystem, check_names, pour
from simpledrive.streams.source import Reader

KEEPALIVES = 3
"""Unanswered, after which the connection counts as lost."""


class Sftp(Filesystem):
    """One connection for all threads; sshfs opens channels in it, and asks for many portions at once."""

    files = frozenset(
        {
            "known_hosts",
            "client_keys",
            "client_certs",
            "config",
            "x509_trusted_certs",
            "x509_trusted_cert_paths",
        }
    )

    @classmethod
    def arguments(cls, address: SplitResult, given: Arguments, timeout: float) -> Arguments:
        check_names(given, asyncssh.SSHClientConnectionOptions.prepare, SSHFileSystem)
        if not address.hostname or not address.path.strip("/"):
            raise ValueError("the URL wants a host and a folder: sftp://nas.example.org/srv/drive")
        arguments = {
            "host": address.hostname,
            "port": address.port or 22,
            "username": address.username,
            "known_hosts": None,
            "client_keys": None,
            "config": None,
            "x509_trusted_certs": None,
            "x509_trusted_cert_paths": None,
            "timeout": timeout,
            "connect_timeout": timeout,
            "login_timeout": timeout,
            "keepalive_interval": timeout / KEEPALIVES,
            "keepalive_count_max": KEEPALIVES,
        } | given
        if not arguments["username"]:
            raise ValueError("username is missing, here or in the URL")
        if not arguments["known_hosts"]:
            raise ValueError("known_hosts is missing: a file with the server's key, as ssh-keyscan prints it")
        if not arguments["client_keys"] and not arguments.get("password"):
            raise ValueError("client_keys (a file) or password is missing")
        _check_files(arguments)
        return arguments

    @staticmethod
    def connect(arguments: Arguments) -> Any:
        return _SSHFileSystem(**arguments, skip_instance_cache=True)

    @staticmethod
    def meaning(error: BaseException) -> Meaning | None:
        match error:
            case asyncssh.HostKeyNotVerifiable():
                return StorageRefused, "the server's key is not the one in known_hosts"
            case asyncssh.PermissionDenied():
                return StorageRefused, "the login is refused"
            case asyncssh.SFTPNoSuchFile() | asyncssh.SFTPNoSuchPath():
                return MISSING
            case asyncssh.SFTPFileAlreadyExists():
                return TAKEN
            case asyncssh.SFTPNoSpaceOnFilesystem() | asyncssh.SFTPQuotaExceeded():
                return StorageFull, "no room"
            case asyncssh.SFTPPermissionDenied() | asyncssh.SFTPWriteProtect() | asyncssh.SFTPOpUnsupported():
                return StorageRefused, f"the server refuses ({type(error).__name__})"
            case PermissionError():  # what sshfs makes of a refused login
                return StorageRefused, "the login is refused"
            case asyncssh.Error():
                return StorageUnavailable, type(error).__name__
        return None

    @staticmethod
    def is_broken_by(error: BaseException) -> bool:
        """What the server itself answers leaves the connection as it is."""
        answered = isinstance(error, asyncssh.SFTPError) and not isinstance(
            error, asyncssh.SFTPConnectionLost | asyncssh.SFTPNoConnection | asyncssh.SFTPBadMessage
        )
        return not answered and not isinstance(error, FileNotFoundError | FileExistsError)

    def close(self) -> None:
        self.fs.loop.call_soon_threadsafe(self.fs.client.abort)

    def write(self, path: str, reader: Reader, size: int) -> None:
        with self.fs.open(path, "wb") as file:
            pour(reader, lambda data: file.write(data, **self.limit))
            with suppress(asyncssh.SFTPOpUnsupported):
                file.fsync(**self.limit)

    def rename(self, old: str, new: str) -> None:
        self.fs.mv(old, new, **self.limit)

    def open(self, path: str, start: int, stop: int) -> Reader:
        file = self.fs.open(path, "rb")
        file.seek(start, **self.limit)
        return _Reading(file, self.limit)


class _SSHFileSystem(SSHFileSystem):  # type: ignore[misc]
    """sshfs copies where it cannot rename, opens files without a limit, and its `rmdir` does nothing."""

    rmdir = sync_wrapper(SSHFileSystem._rmdir)

    def __init__(self, host: str, timeout: float, **arguments: Any) -> None:
        self.patience = timeout
        super().__init__(host, timeout=timeout, **arguments)

    async def _cp_file(self, lpath: str, rpath: str, **_: Any) -> None:
        raise PermissionError(errno.EPERM, "the server cannot rename over posix-rename@openssh.com")

    def _open(self, path: str, *arguments: Any, **more: Any) -> "_SSHFile":
        return _SSHFile(self, path, *arguments, **more)


class _SSHFile(SSHFile):  # type: ignore[misc]
    _closed: bool

    async def _open_file(self) -> Any:
        return await asyncio.wait_for(super()._open_file(), self.fs.patience)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._close(timeout=self.fs.patience)


class _Reading:
    def __init__(self, file: Any, limit: Arguments) -> None:
        self._file, self._limit = file, limit

    def read(self, size: int, /) -> bytes:
        data: bytes = self._file.read(size, **self._limit)
        return data

    def close(self) -> None:
        self._file.close()


def _check_files(arguments: Arguments) -> None:
    """Raises ValueError for a key or list of keys that cannot be read."""
    told = {name: arguments[name] for name in ("client_keys", "passphrase") if name in arguments}
    try:
        asyncssh.read_known_hosts(arguments["known_hosts"])
        asyncssh.SSHClientConnectionOptions(config=None, known_hosts=None, **told)
    except OSError as error:
        raise ValueError(f"known_hosts or client_keys cannot be read: {error.strerror}") from None
    except (ValueError, TypeError) as error:
        raise ValueError(f"known_hosts or client_keys cannot be used: {type(error).__name__}") from None
