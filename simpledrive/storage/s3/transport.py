"""HTTP connections to one server: those of requests' adapter, made lighter for many small objects.

The adapter says how the server is connected to and whose certificates count. On its connections a request
leaves in one piece, with its body if that is small, and the head of an answer is taken in one piece. The
usual way, a line at a time and through the parser for mail, takes longer than all else that is done for
64 KiB. An answer whose head looks in any way unusual still goes that way.

No answer is waited for without end, however it trickles, and none has a part that is as long as it likes.
"""

import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from http import HTTPStatus
from http.client import HTTPException, RemoteDisconnected, parse_headers
from http.client import HTTPResponse as Body
from io import BufferedReader, RawIOBase
from math import inf
from pathlib import Path
from socket import SHUT_RDWR, socket
from time import monotonic
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast
from weakref import finalize

from requests import PreparedRequest
from requests.adapters import HTTPAdapter
from requests.structures import CaseInsensitiveDict
from urllib3 import HTTPConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ProtocolError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

CONNECTIONS = 256
"""Kept open at most while nobody uses them: the threads of a server process, each with some parts."""

TAKEN_AT_ONCE = 80 << 10
"""Room for the head of an answer and a small body behind it."""

SLOWEST = 1 << 10
"""Bytes a second. What comes more slowly, for as long as the timeout, is taken for stalled."""

MOST_INTERIM = 10
"""Answers before the answer: 100 Continue, 103 Early Hints."""
MOST_TRAILERS = 100
MOST_OF_A_LINE = 64 << 10

STATUS = re.compile(r"HTTP/1\.1 ([2-5]\d\d)(?: [^\r\n]*)?")
FIELD = re.compile(r"\r\n([^:\s]+):[ \t]*([^\r\n]*)")
LENGTH = re.compile(r"[0-9]{1,18}")
CHUNK_SIZE = re.compile(rb"[0-9A-Fa-f]{1,16}")
WITHOUT_BODY = {HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED}


class Timeout(NamedTuple):
    """Seconds for a connection, and for an answer."""

    connect: float
    read: float


class Headers(Mapping[str, str]):
    """Header names in any spelling; those that come several times have their values joined."""

    def __init__(self, fields: Iterable[tuple[str, str]]) -> None:
        self._fields: dict[str, str] = {}
        for name, value in fields:
            name, value = name.lower(), value.strip()
            self._fields[name] = f"{self._fields[name]}, {value}" if name in self._fields else value

    def __getitem__(self, name: str) -> str:
        return self._fields[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)


class Transport:
    """Sends requests to one server, from several threads. Connections are made when needed.

    Raises what urllib3 and the system raise. Repeats nothing, follows nothing and reads no environment.
    """

    def __init__(self, origin: str, ca_bundle: Path | None) -> None:
        adapter = HTTPAdapter()
        verify = str(ca_bundle) if ca_bundle else True
        anything = PreparedRequest()
        anything.method, anything.url, anything.headers = "GET", f"{origin}/", CaseInsensitiveDict()
        self._pool = cast(HTTPConnectionPool, adapter.get_connection_with_tls_context(anything, verify))
        adapter.cert_verify(self._pool, origin, verify, None)  # type: ignore[no-untyped-call]
        self._pool.ConnectionCls = TlsConnection if origin.startswith("https:") else PlainConnection
        self._idle, self._room = deque[PlainConnection](), CONNECTIONS
        finalize(self, _close, self._idle)  # a drive that nobody closes leaves no sockets behind either

    def send(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str],
        body: bytes | Iterable[bytes] | None,
        timeout: Timeout,
    ) -> "Response":
        """An answer, whatever it is, whose body is still to be read. All goes out as it is given here.

        Head and body have to come within the timeout for reading, of which only waiting counts. The
        connection is used again once the body has been read to its end.
        """
        connection = self._idle_connection() or cast(PlainConnection, self._pool._new_conn())
        try:
            connection.timeout = timeout.connect
            if connection.is_closed:
                connection.connect()
            # A server may close behind an answer that it gave early: that is still there to be read.
            with suppress(BrokenPipeError, ConnectionResetError):
                connection.request(method, target, body, headers)
            return Response(connection.answer(method, timeout.read), connection, self._keep)
        except HTTPException as error:
            connection.close()
            raise ProtocolError("Connection aborted.", error) from error
        except BaseException:
            connection.close()
            raise

    def close(self) -> None:
        self._room = 0
        _close(self._idle)

    def _idle_connection(self) -> "PlainConnection | None":
        """The one that was used last; closed if the server has closed it, or said something unasked."""
        with suppress(IndexError):
            connection = self._idle.pop()
            if not connection.is_connected:
                connection.close()
            return connection
        return None

    def _keep(self, connection: "PlainConnection") -> None:
        if len(self._idle) < self._room:
            self._idle.append(connection)
        else:
            connection.close()


