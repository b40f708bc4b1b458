"""One client's connection: its head comes in without a thread, its body no slower than the least pace."""

from __future__ import annotations

import re
import ssl
import time
from typing import Any

from gunicorn.http import message
from gunicorn.http.body import LengthReader
from gunicorn.http.errors import (
    InvalidHeader,
    InvalidRequestLine,
    LimitRequestHeaders,
    LimitRequestLine,
    NoMoreData,
)
from gunicorn.http.parser import RequestParser
from gunicorn.http.unreader import SocketUnreader
from gunicorn.sock import ssl_wrap_socket
from gunicorn.workers.gthread import TConn

from simpledrive.http.connection import ANSWER_SECONDS, LEAST_BYTES

HEAD_BYTES = 64 << 10
"""The most bytes of a head: what each connection may make the server keep without asking for anything."""

STEP = 8 << 10
"""As gunicorn reads: its limits on lines between chunks count on no more being there already."""

_END = b"\r\n\r\n"
_BARE_LF = re.compile(rb"(?<!\r)\n")
_BEGINNING = re.compile(rb"[!-~\r\n]")


class Connection(TConn):  # type: ignore[misc]
    """gunicorn's, in two phases: `receive` never blocks; `begin` hands over to its blocking parser."""

    def __init__(self, cfg: Any, sock: Any, client: Any, server: Any) -> None:
        super().__init__(cfg, sock, client, server)
        self.sock: Any = self.sock
        self.parser: Any = None
        if cfg.is_ssl:
            self.sock = ssl_wrap_socket(self.sock, cfg)  # the first `receive` shakes hands
        self.received = bytearray()
        self.deadline = 0.0
        self.to_drain = 0
        self.ended = False
        self._searched = 0

    def receive(self) -> bool:
        """Takes what has come, without blocking. Whether the parser can decide about the head now.

        Raises NoMoreData when the client has ended, gunicorn's ParseException for a head that is too long or
        none at all, OSError when the connection is broken.
        """
        while not self._is_decidable():
            try:
                data = self.sock.recv(min(STEP, HEAD_BYTES - len(self.received)))
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return False
            if not data:
                raise NoMoreData
            self.received += data
        return True

    def _is_decidable(self) -> bool:
        received, start = self.received, max(0, self._searched - len(_END) + 1)
        self._searched = len(received)
        # gunicorn refuses a bare LF as soon as it sees one; all else it would wait for the end of.
        if received.find(_END, start) >= 0 or _BARE_LF.search(received, start):
            return True
        if received and not _BEGINNING.match(received):
            raise InvalidRequestLine("")  # TLS on a port without it, mostly: its end would never come
        if received.find(b"\r\n", 1) < 0 and len(received) > self.cfg.limit_request_line + len(_END):
            raise LimitRequestLine(len(received), self.cfg.limit_request_line)
        if len(received) >= HEAD_BYTES:
            raise LimitRequestHeaders("")
        return False

    def begin(self, seconds: float) -> None:
        """Makes gunicorn's parser read what was received. From here on the socket blocks."""
        self.sock.settimeout(ANSWER_SECONDS)
        if self.parser is None:
            self.parser = Parser(self.cfg, self.sock, self.client)
        self.parser.unreader.begin(bytes(self.received), seconds)
        self.received.clear()
        self._searched = 0

    def take_back(self) -> None:
        """After a request: what has already come of the next one. The socket does not block any more."""
        self.received += self.parser.unreader.take_buffered()
        self.sock.setblocking(False)


class Unreader(SocketUnreader):  # type: ignore[misc]
    """gunicorn's view of the socket. Raises TimeoutError for a body that comes too slowly.

    LEAST_BYTES have to come within each so many seconds of waiting, or the rest of the body if it is less.
    Time that the app takes between two reads does not count.
    """

    def begin(self, received: bytes, seconds: float) -> None:
        """A new request, of which this has come already."""
        self.unread(received)
        self._seconds = seconds
        self._renew()
        self.invites = False

    def _renew(self) -> None:
        self._left, self._came = self._seconds, 0

    @property
    def held(self) -> int:
        """How many bytes have come and were not asked for yet."""
        return int(self.buf.getbuffer().nbytes)

    def chunk(self, size_hint: int | None = None) -> bytes:
        if self.invites:
            self.invites = False
            self.sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        if self._left <= 0:
            raise TimeoutError
        timeout, started = self.sock.gettimeout(), time.monotonic()
        self.sock.settimeout(self._left)
        try:
            data: bytes = super().chunk(size_hint)
        finally:
            self.sock.settimeout(timeout)
            self._left -= time.monotonic() - started
        self._came += len(data)
        if self._came >= LEAST_BYTES:
            self._renew()
        return data


class Request(message.Request):  # type: ignore[misc]
    """gunicorn's, which closes where it cannot know at once where the next request begins.

    gunicorn would promise to keep the connection, wait for what the app did not read, and then cut it.
    """

    def set_body_reader(self) -> None:
        """Asks for a body that waits to be asked for (100-continue) only when somebody reads it."""
        super().set_body_reader()
        if self.version >= (1, 1) and all(name != "HOST" for name, _ in self.headers):
            raise InvalidHeader("HOST")  # RFC 9112, 3.2
        self.unreader.invites = self._expected_100_continue
        self._expected_100_continue: bool = False

    def should_close(self) -> bool:
        if not self._body_is_here():
            self.force_close()  # for good, whatever is read after the answer has begun
        return bool(super().should_close())

    def _body_is_here(self) -> bool:
        reader = self.body.reader
        if self.body.failed:
            return False
        if isinstance(reader, LengthReader):
            return bool(reader.length <= self.unreader.held)
        return reader.parser is None  # chunked, and read to its end


class Parser(RequestParser):  # type: ignore[misc]
    """gunicorn's, of these requests from this kind of socket."""

    mesg_class = Request

    def __init__(self, cfg: Any, sock: Any, client: Any) -> None:
        super().__init__(cfg, sock, client)
        self.unreader = Unreader(sock)
