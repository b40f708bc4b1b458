"""One logged-in FTP connection, and what each question to it means where servers differ.

Replies that a question expects become values here (550 to SIZE is None). Every other one raises, as ftplib
has it, and the session is then to be dropped: nobody knows what the server will say next. This module
repeats nothing and knows no keys.
"""

# ruff: noqa: S321 (FTP is what this is for)

import ftplib
import posixpath
import select
import socket
import ssl
import time
from collections.abc import Callable
from contextlib import suppress

from simpledrive.streams.source import Closing

PORTION = 256 << 10
"""Bytes that go to or come from a socket at a time: each portion has the whole timeout to itself."""
PARTING_SECONDS = 2
"""How long a server is waited for that was told of the end by closing the data connection."""

MISSING_OR_FORBIDDEN = {"550"}
NO_FOLDER = {"550", "553", "451", "450"}
"""What STOR and RNTO into a missing folder are answered with: 451 and 450 only claim to be temporary."""
THERE_OR_FORBIDDEN = {"550", "521", "553"}
NOTHING_TO_LIST = {"550", "450"}


class PlainFTP(ftplib.FTP):
    """ftplib's, but in active mode it listens where the server sees it, and to nobody but the server."""

    @property
    def control(self) -> socket.socket:
        if self.sock is None:
            raise EOFError
        return self.sock

    def makeport(self) -> socket.socket:
        host = self.control.getsockname()[0]
        listening = socket.create_server((host, 0), family=self.af, backlog=1)
        try:
            listening.settimeout(self.timeout)
            port = listening.getsockname()[1]
            self.sendport(host, port) if self.af == socket.AF_INET else self.sendeprt(host, port)
        except BaseException:
            listening.close()
            raise
        return listening

    def ntransfercmd(self, cmd: str, rest: int | str | None = None) -> tuple[socket.socket, int | None]:
        data, size = ftplib.FTP.ntransfercmd(self, cmd, rest)
        try:
            if not self.passiveserver and data.getpeername()[0] != self.control.getpeername()[0]:
                raise ftplib.error_proto("a stranger came to the data connection")
            # Else the few bytes that end TLS wait 40 ms for the acknowledgement of those before.
            data.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except BaseException:
            data.close()
            raise
        return data, size


class SecureFTP(PlainFTP, ftplib.FTP_TLS):
    """With TLS, whose data connections take up the session of the control connection.

    vsftpd and ProFTPD refuse others: so they know that both come from one client.
    """

    def ntransfercmd(self, cmd: str, rest: int | str | None = None) -> tuple[socket.socket, int | None]:
        data, size = PlainFTP.ntransfercmd(self, cmd, rest)
        session = self.control.session if isinstance(self.control, ssl.SSLSocket) else None
        return self.context.wrap_socket(data, server_hostname=self.host, session=session), size


