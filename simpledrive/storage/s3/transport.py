"""HTTP connections to one server: those of requests' adapter, made lighter for many small objects.

The adapter says how the server is connected to and whose certificates count, and its pool keeps connections.
On these a request leaves in one piece, with its body if that is small, and the head of an answer is taken in
one piece. The usual way, a line at a time and through the parser for mail, takes longer than all else that is
done for 64 KiB. An answer whose head looks in any way unusual still goes that way.

No answer is waited for without end, however it trickles, and none has a part that is as long as it likes.
"""

import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from http import HTTPStatus
from http.client import HTTPException, RemoteDisconnected, parse_headers
from http.client import HTTPResponse as Body
from io import BufferedReader, RawIOBase
from math import inf
from pathlib import Path
from socket import SHUT_RDWR, socket
from time import monotonic
from typing import TYPE_CHECKING, Any, Literal, cast

from requests import PreparedRequest
from requests.adapters import HTTPAdapter
from requests.structures import CaseInsensitiveDict
from urllib3 import HTTPConnectionPool, HTTPHeaderDict, HTTPResponse, Timeout
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

STATUS = re.compile(r"HTTP/1\.1 ([2-5]\d\d)(?: (.*))?")
LENGTH = re.compile(r"[0-9]{1,18}")
CHUNK_SIZE = re.compile(rb"[0-9A-Fa-f]{1,16}")
WITHOUT_BODY = {HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED}


class Transport:
    """Sends requests to one server, from several threads. Connections are made when needed.

    Raises what urllib3 and the system raise. Repeats nothing, follows nothing and reads no environment.
    """

    def __init__(self, origin: str, ca_bundle: Path | None) -> None:
        adapter = HTTPAdapter(pool_connections=1, pool_maxsize=CONNECTIONS)
        verify = str(ca_bundle) if ca_bundle else True
        anything = PreparedRequest()
        anything.method, anything.url, anything.headers = "GET", f"{origin}/", CaseInsensitiveDict()
        self._pool = cast(HTTPConnectionPool, adapter.get_connection_with_tls_context(anything, verify))
        adapter.cert_verify(self._pool, origin, verify, None)  # type: ignore[no-untyped-call]
        self._pool.ConnectionCls = TlsConnection if origin.startswith("https:") else PlainConnection

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
        response = self._pool.urlopen(
            method,
            target,
            body,
            headers,
            retries=False,
            redirect=False,
            assert_same_host=False,
            timeout=timeout,
            preload_content=False,
            decode_content=False,
        )
        return cast(Response, response)

    def close(self) -> None:
        self._pool.close()


class Response(HTTPResponse):
    """An answer, its head read and its body on its way."""

    def __init__(self, body: "_Body", method: str, url: str) -> None:
        super().__init__(
            body=body,
            headers=body.found if body.found is not None else HTTPHeaderDict(body.headers.items()),
            status=body.status,
            version=body.version,
            version_string=f"HTTP/{body.version / 10}",
            reason=body.reason,
            preload_content=False,
            decode_content=False,
            original_response=body,
            enforce_content_length=True,
            request_method=method,
            request_url=url,
        )
        self._incoming = body.incoming

    def take_time(self) -> None:
        """From now on the body may take as long as it needs, if it comes at SLOWEST or faster."""
        self._incoming.take_time()

    def stop(self) -> None:
        """Ends the transfer, from any thread: who waits for more of it waits no longer."""
        self._incoming.stop()


class PlainConnection(HTTPConnection):
    """A connection that sends a request and its small body at once."""

    _asked = ("", "")

    def request(
        self,
        method: str,
        url: str,
        body: Any = None,
        headers: Mapping[str, Any] | None = None,
        **_options: object,
    ) -> None:
        if self.sock is None:
            self.connect()
        else:
            self.sock.settimeout(self.timeout)
        self._asked = method, url
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

    def getresponse(self) -> Response:  # type: ignore[override]  # as urllib3's own
        method, url = self._asked
        body = _Body(_Incoming(self.sock, cast(float, self.timeout)), method)
        try:
            body.begin()
        except BaseException:
            body.close()
            raise
        if body.will_close:
            self.close()  # the answer keeps the socket for as long as it is read
        return Response(body, method, url)


class TlsConnection(PlainConnection, HTTPSConnection):
    """The same, with TLS."""


class _Body(Body):
    """http.client's answer, whose head is taken in one piece if it came so and is of the usual kind.

    Then `found` holds its headers.
    """

    def __init__(self, incoming: "_Incoming", method: str) -> None:
        super().__init__(cast(socket, incoming), method=method)
        self.incoming = incoming
        self.found: HTTPHeaderDict | None = None
        self._bodiless = method == "HEAD"

    def begin(self) -> None:
        start: bytes = self.fp.peek(1)
        head, end, _ = start.partition(b"\r\n\r\n")
        if not end or not self._take(head.decode("latin-1").split("\r\n")):
            super().begin()
            if self.incoming.ended:  # for http.client that is where the headers end, too
                raise RemoteDisconnected("the connection ended within the head of an answer")
            return
        self.fp.read(len(head) + len(end))

    def _take(self, lines: list[str]) -> bool:
        """Whether this is a head as nearly all are: of known length, and without a word on the connection."""
        headers = HTTPHeaderDict()
        for line in lines[1:]:
            name, colon, value = line.partition(":")
            if not colon or not name or name.strip() != name:
                return False
            headers.add(name, value.strip())
        status, length = STATUS.fullmatch(lines[0]), headers.get("Content-Length", "")
        if status is None or "Connection" in headers or "Transfer-Encoding" in headers:
            return False
        if int(status[1]) in WITHOUT_BODY or self._bodiless:
            self.length = 0
        elif LENGTH.fullmatch(length):
            self.length = int(length)
        else:
            return False
        self.status = self.code = int(status[1])
        self.reason, self.version = status[2] or "", 11
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
