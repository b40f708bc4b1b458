"""HTTP connections to one server: those of requests' adapter, made lighter for many small objects.

The adapter says how the server is connected to and whose certificates count, and its pool keeps connections.
On these a request leaves in one piece, with its body if that is small, and the head of an answer is taken in
one piece. The usual way, a line at a time and through the parser for mail, takes longer than all else that is
done for 64 KiB. An answer whose head looks in any way unusual still goes that way.
"""

import re
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from http.client import HTTPResponse as Body
from io import BufferedReader
from pathlib import Path
from socket import socket
from typing import Any, Literal, cast

from requests import PreparedRequest
from requests.adapters import HTTPAdapter
from requests.structures import CaseInsensitiveDict
from urllib3 import BaseHTTPResponse, HTTPConnectionPool, HTTPHeaderDict, HTTPResponse, Timeout
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ProtocolError

CONNECTIONS = 256
"""Kept open at most while nobody uses them: the threads of a server process, each with some parts."""

TAKEN_AT_ONCE = 80 << 10
"""Room for the head of an answer and a small body behind it."""

STATUS = re.compile(r"HTTP/1\.1 ([2-5]\d\d)(?: (.*))?")
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
    ) -> BaseHTTPResponse:
        """An answer, whatever it is, whose body is still to be read. All goes out as it is given here.

        The connection is used again once the body has been read to its end.
        """
        return self._pool.urlopen(
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

    def close(self) -> None:
        self._pool.close()


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

    def getresponse(self) -> HTTPResponse:  # type: ignore[override]  # as urllib3's own
        self.sock.settimeout(self.timeout)
        method, url = self._asked
        shutdown = getattr(self.sock, "shutdown", None)
        body = _Body(self.sock, method)
        try:
            body.begin()
        except BaseException:
            body.close()
            raise
        if body.will_close:
            self.close()  # the answer keeps the socket for as long as it is read
        return HTTPResponse(
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
            sock_shutdown=shutdown,
        )


class TlsConnection(PlainConnection, HTTPSConnection):
    """The same, with TLS."""


class _Body(Body):
    """http.client's answer, whose head is taken in one piece if it came so and is of the usual kind.

    Then `found` holds its headers.
    """

    def __init__(self, connection: socket, method: str) -> None:
        super().__init__(cast(socket, _Roomy(connection)), method=method)
        self.found: HTTPHeaderDict | None = None
        self._bodiless = method == "HEAD"

    def begin(self) -> None:
        start: bytes = self.fp.peek(1)
        head, end, _ = start.partition(b"\r\n\r\n")
        if not end or not self._take(head.decode("latin-1").split("\r\n")):
            super().begin()
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
        elif length.isdecimal() and length.isascii():
            self.length = int(length)
        else:
            return False
        self.status = self.code = int(status[1])
        self.reason, self.version = status[2] or "", 11
        self.chunked = self.will_close = False
        self.found = headers
        return True


class _Roomy:
    """A connection as an answer wants it: what makes a file to read from, here with a larger buffer."""

    def __init__(self, connection: socket) -> None:
        self._connection = connection

    def makefile(self, mode: Literal["rb"]) -> BufferedReader:
        return cast(BufferedReader, self._connection.makefile(mode, TAKEN_AT_ONCE))