class Session:
    """A connection that is logged in and in TYPE I for good. Paths are relative to the base folder."""

    def __init__(self, ftp: PlainFTP, base: str) -> None:
        """`base` as configured: a path, or one below the folder that the login leads to."""
        self._ftp, self.begun = ftp, time.monotonic()
        ftp.voidcmd("TYPE I")
        self._base = base if base.startswith("/") else posixpath.join(ftp.pwd() or "/", base)

    def in_step(self) -> bool:
        """Whether the server has said nothing unasked: no 421, and no farewell."""
        poll = select.poll()
        poll.register(self._ftp.control, select.POLLIN)
        return not poll.poll(0)

    def close(self) -> None:
        with suppress(OSError):
            self._ftp.close()

    def size(self, path: str) -> int | None:
        """Bytes of a file; None if there is none."""
        size = self.glance(path)
        if size is None:
            self._confirm_missing(path)
        return size

    def glance(self, path: str) -> int | None:
        """As `size`, but without the second question: None also if the file is forbidden."""
        reply = self._expect(f"SIZE {self._at(path)}", MISSING_OR_FORBIDDEN)
        if reply is None:
            return None
        size = reply[4:].strip()
        if not reply.startswith("213") or not size.isdecimal():
            raise ftplib.error_reply(reply)
        return int(size)

    def names(self, folder: str) -> list[str]:
        """What is in a folder, in no order; nothing if there is none."""
        if self._enter(self._at(folder)):
            return self._names()
        self._confirm_missing(folder)
        return []

    def remove(self, path: str) -> bool:
        """Whether there was such a file. Now there is none."""
        if self._expect(f"DELE {self._at(path)}", MISSING_OR_FORBIDDEN) is not None:
            return True
        self._confirm_missing(path)
        return False

    def rename(self, path: str, to: str, make_folder: Callable[[], None]) -> None:
        """Replaces what has the new name. Where the folder may be missing it is made, and this done again."""
        command = f"RNTO {self._at(to)}"
        self._ftp.sendcmd(f"RNFR {self._at(path)}")
        if self._expect(command, NO_FOLDER) is None:
            make_folder()
            self._ftp.sendcmd(f"RNFR {self._at(path)}")
            self._ftp.voidcmd(command)

    def has_folder(self, path: str) -> bool:
        return self._enter(self._at(path))

    def make_folder(self, path: str) -> bool:
        """Whether it was this call that made it."""
        return self._expect(f"MKD {self._at(path)}", THERE_OR_FORBIDDEN) is not None

    def make_base(self) -> None:
        """Makes the base folder and those above it, as far as they are missing."""
        names = self._base.strip("/").split("/")
        paths = [f"/{'/'.join(names[:end])}" for end in range(1, len(names) + 1)]
        missing: list[str] = []
        while paths and not self._enter(paths[-1]):
            missing.append(paths.pop())
        for path in reversed(missing):
            self._expect(f"MKD {path}", THERE_OR_FORBIDDEN)

    def remove_folder(self, path: str) -> bool:
        """Whether there was such an empty folder, and is none now."""
        return self._expect(f"RMD {self._at(path)}", MISSING_OR_FORBIDDEN) is not None

    def store(self, path: str, make_folder: Callable[[], None]) -> "Upload":
        """The way into a new file. Where the folder may be missing it is made, and this done again."""
        command = f"STOR {self._at(path)}"
        data = self._expect_data(command, NO_FOLDER)
        if data is None:
            make_folder()
            data = self._data(command)
        return Upload(self._ftp, data)

    def fetch(self, path: str, start: int) -> "Download | None":
        """The bytes of a file from `start` on, which is not past its end; None if there is no such file."""
        data = self._expect_data(f"RETR {self._at(path)}", MISSING_OR_FORBIDDEN, start or None)
        if data is None:
            self._confirm_missing(path)
            return None
        return Download(self._ftp, data)

    def _at(self, path: str) -> str:
        return posixpath.join(self._base, path)

    def _expect(self, command: str, expected: set[str]) -> str | None:
        """The server's yes, or None for one of the expected codes."""
        try:
            return self._ftp.voidcmd(command)
        except (ftplib.error_perm, ftplib.error_temp) as error:
            if code(error) not in expected:
                raise
            return None

    def _expect_data(
        self, command: str, expected: set[str], start: int | None = None
    ) -> socket.socket | None:
        """A data connection for the command, or None for one of the expected codes."""
        try:
            return self._data(command, start)
        except (ftplib.error_perm, ftplib.error_temp) as error:
            if code(error) not in expected:
                raise
            return None

    def _data(self, command: str, start: int | None = None) -> socket.socket:
        try:
            return self._ftp.transfercmd(command, start)
        except (ValueError, OverflowError) as error:
            raise ftplib.error_proto("no address that data can go to") from error

    def _enter(self, folder: str) -> bool:
        return self._expect(f"CWD {folder}", MISSING_OR_FORBIDDEN) is not None

    def _names(self) -> list[str]:
        """Of the folder that was entered: without an argument, which some servers take for a pattern."""
        data = self._expect_data("NLST", NOTHING_TO_LIST)
        if data is None:
            return []
        listing = bytearray()
        with Download(self._ftp, data) as download:
            while portion := download.read(PORTION):
                listing += portion
            download.finish()
        return [posixpath.basename(line.rstrip("\r")) for line in listing.decode("latin-1").split("\n")]

    def _confirm_missing(self, path: str) -> None:
        """Returns if what the server has just refused is not there: 550 also says that it is forbidden."""
        at = self._at(path).rstrip("/")
        while at:
            folder, name = posixpath.split(at)
            if self._enter(folder):
                if name in self._names():
                    raise ftplib.error_perm("550 it is there")
                return
            at = folder.rstrip("/")
        raise ftplib.error_perm("550 not even the root")


class Upload(Closing):
    """A data connection that bytes go into. Even when `finish` has returned they are to be counted."""

    def __init__(self, ftp: PlainFTP, data: socket.socket) -> None:
        self._ftp, self._data = ftp, data

    def send(self, data: bytes) -> None:
        view = memoryview(data)
        try:
            while view:
                view = view[self._data.send(view[:PORTION]) :]
        except TimeoutError:
            raise
        except OSError:
            self.close()
            # The server may have said why, that it has no room for instance: then that is raised.
            self._ftp.control.settimeout(PARTING_SECONDS)
            with suppress(OSError, EOFError):
                self._ftp.voidresp()
            raise

    def finish(self) -> None:
        _say_farewell(self._data)
        self.close()
        self._ftp.voidresp()

    def close(self) -> None:
        self._data.close()


class Download(Closing):
    """A data connection that bytes come from."""

    def __init__(self, ftp: PlainFTP, data: socket.socket) -> None:
        self._ftp, self._data = ftp, data
        self._portion = memoryview(bytearray(PORTION))

    def read(self, size: int) -> bytes:
        """The next bytes, as many as asked for up to PORTION; fewer or none only at the end."""
        view, filled = self._portion[:size], 0
        while filled < len(view) and (got := self._data.recv_into(view[filled:])):
            filled += got
        return bytes(view[:filled])

    def finish(self) -> None:
        """Behind the last byte: returns with the server's word that this was all."""
        _say_farewell(self._data)
        self.close()
        self._ftp.voidresp()

    def leave(self, *, at_end: bool) -> None:
        """Returns when the server is in step again, behind the last byte or before it; raises if it is not.

        Before it, the server notices by the closed connection. It answers 426, 451 or, if everything was on
        its way already, 226. Some send a second reply: then that is what NOOP gets, instead of its own.
        """
        patience = self._ftp.control.gettimeout()
        for connection in (self._ftp.control, self._data):
            connection.settimeout(PARTING_SECONDS)
        if at_end:
            self.finish()
        else:
            self.close()
            with suppress(ftplib.error_temp):
                self._ftp.voidresp()
            if not self._ftp.sendcmd("NOOP").startswith("200"):
                raise ftplib.error_reply("NOOP")
        self._ftp.control.settimeout(patience)

    def close(self) -> None:
        self._data.close()


def code(error: ftplib.Error) -> str:
    """A reply's three digits. Its text is the server's: it may name paths, or echo what it was sent."""
    return str(error)[:3]


def _say_farewell(data: socket.socket) -> None:
    """Ends TLS properly, which is how a server tells the end from a break. Not all answer in kind."""
    if isinstance(data, ssl.SSLSocket):
        with suppress(OSError):
            data.unwrap()
