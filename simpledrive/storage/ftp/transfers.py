"""A file's bytes on their data connection, and the server's word behind them on the control connection."""

# ruff: noqa: S321 (FTP is what this is for)

import ftplib
import socket
import ssl
from collections.abc import Iterator
from contextlib import suppress

from simpledrive.storage.ftp.patience import Patience
from simpledrive.storage.ftp.protocol import PlainFTP
from simpledrive.streams.source import Closing

PORTION = 256 << 10
"""Bytes that go to or come from a socket at a time."""
LARGEST_LISTING = 64 << 20
"""Bytes of memory that the names in a folder may take: half a million keys."""
BESIDE_A_NAME = 64
"""Bytes that Python keeps for each."""
PARTING_SECONDS = 2
"""How long a server is waited for that was told of the end by closing the data connection."""


class Sending(Closing):
    """A data connection that bytes go into. Even when `finish` has returned they are to be counted."""

    def __init__(self, ftp: PlainFTP, data: socket.socket) -> None:
        self._ftp, self._data = ftp, data

    def send(self, data: bytes) -> None:
        view = memoryview(data)
        try:
            with Patience(self._data) as patience:
                while view:
                    patience.wait()
                    sent = self._data.send(view[:PORTION])
                    patience.moved(sent)
                    view = view[sent:]
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


class Receiving(Closing):
    """A data connection that bytes come from."""

    def __init__(self, ftp: PlainFTP, data: socket.socket) -> None:
        self._ftp, self._data = ftp, data
        self._portion = memoryview(bytearray(PORTION))

    def read(self, size: int) -> bytes:
        """The next bytes, as many as asked for up to PORTION; fewer or none only at the end."""
        view, filled = self._portion[:size], 0
        with Patience(self._data) as patience:
            while filled < len(view):
                patience.wait()
                got = self._data.recv_into(view[filled:])
                if not got:
                    break
                patience.moved(got)
                filled += got
        return bytes(view[:filled])

    def lines(self) -> Iterator[str]:
        """Each line; behind the last, `finish`. Raises when they would take more than LARGEST_LISTING."""
        taken, rest = 0, b""
        while portion := self.read(PORTION):
            *whole, rest = (rest + portion).split(b"\n")
            taken += len(portion) + BESIDE_A_NAME * len(whole)
            if taken > LARGEST_LISTING:
                raise ftplib.error_proto("a list without an end")
            yield from (line.decode("latin-1").rstrip("\r") for line in whole)
        yield rest.decode("latin-1").rstrip("\r")
        self.finish()

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


def _say_farewell(data: socket.socket) -> None:
    """Ends TLS properly, which is how a server tells the end from a break. Not all answer in kind."""
    if isinstance(data, ssl.SSLSocket):
        with suppress(OSError):
            data.unwrap()