def _close(idle: deque["PlainConnection"]) -> None:
    while idle:
        idle.pop().close()


class Response:
    """An answer, its head read and its body on its way. At the end of that `keep` is given its connection."""

    def __init__(
        self, body: "_Body", connection: "PlainConnection", keep: Callable[["PlainConnection"], None]
    ) -> None:
        self._body, self._keep = body, keep
        self._connection: PlainConnection | None = connection
        self.status: int = body.status
        self.headers = body.found if body.found is not None else Headers(body.headers.items())

    def read(self, size: int | None = None) -> bytes:
        """Up to so many bytes, or all; b"" only at the end. Raises if the connection ends before it."""
        if self._connection is None:
            return b""
        try:
            data = self._body.read(size)
            if self._body.isclosed():
                if self._body.length:
                    raise ProtocolError(f"Connection broken: {self._body.length} bytes are missing.")
                self._keep(self._connection)
                self._connection = None
        except HTTPException as error:
            self.close()
            raise ProtocolError("Connection broken.", error) from error
        except BaseException:
            self.close()
            raise
        return data

    def close(self) -> None:
        """Gives up what was not read, and its connection with it."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
            self._body.close()

    def take_time(self) -> None:
        """From now on the body may take as long as it needs, if it comes at SLOWEST or faster."""
        self._body.incoming.take_time()

    def stop(self) -> None:
        """Ends the transfer, from any thread: who waits for more of it waits no longer."""
        self._body.incoming.stop()


class PlainConnection(HTTPConnection):
    """A connection that sends a request and its small body at once."""

    def request(
        self,
        method: str,
        url: str,
        body: Any = None,
        headers: Mapping[str, Any] | None = None,
        **_options: object,
    ) -> None:
        self.sock.settimeout(self.timeout)
        lines = [f"{method} {url} HTTP/1.1", *(f"{name}: {value}" for name, value in (headers or {}).items())]
        head = "\r\n".join([*lines, "\r\n"]).encode("latin-1")
        if head.count(b"\n") != len(lines) + 1:
            raise ProtocolError("a line break in a header")
        if body is None or isinstance(body, bytes):
            self.sock.sendall(head + (body or b""))
            return
        self.sock.sendall(head)
        for portion in body:
            self.sock.sendall(portion)

    def answer(self, method: str, seconds: float) -> "_Body":
        """The answer to what was just sent, its head read; it is waited for so many seconds in all."""
        body = _Body(_Incoming(self.sock, seconds), method)
        try:
            body.begin()
        except BaseException:
            body.close()
            raise
        if body.will_close:
            self.close()  # the answer keeps the socket for as long as it is read
        return body


class TlsConnection(PlainConnection, HTTPSConnection):
    """The same, with TLS."""


class _Body(Body):
    """http.client's answer, whose head is taken in one piece if it came so and is of the usual kind.

    Then `found` holds its headers.
    """

    def __init__(self, incoming: "_Incoming", method: str) -> None:
        super().__init__(cast(socket, incoming), method=method)
        self.incoming = incoming
        self.found: Headers | None = None
        self._bodiless = method == "HEAD"

    def begin(self) -> None:
        start: bytes = self.fp.peek(1)
        head, end, _ = start.partition(b"\r\n\r\n")
        if not end or not self._take(head.decode("latin-1")):
            super().begin()
            if self.incoming.ended:  # for http.client that is where the headers end, too
                raise RemoteDisconnected("the connection ended within the head of an answer")
            return
        self.fp.read(len(head) + len(end))

    def _take(self, head: str) -> bool:
        """Whether this is a head as nearly all are: of known length, and without a word on the connection."""
        status, fields = STATUS.match(head), FIELD.findall(head)
        lines = head.count("\n")
        if status is None or not lines == head.count("\r") == len(fields):
            return False
        headers = Headers(fields)
        length = headers.get("Content-Length", "")
        if "Connection" in headers or "Transfer-Encoding" in headers:
            return False
        if int(status[1]) in WITHOUT_BODY or self._bodiless:
            self.length = 0
        elif LENGTH.fullmatch(length):
            self.length = int(length)
        else:
            return False
        self.status = self.code = int(status[1])
        self.version = 11
        self.chunked = self.will_close = False
        self.found = headers
        return True

    def _read_status(self) -> tuple[str, int, str]:
        """The first line of the answer. http.client knows of one kind only that may come before it."""
        for _ in range(MOST_INTERIM + 1):
            version, status, reason = super()._read_status()  # type: ignore[misc]  # typeshed has it not
            if status >= HTTPStatus.OK:
                return version, status, reason
            if status == HTTPStatus.SWITCHING_PROTOCOLS:
                raise HTTPException("the server speaks another protocol from here on")
            parse_headers(self.fp)
        raise HTTPException(f"more than {MOST_INTERIM} answers came before the answer")

    def _read_next_chunk_size(self) -> int:
        """http.client takes `-1`, which means all that ever comes."""
        line = self.fp.readline(MOST_OF_A_LINE)
        size = line.partition(b";")[0].strip()
        if not line.endswith(b"\n") or not CHUNK_SIZE.fullmatch(size):
            raise HTTPException("the size of a chunk is not readable")
        return int(size, 16)

    def _read_and_discard_trailer(self) -> None:
        for _ in range(MOST_TRAILERS + 1):
            line = self.fp.readline(MOST_OF_A_LINE)
            if line in (b"\r\n", b"\n", b""):
                return
        raise HTTPException(f"more than {MOST_TRAILERS} lines came behind the body")


class _Incoming(RawIOBase):
    """What comes by a connection, which is waited for `seconds` in all, or longer once it may `take_time`.

    Stands in for the connection where http.client makes a file of it.
    """

    def __init__(self, connection: socket, seconds: float) -> None:
        self._connection = connection
        self._held = connection.makefile("rb", buffering=0)  # the connection's owner may close it meanwhile
        self._seconds = self._left = seconds
        self._owed = inf
        self.ended = False

    def makefile(self, _mode: Literal["rb"]) -> BufferedReader:
        return BufferedReader(self, TAKEN_AT_ONCE)

    def take_time(self) -> None:
        self._left, self._owed = self._seconds, SLOWEST * self._seconds

    def stop(self) -> None:
        if not self.closed:
            with suppress(OSError):
                socket.shutdown(self._connection, SHUT_RDWR)  # that of TLS itself is not safe from threads

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        if self._left <= 0:
            raise TimeoutError
        self._connection.settimeout(self._left)
        began = monotonic()
        count = self._connection.recv_into(buffer)
        self._left -= monotonic() - began
        self._owed -= count
        self.ended = not count
        if self._owed <= 0:
            self.take_time()
        return count

    def close(self) -> None:
        self._held.close()
        super().close()
