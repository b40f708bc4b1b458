"""ftplib's connection with what it lacks: each reply has a limit and a deadline, and no error its text.

Replies are read through a buffer of our own, in which one that nobody asked for is seen.
"""

# ruff: noqa: S321 (FTP is what this is for)

import ftplib
import re
import select
import socket
import ssl
from typing import Any

from simpledrive.storage.ftp.patience import Patience

LONGEST_REPLY = 64 << 10
"""Bytes, all lines together: servers greet with pages, but not with books."""
STEP = 4 << 10
REFUSALS = {"4": ftplib.error_temp, "5": ftplib.error_perm}


class PlainFTP(ftplib.FTP):
    """ftplib's, but a reply's text is in no error: it may name paths, or echo what the server was sent.

    In active mode it listens where the server sees it, and to nobody but the server.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._unread = bytearray()

    @property
    def control(self) -> socket.socket:
        if self.sock is None:
            raise EOFError
        return self.sock

    def in_step(self) -> bool:
        """Whether the server has said nothing unasked: no 421, no second reply, and no farewell."""
        if self._unread or (isinstance(self.control, ssl.SSLSocket) and self.control.pending()):
            return False
        poll = select.poll()
        poll.register(self.control, select.POLLIN)
        return not poll.poll(0)

    def putline(self, line: str) -> None:
        # What is unread would be taken for the reply to this. Behind AUTH TLS it was even said in clear.
        if self._unread:
            raise ftplib.error_proto("a reply that nobody asked for")
        super().putline(line)

    def getmultiline(self) -> str:
        """A whole reply, which has the connection's timeout for all of its lines together."""
        lines: list[str] = []
        room = LONGEST_REPLY
        with Patience(self.control) as patience:
            while not lines or not _is_whole(lines):
                line = self._next_line(room, patience)
                room -= len(line)
                lines.append(line.decode(self.encoding).rstrip("\r\n"))
        return "\n".join(lines)

    def getresp(self) -> str:
        reply = self.getmultiline()
        if not re.match(r"[1-5][0-9][0-9]", reply):
            raise ftplib.error_proto("not a reply")
        if refusal := REFUSALS.get(reply[0]):
            raise refusal(reply[:3])
        return reply

    def voidresp(self) -> str:
        reply = self.getresp()
        if reply[0] != "2":
            raise ftplib.error_reply(reply[:3])
        return reply

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

    def makepasv(self) -> tuple[str, int]:
        try:
            return super().makepasv()
        except (ftplib.error_reply, ftplib.error_proto):
            # Not from the error, which holds the whole reply.
            raise ftplib.error_proto("no address that data can go to") from None

    def transfercmd(self, cmd: str, rest: int | str | None = None) -> socket.socket:
        """The data connection of a transfer that has begun. No hint of its size is looked for."""
        if self.passiveserver:
            data = socket.create_connection(self.makepasv(), self.timeout)
        else:
            data = self.makeport()
        try:
            if rest is not None:
                self.sendcmd(f"REST {rest}")
            self._begin(cmd)
            if not self.passiveserver:
                data = self._accept(data)
            # Else the few bytes that end TLS wait 40 ms for the acknowledgement of those before.
            data.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except BaseException:
            data.close()
            raise
        return data

    def _begin(self, command: str) -> None:
        reply = self.sendcmd(command)
        if reply[0] == "2":  # some servers say that they have understood, before they say that they begin
            reply = self.getresp()
        if reply[0] != "1":
            raise ftplib.error_reply(reply[:3])

    def _accept(self, listening: socket.socket) -> socket.socket:
        with listening:
            data, (host, *_) = listening.accept()
        if host != self.control.getpeername()[0]:
            data.close()
            raise ftplib.error_proto("a stranger came to the data connection")
        data.settimeout(self.timeout)
        return data

    def _next_line(self, room: int, patience: Patience) -> bytes:
        while not (end := self._unread.find(b"\n") + 1) and len(self._unread) < room:
            patience.wait()
            data = self.control.recv(STEP)
            if not data:
                raise EOFError
            self._unread += data
        if not 0 < end <= room:
            raise ftplib.error_proto("a reply without an end")
        line = bytes(self._unread[:end])
        del self._unread[:end]
        return line


class SecureFTP(PlainFTP, ftplib.FTP_TLS):
    """With TLS, whose data connections take up the session of the control connection.

    vsftpd and ProFTPD refuse others: so they know that both come from one client.
    """

    def transfercmd(self, cmd: str, rest: int | str | None = None) -> socket.socket:
        data = PlainFTP.transfercmd(self, cmd, rest)
        session = self.control.session if isinstance(self.control, ssl.SSLSocket) else None
        return self.context.wrap_socket(data, server_hostname=self.host, session=session)


def code(error: ftplib.Error) -> str:
    """The three digits of the reply that raised it."""
    return str(error)[:3]


def _is_whole(lines: list[str]) -> bool:
    """RFC 959, 4.2: a reply whose code is followed by a hyphen ends with the line that has a space there."""
    return lines[-1][:3] == lines[0][:3] and lines[-1][3:4] != "-"
