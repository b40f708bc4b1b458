"""One logged-in FTP connection, and what each question to it means where servers differ.

Replies that a question expects become values here (550 to SIZE is None). Every other one raises, as ftplib
has it, and the session is then to be dropped: nobody knows what the server will say next. This module
repeats nothing and knows no keys.
"""

# ruff: noqa: S321 (FTP is what this is for)

import ftplib
import posixpath
import re
import socket
import time
from collections.abc import Callable
from contextlib import suppress

from simpledrive.storage.ftp.protocol import PlainFTP, code
from simpledrive.storage.ftp.transfers import Receiving, Sending

MISSING_OR_FORBIDDEN = {"550"}
NO_FOLDER = {"550", "553", "451", "450"}
"""What STOR and RNTO into a missing folder are answered with: 451 and 450 only claim to be temporary."""
THERE_OR_FORBIDDEN = {"550", "521", "553"}
NOTHING_TO_LIST = {"550", "450"}
SIZE = re.compile(r"213 +([0-9]{1,18})\s*")


class Session:
    """A connection that is logged in and in TYPE I for good. Paths are relative to the base folder."""

    def __init__(self, ftp: PlainFTP, base: str) -> None:
        """`base` as configured: a path, or one below the folder that the login leads to."""
        self._ftp, self.begun = ftp, time.monotonic()
        ftp.voidcmd("TYPE I")
        self._base = base if base.startswith("/") else posixpath.join(_home(ftp), base)

    def in_step(self) -> bool:
        """Whether it may be used again: the server has said nothing unasked."""
        return self._ftp.in_step()

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
        said = SIZE.fullmatch(reply)
        if said is None:
            raise ftplib.error_reply(reply[:3])
        return int(said[1])

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

    def store(self, path: str, make_folder: Callable[[], None]) -> Sending:
        """The way into a new file. Where the folder may be missing it is made, and this done again."""
        command = f"STOR {self._at(path)}"
        data = self._expect_data(command, NO_FOLDER)
        if data is None:
            make_folder()
            data = self._ftp.transfercmd(command)
        return Sending(self._ftp, data)

    def fetch(self, path: str, start: int) -> Receiving | None:
        """The bytes of a file from `start` on, which is not past its end; None if there is no such file."""
        data = self._expect_data(f"RETR {self._at(path)}", MISSING_OR_FORBIDDEN, start or None)
        if data is None:
            self._confirm_missing(path)
            return None
        return Receiving(self._ftp, data)

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
            return self._ftp.transfercmd(command, start)
        except (ftplib.error_perm, ftplib.error_temp) as error:
            if code(error) not in expected:
                raise
            return None

    def _enter(self, folder: str) -> bool:
        return self._expect(f"CWD {folder}", MISSING_OR_FORBIDDEN) is not None

    def _names(self) -> list[str]:
        """Of the folder that was entered: without an argument, which some servers take for a pattern."""
        data = self._expect_data("NLST", NOTHING_TO_LIST)
        if data is None:
            return []
        with Receiving(self._ftp, data) as listing:
            return [posixpath.basename(line) for line in listing.lines()]

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


def _home(ftp: PlainFTP) -> str:
    """The folder that the login leads to. Guessing it would be to look for objects where none are."""
    home = ftp.pwd()
    if not home or re.search(r"[\0\r\n]", home):
        raise ftplib.error_proto("PWD without a folder")
    return home
