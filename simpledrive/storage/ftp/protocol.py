"""ftplib's connection with what it lacks, and what a reply's code is."""

# ruff: noqa: S321 (FTP is what this is for)

import ftplib
import socket
import ssl


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


def code(error: ftplib.Error) -> str:
    """A reply's three digits. Its text is the server's: it may name paths, or echo what it was sent."""
    return str(error)[:3]
