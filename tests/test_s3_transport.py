"""The connections of buckets: every kind of answer is taken for what it is, whatever way its head comes."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest
from urllib3.exceptions import HTTPError, ProtocolError

from simpledrive.storage.s3.transport import MOST_INTERIM, MOST_TRAILERS, SLOWEST, Timeout, Transport

TIMEOUT = Timeout(connect=2, read=2)
SOON = 0.3
IN_TIME = 2.5
"""What is never waited for to the end lasts longer."""


class Canned:
    """A server that answers each request by the next of `answers`, whose parts go out one by one."""

    pause = 0.001
    """Between the parts, so that they do not leave together."""

    def __init__(self) -> None:
        self.answers: list[list[bytes]] = []
        self.heads: list[bytes] = []
        self.connections = 0
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.origin = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listening.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            self.connections += 1
            with connection, suppress(OSError):
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._answer(connection)

    def _answer(self, connection: socket.socket) -> None:
        while data := connection.recv(1 << 20):
            self.heads.append(data)
            parts = self.answers.pop(0)
            for part in parts:
                connection.sendall(part)
                if len(parts) > 1:
                    threading.Event().wait(self.pause)
            if b"close" in b"".join(parts) or parts[0].startswith(b"HTTP/1.0"):
                return


@pytest.fixture
def server() -> Iterator[Canned]:
    server = Canned()
    yield server
    server.close()


@pytest.fixture
def transport(server: Canned) -> Iterator[Transport]:
    transport = Transport(server.origin, None)
    yield transport
    transport.close()


USUAL = b'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nETag: "x"\r\n\r\nabcde'
ANSWERS = {
    "usual": [USUAL],
    "byte by byte": [USUAL[at : at + 1] for at in range(len(USUAL))],
    "head and body apart": [USUAL[:-5], USUAL[-5:]],
    "without a reason": [USUAL.replace(b"200 OK", b"200")],
    "small letters": [USUAL.replace(b"Content-Length", b"content-length").replace(b"ETag", b"etag")],
    "no space, and much": [USUAL.replace(b": 5", b":5").replace(b': "x"', b':   \t"x"  ')],
    "chunked": [
        b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nETag: "x"\r\n\r\n2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n'
    ],
    "told to close": [USUAL.replace(b"ETag", b"Connection: close\r\nETag")],
    "of no told length": [USUAL.replace(b"Content-Length: 5", b"Connection: close")],
    "HTTP/1.0": [USUAL.replace(b"HTTP/1.1", b"HTTP/1.0")],
    "continued": [b"HTTP/1.1 100 Continue\r\n\r\n" + USUAL],
    "hinted at": [b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n", USUAL],
    "announced often": [b"HTTP/1.1 102 Processing\r\n\r\n" * MOST_INTERIM + USUAL],
    "with trailers": [
        b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nETag: "x"\r\n\r\n'
        b"5 ;a=b\r\nabcde\r\n0\r\n" + b"A: b\r\n" * MOST_TRAILERS + b"\r\n"
    ],
    "folded": [USUAL.replace(b"ETag", b"X-Long: one\r\n two\r\nETag")],
    "bare line feeds": [USUAL.replace(b"\r\n", b"\n")],
    "long": [USUAL.replace(b"ETag", b"X-Long: " + b"x" * 30_000 + b"\r\nETag")],
}


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_is_what_it_is_however_it_comes(server: Canned, transport: Transport, name: str) -> None:
    server.answers = [ANSWERS[name], [USUAL]]
    for _ in range(2):
        answer = transport.send("GET", "/key", {"Host": "here"}, None, TIMEOUT)
        assert (answer.status, answer.headers["etag"]) == (200, '"x"')
        assert answer.read(100) == b"abcde"
        assert answer.read(100) == b""
    closes = name in ("told to close", "of no told length", "HTTP/1.0")
    assert server.connections == (2 if closes else 1), "a connection is used again unless it was closed"


@pytest.mark.parametrize(
    ("method", "answer"),
    [
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"),
        ("DELETE", b"HTTP/1.1 204 No Content\r\n\r\n"),
        ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n"),
        ("PUT", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ],
)
def test_an_answer_without_a_body_has_none(
    server: Canned, transport: Transport, method: str, answer: bytes
) -> None:
    server.answers = [[answer], [USUAL]]
    assert transport.send(method, "/key", {}, None, TIMEOUT).read(100) == b""
    assert transport.send("GET", "/key", {}, None, TIMEOUT).read(100) == b"abcde"
    assert server.connections == 1


@pytest.mark.parametrize(
    "answer",
    [
        b"close",
        b"HTTP/1.1 abc OK\r\nConnection: close\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\nabc close",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-",
        b"HTTP/1.1 204 No Content\r\nConnection: close\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * (MOST_INTERIM + 1) + USUAL + b"close",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n" + USUAL + b"close",
    ],
    ids=[
        "no HTTP",
        "no status",
        "a body cut short",
        "half a header",
        "headers without an end",
        "one announcement too many",
        "another protocol",
    ],
)
def test_what_is_no_whole_answer_raises(server: Canned, transport: Transport, answer: bytes) -> None:
    server.answers = [[answer]]
    with pytest.raises(HTTPError):
        transport.send("GET", "/key", {}, None, TIMEOUT).read()


@pytest.mark.parametrize("size", [b"-1", b"-5", b"", b"+5", b"0x5", b"5_0", b"F" * 17, b"5 " * 40_000])
def test_a_chunk_is_as_long_as_it_says_or_an_error(server: Canned, transport: Transport, size: bytes) -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    server.answers = [[head + size + b"\r\n" + b"close" * 1000]]
    with pytest.raises(ProtocolError, match="the size of a chunk is not readable"):
        transport.send("GET", "/key", {}, None, TIMEOUT).read(100)


def test_no_trailers_go_on_for_ever(server: Canned, transport: Transport) -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n"
    server.answers = [[head + b"A: close\r\n" * (MOST_TRAILERS + 1) + b"\r\n"]]
    with pytest.raises(ProtocolError, match="lines came behind the body"):
        transport.send("GET", "/key", {}, None, TIMEOUT).read(100)


def test_a_length_of_thousands_of_digits_is_no_length(server: Canned, transport: Transport) -> None:
    server.answers = [[b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\nclose"]]
    assert transport.send("GET", "/key", {}, None, TIMEOUT).read(100) == b"close"


HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"


@pytest.mark.parametrize(
    "parts",
    [
        [b"HTTP/1.1 200 OK\r\nX: ", *[b"x"] * 300],
        [HEAD, *[b"x"] * 300],
        [HEAD, *[b"x" * SLOWEST] * 300],
        [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", *[b"1\r\nx\r\n"] * 300],
    ],
    ids=["head", "body", "body at some pace", "chunks"],
)
def test_an_answer_that_trickles_is_not_waited_for_longer_than_one_that_does_not_come(
    server: Canned, transport: Transport, parts: list[bytes]
) -> None:
    server.pause, server.answers = 0.01, [parts]
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        transport.send("GET", "/key", {}, None, Timeout(connect=2, read=SOON)).read()
    assert time.monotonic() - began < IN_TIME


def test_a_body_that_may_take_its_time_has_to_keep_coming(server: Canned, transport: Transport) -> None:
    server.pause, server.answers = 0.01, [[HEAD, *[b"x" * SLOWEST] * 60, *[b"x"] * 300]]
    began = time.monotonic()
    answer = transport.send("GET", "/key", {}, None, Timeout(connect=2, read=SOON))
    answer.take_time()
    assert answer.read(60 * SLOWEST) == b"x" * 60 * SLOWEST
    assert time.monotonic() - began > SOON
    with pytest.raises(TimeoutError):
        answer.read()
    assert time.monotonic() - began < IN_TIME


def test_who_waits_for_an_answer_that_is_stopped_waits_no_longer(
    server: Canned, transport: Transport
) -> None:
    server.answers = [[HEAD + b"x"]]
    answer = transport.send("GET", "/key", {}, None, TIMEOUT)
    answer.take_time()
    assert answer.read(1) == b"x"
    threading.Timer(0.05, answer.stop).start()
    began = time.monotonic()
    with pytest.raises(ProtocolError):
        answer.read(1000)
    assert time.monotonic() - began < 1


def test_a_request_and_its_small_body_leave_in_one_piece(server: Canned, transport: Transport) -> None:
    server.answers = [[USUAL]]
    transport.send("PUT", "/a/../b%20c?x=", {"Host": "here", "Content-Length": "3"}, b"abc", TIMEOUT).close()
    assert server.heads == [b"PUT /a/../b%20c?x= HTTP/1.1\r\nHost: here\r\nContent-Length: 3\r\n\r\nabc"]


@pytest.mark.parametrize("header", [{"X": "a\r\nY: b"}, {"X\nY": "a"}])
def test_no_header_becomes_two(server: Canned, transport: Transport, header: dict[str, str]) -> None:
    with pytest.raises(ProtocolError, match="a line break in a header"):
        transport.send("GET", "/key", header, None, TIMEOUT)
    assert server.heads == []
