"""What no honest client sends, on raw sockets to a real gunicorn.

Whatever comes: no fault, no hang, no traceback, no half-stored blob; afterwards the server answers and its
staging is empty. That is checked behind every single test.
"""

import json
import random
import re
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import quote, unquote

import pytest
import requests

from simpledrive.streams.pieces import LEAF
from tests.apps import BEARER, TOKEN
from tests.servers import Server, wait_for
from tests.sources import content
from tests.wire import BLOCK, PATIENCE, ask, assert_problem, connected, head, parse, received, send

MIB = 1 << 20
OUTSIDE = "written-outside"
"""What hostile names end with, so that a file of that name would be noticed wherever it is."""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("hostile"), JSON_MAX_BYTES=4 * MIB, MAX_BLOB_BYTES=16 * MIB)
    try:
        server.start()
        wait_for(lambda: len(server.pids()) == 3, "gunicorn and its two workers")
        yield server
    finally:
        server.stop()


@pytest.fixture
def server(running: Server) -> Iterator[Server]:
    """The server, looked at afterwards: it lives, it was calm, and nothing but `kept` is stored."""
    requests.put(f"{running.url}/v1/content/kept", data=b"kept", headers=BEARER, timeout=PATIENCE)
    processes, logged = sorted(running.pids()), len(running.output())
    yield running
    staging = running.folder / "instance" / "blobs" / "staging"
    wait_for(lambda: not list(staging.glob("*")), "an empty staging")
    listed = requests.get(f"{running.url}/v1/blobs", headers=BEARER, timeout=PATIENCE).json()["items"]
    for item in listed:
        requests.delete(
            f"{running.url}/v1/blobs/{quote(item['id'], safe='')}", headers=BEARER, timeout=PATIENCE
        )
    assert [(item["id"], item["size"]) for item in listed] == [("kept", 4)]
    assert {path.name for path in running.folder.iterdir()} == {"instance", "server.log"}
    assert not [path for path in (running.folder / "instance").rglob("*") if OUTSIDE in path.name]
    assert sorted(running.pids()) == processes
    assert "Traceback" not in running.output()[logged:]
    assert "a fault in request" not in running.output()[logged:]


def put(length: int | str, *lines: str, id: str = "x", token: str = TOKEN) -> bytes:
    return head("PUT", f"/v1/content/{id}", f"Content-Length: {length}", *lines, token=token)


def chunked(*lines: str, id: str = "x") -> bytes:
    return head("PUT", f"/v1/content/{id}", "Transfer-Encoding: chunked", *lines)


def chunks(data: bytes, size: int = 100_000) -> bytes:
    parts = [data[at : at + size] for at in range(0, len(data), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)


def delete(server: Server, id: str) -> None:
    assert requests.delete(f"{server.url}/v1/blobs/{id}", headers=BEARER, timeout=PATIENCE).status_code == 204


# --- Bodies that end early


@pytest.mark.parametrize("length", [1, 100, LEAF + 1, 3 * MIB])
@pytest.mark.parametrize("arrived", [0.0, 0.5, 0.999999])
def test_a_body_that_ends_before_its_length_is_400(server: Server, length: int, arrived: float) -> None:
    body = content(length)[: int(length * arrived)]
    [answer] = ask(server, put(length) + body)
    assert_problem(answer, 400, "truncated-body")


@pytest.mark.parametrize("size", [0, 5, LEAF + 1, 3 * MIB])
@pytest.mark.parametrize(
    "end", [b"", b"5\r\n", b"5\r\nhel", b"5\r\nhello", b"5\r\nhello\r\n", b"0", b"0\r\n", b"0\r\nA: b\r\n"]
)
def test_a_chunked_body_without_its_end_is_400(server: Server, size: int, end: bytes) -> None:
    [answer] = ask(server, chunked() + chunks(content(size)) + end)
    assert answer.status == 400
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_json_body_that_ends_early_is_400(server: Server) -> None:
    body = b'{"id": "x", "data": "QUE="}'
    for lines, sent in (
        ([f"Content-Length: {len(body) + 1}"], body),
        (["Content-Length: 4000000"], body),
        (["Transfer-Encoding: chunked"], chunks(body)),
        (["Transfer-Encoding: chunked"], chunks(body) + b"nonsense\r\n"),
    ):
        [answer] = ask(server, head("POST", "/v1/blobs", "Content-Type: application/json", *lines) + sent)
        assert answer.status == 400
        assert answer.headers["content-type"] == "application/problem+json"


def test_many_uploads_that_break_off_leave_nothing(server: Server) -> None:
    for number in range(12):
        with connected(server) as connection:
            opening = put(10 * MIB) if number % 2 else chunked() + b"a00000\r\n"
            connection.sendall(opening + content(2 * LEAF))
            # Closing now resets the connection: nothing more is said, not even the end.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def test_downloads_that_nobody_reads_to_the_end_leave_the_server_calm(server: Server) -> None:
    url = f"{server.url}/v1/content/big"
    assert requests.put(url, data=content(12 * MIB), headers=BEARER, timeout=PATIENCE).status_code == 201
    for target in ("/v1/content/big", "/v1/blobs/big"):
        for _ in range(4):
            with connected(server) as connection:
                connection.sendall(head("GET", target))
                assert connection.recv(100).startswith(b"HTTP/1.1 200")
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    delete(server, "big")


# --- Bodies that are longer, or of two lengths


@pytest.mark.parametrize("more", [b"x", b"\r\n", b"GARBAGE" * 1000, b"\0" * 100])
def test_what_comes_behind_the_announced_length_is_no_part_of_the_blob(server: Server, more: bytes) -> None:
    first, *others = ask(server, put(5) + b"hello" + more)
    assert (first.status, json.loads(first.body)["size"]) == (201, 5)
    assert all(400 <= answer.status < 500 for answer in others)
    delete(server, "x")


def test_what_comes_behind_the_last_chunk_is_no_part_of_the_blob(server: Server) -> None:
    first, *others = ask(server, chunked() + chunks(b"hello") + b"0\r\n\r\nGARBAGE\r\n\r\n")
    assert (first.status, json.loads(first.body)["size"]) == (201, 5)
    assert all(400 <= answer.status < 500 for answer in others)
    delete(server, "x")


def test_trailers_and_extensions_of_chunks_are_passed_over(server: Server) -> None:
    [answer] = ask(server, chunked() + b'5;a=b;c="d"\r\nhello\r\n00\r\nX-Trailer: a\r\n\r\n')
    assert (answer.status, json.loads(answer.body)["size"]) == (201, 5)
    delete(server, "x")


SMUGGLED = (
    b"DELETE /v1/blobs/kept HTTP/1.1\r\nHost: drive\r\nAuthorization: Bearer " + TOKEN.encode() + b"\r\n\r\n"
)


@pytest.mark.parametrize(
    "lines",
    [
        ["Content-Length: 5", "Transfer-Encoding: chunked"],
        ["Transfer-Encoding: chunked", "Content-Length: 5"],
        ["Content-Length: 5", "Content-Length: 6"],
        ["Content-Length: 5, 6"],
        ["Content-Length: -5"],
        ["Content-Length: +5"],
        ["Content-Length: 0x5"],
        ["Content-Length: 5_0"],
        ["Content-Length: five"],
        ["Content-Length: "],
        ["Content-Length : 5"],
        ["Transfer-Encoding: xchunked"],
        ["Transfer-Encoding: chunked, identity"],
        ["Transfer-Encoding: chunked, chunked"],
        ["Transfer-Encoding: gzip, chunked"],
        ["Transfer-Encoding: gzip"],
        ["Transfer-Encoding:\x0bchunked"],
        ["Transfer-Encoding: chunked", "Transfer-Encoding: identity"],
    ],
    ids=repr,
)
def test_lengths_that_can_be_read_in_two_ways_are_refused(server: Server, lines: list[str]) -> None:
    first, *others = ask(server, head("PUT", "/v1/content/x", *lines) + b"5\r\nhello\r\n0\r\n\r\n" + SMUGGLED)
    assert first.status in (400, 415, 501)
    assert not others


@pytest.mark.parametrize(
    "body",
    [
        b"zz\r\nhello\r\n0\r\n\r\n",
        b"-5\r\nhello\r\n0\r\n\r\n",
        b"+5\r\nhello\r\n0\r\n\r\n",
        b"0x5\r\nhello\r\n0\r\n\r\n",
        b"5_0\r\nhello\r\n0\r\n\r\n",
        b" 5\r\nhello\r\n0\r\n\r\n",
        b"\r\nhello\r\n0\r\n\r\n",
        b"5\nhello\n0\n\n",
        b"5\r\nhelloXX0\r\n\r\n",
        b"4\r\nhello\r\n0\r\n\r\n",
        b"6\r\nhello\r\n0\r\n\r\n",
        b"5;\x01\r\nhello\r\n0\r\n\r\n",
        b"5;a\rb\r\nhello\r\n0\r\n\r\n",
        b"5\r\nhello\r\n0\r\nno trailer\r\n\r\n",
        b"5\r\nhello\r\n0\r\nContent-Length : 3\r\n\r\n",
        b"f" * 60 + b"\r\nhello\r\n0\r\n\r\n",
        b"5" * 20_000 + b"\r\nhello\r\n0\r\n\r\n",
        b"5;" + b"a" * 20_000 + b"\r\nhello\r\n0\r\n\r\n",
        b"5\r\nhello\r\n0\r\n" + b"a: b\r\n" * 200_000 + b"\r\n",
        content(50_000),
    ],
    ids=lambda body: repr(body[:16]),
)
def test_chunks_that_are_none_are_400_and_end_the_connection(server: Server, body: bytes) -> None:
    first, *others = ask(server, chunked() + body + SMUGGLED)
    assert first.status == 400
    assert first.headers["content-type"] == "application/problem+json"
    assert not others


# --- Answers before the body


EARLY = {
    "not-signed-in": (401, lambda n: put(n, token="wrong")),
    "blob-exists": (409, lambda n: put(n, id="kept")),
    "precondition-failed": (412, lambda n: put(n, 'If-Match: "x"')),
    "unsupported-type": (415, lambda n: head("POST", "/v1/blobs", f"Content-Length: {n}")),
    "method-not-allowed": (405, lambda n: head("PATCH", "/v1/content/x", f"Content-Length: {n}")),
    "invalid": (422, lambda n: put(n, "Content-Type: text")),
}


@pytest.mark.parametrize("kind", EARLY)
@pytest.mark.parametrize("size", [1, 1000, 8 * MIB])
def test_after_an_early_answer_the_body_is_never_taken_for_a_request(
    server: Server, kind: str, size: int
) -> None:
    status, opening = EARLY[kind]
    body = (SMUGGLED * (size // len(SMUGGLED) + 1))[:size]
    first, *others = ask(server, opening(size) + body + head("GET", "/v1/blobs?limit=1"))
    assert_problem(first, status, kind)
    assert [answer.status for answer in others] in ([], [200])
    if size <= 1000:
        assert others, "a small body costs no connection"


def test_a_body_over_the_limit_is_413_at_once(server: Server) -> None:
    json_type = "Content-Type: application/json"
    for opening in (
        head("POST", "/v1/blobs", json_type, f"Content-Length: {4 * MIB + 1}"),
        put(16 * MIB + 1),
        put("9" * 100),
    ):
        with connected(server) as connection:
            connection.sendall(opening)  # and not one byte of the body
            answer = b""
            while not answer.endswith(b"}"):
                answer += connection.recv(BLOCK)
            assert_problem(parse(answer)[0], 413, "too-large")
    for opening, size in (
        (head("POST", "/v1/blobs", json_type, "Transfer-Encoding: chunked"), 5 * MIB),
        (chunked(), 17 * MIB),
    ):
        following = head("GET", "/v1/blobs?limit=1")
        first, *others = ask(
            server, opening + chunks(SMUGGLED * (size // len(SMUGGLED))) + b"0\r\n\r\n" + following
        )
        assert_problem(first, 413, "too-large")
        assert [answer.status for answer in others] in ([], [200])


def test_who_expects_100_continue_gets_it_or_a_final_answer(server: Server) -> None:
    with connected(server) as connection:
        connection.sendall(put(5, "Expect: 100-continue"))
        assert connection.recv(BLOCK).startswith(b"HTTP/1.1 100 ")
        send(connection, b"hello")
        [answer] = parse(received(connection))
    assert answer.status == 201
    delete(server, "x")

    for opening, status in (
        (put(5, "Expect: 100-continue", token="wrong"), 401),
        (put(5, "Expect: 100-continue", id="kept"), 409),
    ):
        [answer] = ask(server, opening)
        assert answer.status == status
    [answer] = ask(server, put(5, "Expect: a miracle") + b"hello")
    assert answer.status == 417


def test_pipelined_requests_are_answered_in_order(server: Server) -> None:
    answers = ask(
        server,
        put(5)
        + b"hello"
        + head("GET", "/v1/content/x")
        + head("HEAD", "/v1/content/x")
        + head("GET", "/v1/content/x", "Range: bytes=1-2")
        + head("HEAD", "/v1/blobs/x")
        + head("GET", "/v1/content/x", "If-None-Match: *")
        + chunked("If-Match: *")
        + chunks(b"goodbye")
        + b"0\r\n\r\n"
        + head("GET", "/v1/blobs/nothing")
        + head("GET", "/v1/content/x")
        + head("DELETE", "/v1/blobs/x")
        + head("HEAD", "/v1/content/x"),
        "PUT GET HEAD GET HEAD GET PUT GET GET DELETE HEAD",
    )
    assert [answer.status for answer in answers] == [201, 200, 200, 206, 200, 304, 200, 404, 200, 204, 404]
    assert [answers[n].body for n in (1, 2, 3, 4, 5, 8)] == [b"hello", b"", b"el", b"", b"", b"goodbye"]
    assert answers[2].headers["content-length"] == "5"


# --- Clients that stall


def test_stalled_uploads_hold_up_nobody_and_may_still_end_well(server: Server) -> None:
    with ExitStack() as stack:
        stalled = [stack.enter_context(connected(server)) for _ in range(20)]
        for number, connection in enumerate(stalled):
            connection.sendall(put(2 * LEAF, id=f"slow{number}") + content(LEAF))
        for _ in range(4):
            assert requests.get(f"{server.url}/v1/blobs", headers=BEARER, timeout=PATIENCE).status_code == 200
        for connection in stalled[:10]:
            send(connection, content(LEAF))
            assert parse(received(connection))[0].status == 201
    for number in range(10):
        delete(server, f"slow{number}")


def test_who_stops_reading_is_given_up_and_frees_the_thread(tmp_path: Path) -> None:
    (tmp_path / "impatient.py").write_text(
        "from simpledrive.serving import connection\nfrom wsgi import app\nconnection.ANSWER_SECONDS = 0.3\n"
    )
    server = Server(tmp_path, WORKERS=1, THREADS=1, PYTHONPATH=tmp_path)
    server.app = "impatient:app"
    try:
        server.start()
        url = f"{server.url}/v1/content/big"
        assert requests.put(url, data=content(32 * MIB), headers=BEARER, timeout=PATIENCE).ok
        for target in ("/v1/content/big", "/v1/blobs/big"):
            with connected(server) as connection:
                connection.sendall(head("GET", target))
                assert connection.recv(100).startswith(b"HTTP/1.1 200")
                # The only thread is sending, and nobody reads; the next caller waits for it.
                assert requests.get(f"{server.url}/livez", timeout=PATIENCE).text == "ok\n"
                assert len(received(connection)) < 32 * MIB
    finally:
        server.stop()


def test_a_request_that_comes_byte_by_byte_is_understood(server: Server) -> None:
    with connected(server) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        request = chunked() + b"5\r\nhello\r\n0\r\n\r\n"
        for at in range(len(request)):
            connection.sendall(request[at : at + 1])
        connection.shutdown(socket.SHUT_WR)
        [answer] = parse(received(connection))
    assert answer.status == 201
    delete(server, "x")


# --- Targets and headers


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/v1/content/%FF", 400),
        ("/v1/content/%C3%28", 400),
        ("/v1/content/%ED%A0%80", 400),
        ("/v1/content/a\xe4", 400),
        ("/v1/content/a\x01b", 400),
        ("/v1/content/a\tb", 400),
        ("/v1/content/a b", 400),
        ("/v1/content/a#b", 400),
        ("/v1/content/a?filename=%FF", 400),
        ("/v1/content/a%00b", 422),
        ("/v1/content/a%0Ab", 422),
        ("/v1/content/a%0A", 422),
        ("/v1/content/a%0D%0AX-Evil:%201", 422),
        ("/v1/content/..", 422),
        ("/v1/content/../blobs", 422),
        ("/v1/content/%2E%2E/%2e", 422),
        ("/v1/content/a/./b", 422),
        ("/v1/content/a%2F..%2Fb", 422),
        ("/v1/content/a/..", 422),
        ("/v1/content/%C0%AE%C0%AE/x", 400),
        ("/v1/content/%7F", 422),
        ("/v1/content/%C2%85", 422),
        ("/v1/content/a%0D%0A%0D%0Abody", 422),
        ("/v1/content/a%0dX-Evil:1", 422),
        ("/v1/content/" + "a" * 1025, 422),
        ("/v1/content/" + "%F0%9F%98%80" * 1025, 422),
        ("/v1/content/" + "a" * 17_000, 414),
        ("/../../etc/passwd", 404),
        ("/v1/content", 404),
        ("*", 400),
        ("", 400),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_a_target_that_names_no_blob_stores_none(server: Server, target: str, status: int) -> None:
    [answer] = ask(server, head("PUT", target, "Content-Length: 5") + b"hello")
    assert answer.status == status
    assert "x-evil" not in answer.headers


ODD_IDS = [
    "/lead",
    "a//b",
    "trailing/",
    "😀" * 1024,
    "a%b",
    "?#",
    "x" * 1024,
    "a%2Fb",  # encoded twice on its way
    "%2e%2e/%2e%2e/passwd",
    "..%2f..%2fpasswd",
    "...",
    ".hidden",
    "\u202egpj.exe",
    "\u200f\u2066a\u2069",
    "e\u0301 is not é",
    "👩\u200d👩\u200d👧",
    "<script>alert(1)</script>",
    "a\"b'c;d\\e|f&g",
    "C:\\Windows\\x",
    "~root",
    "\U0010ffff",
]


@pytest.mark.parametrize("id", ODD_IDS, ids=lambda id: ascii(id)[:30])
@pytest.mark.parametrize("safe", ["", "/"], ids=["slashes as %2F", "slashes as they are"])
def test_odd_ids_survive_the_whole_way(server: Server, id: str, safe: str) -> None:
    for target in (f"/v1/content/{quote(id, safe=safe)}", f"{server.url}/v1/content/{quote(id, safe=safe)}"):
        [answer] = ask(server, head("PUT", target, "Content-Length: 5") + b"hello")
        assert (answer.status, json.loads(answer.body)["id"]) == (201, id)
        location = answer.headers["location"]
        got, gone = ask(server, head("GET", target) + head("DELETE", location))
        assert (got.body, gone.status) == (b"hello", 204)


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
        b"GET\r\n\r\n",
        b"GET /v1/blobs\r\n\r\n",
        b"GET /v1/blobs HTTP/9.9\r\n\r\n",
        b"get /v1/blobs HTTP/1.1\r\n\r\n",
        b"GET  /v1/blobs  HTTP/1.1\r\n\r\n",
        b"GET /v1/blobs HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET /v1/blobs HTTP/1.1\r\n folded: yes\r\n\r\n",
        b"GET /v1/blobs HTTP/1.1\r\nA: b\r\n c\r\n\r\n",
        b"GET /v1/blobs HTTP/1.1\r\nA: \0\r\n\r\n",
        b"GET /v1/blobs HTTP/1.1\r\n: b\r\n\r\n",
        b"GET /v1/blobs HTTP/1.1\r\n" + b"A: b\r\n" * 1000 + b"\r\n",
        b"GET /v1/blobs HTTP/1.1\r\nA: " + b"b" * 100_000 + b"\r\n\r\n",
        b"GET /v1/blobs HTTP/1.1\r\nAuthorization: Bearer \xff\xfe\r\n\r\n",
        b"GET /v1/blobs HTTP/1.1\r\nAuthorization: Bearer\r\n\r\n",
        b"GET /v1/blobs HTTP/1.1",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"A" * 100_000,
    ],
    ids=lambda data: repr(data[:40]),
)
def test_what_is_no_request_gets_a_client_error_or_nothing(server: Server, request_bytes: bytes) -> None:
    for answer in ask(server, request_bytes):
        assert 400 <= answer.status < 500 or answer.status == 505
        assert TOKEN.encode() not in answer.body


def test_random_bytes_in_random_places_do_no_harm(server: Server) -> None:
    chance = random.Random(20)
    whole = put(5) + b"hello"
    for _ in range(150):
        damaged = bytearray(whole)
        for _ in range(chance.randint(1, 4)):
            at = chance.randrange(len(damaged))
            damaged[at : at + chance.randint(0, 3)] = chance.randbytes(chance.randint(0, 3))
        for answer in ask(server, bytes(damaged)):
            assert answer.status < 500 or answer.status in (501, 505), (bytes(damaged), answer)
    listed = requests.get(f"{server.url}/v1/blobs", headers=BEARER, timeout=PATIENCE).json()["items"]
    for item in listed:
        if item["id"] != "kept":
            assert item["size"] <= 5
            delete(server, quote(item["id"], safe=""))


# --- What callers send as JSON


def post(document: str | bytes, *lines: str) -> bytes:
    body = document.encode() if isinstance(document, str) else document
    typed = ("Content-Type: application/json", f"Content-Length: {len(body)}")
    return head("POST", "/v1/blobs", *typed, *lines) + body


@pytest.mark.parametrize(
    "document",
    [
        "[" * 100_000,
        "[" * 100_000 + "]" * 100_000,
        '{"id":' * 100_000,
        '{"id": "x", "metadata": ' + '{"a":' * 100_000 + "1" + "}" * 100_001,
        '{"id": "x", "data": ' + "[" * 100_000 + "]" * 100_000 + "}",
        '"' + "\\" * 100_000,
        '{"id": "x", "data": "", "size": 1' + "0" * 100_000 + "}",
        '{"id": "x", "data": "", "size": 1e999999}',
        '{"id": "x", "data": "", "size": NaN}',
        '{"id": "\\ud800", "data": ""}',
        '{"id": "\\u0000", "data": ""}',
        '{"id": "../../' + OUTSIDE + '", "data": ""}',
        '{"id": "x", "data": "", "storage_backend": "../../' + OUTSIDE + '"}',
        b'{"id": "\xff", "data": ""}',
        b"\xff\xfe{\x00}\x00",
        b"\x00" * 1000,
        b"",
        "null",
        "{}",
        "x",
        '{"id": "x", "data": ""}{"id": "y", "data": ""}',
    ],
    ids=lambda document: ascii(document)[:40],
)
def test_json_that_is_none_or_goes_too_deep_is_the_callers_fault(
    server: Server, document: str | bytes
) -> None:
    [answer] = ask(server, post(document))
    assert answer.status in (400, 422), answer
    assert_problem(answer, answer.status, "bad-request" if answer.status == 400 else "invalid")


@pytest.mark.parametrize(
    "data",
    [
        "QQ",
        "QQ=",
        "QQ===",
        "QQ==QQ==",
        "=QQ=",
        "QUJD====",
        "Q Q==",
        "QQ==\\n",
        "\\nQQ==",
        "QQ==\\u0000",
        "Q_-Q",
        "QÄ==",
        "QQ\\u003d\\u003d ",
        "%51%51%3d%3d",
        "=",
        "====",
        "A",
        "data:text/plain;base64,QQ==",
        "😀😀😀😀",
    ],
    ids=ascii,
)
def test_base64_of_every_wrong_kind_is_400(server: Server, data: str) -> None:
    [answer] = ask(server, post(f'{{"id": "x", "data": "{data}"}}'))
    assert_problem(answer, 400, "bad-request")


# --- Names and types that a browser could take for more than they are


NAMES = [
    'a"b.txt',
    'a"; filename="evil.exe',
    "a\\.txt",
    "a;b=c.txt",
    "\u202egpj.exe",
    "ä€😀.txt",
    "%22%0d%0aX-Evil: 1",
    "<img src=x onerror=alert(1)>.html",
]


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_a_file_name_stays_inside_its_header(server: Server, name: str) -> None:
    target = f"/v1/content/x?filename={quote(name, safe='')}"
    [answer] = ask(server, head("PUT", target, "Content-Length: 5") + b"hello")
    assert (answer.status, json.loads(answer.body)["filename"]) == (201, name)
    [answer] = ask(server, head("GET", "/v1/content/x"))
    assert answer.body == b"hello"
    assert "x-evil" not in answer.headers
    disposition = answer.headers["content-disposition"]
    assert disposition.isascii()
    found = re.fullmatch(
        r"""(inline|attachment); filename="[^"\\%/]*"(; filename\*=UTF-8''(?P<full>\S+))?""", disposition
    )
    assert found, disposition
    assert found["full"] is None or unquote(found["full"]) == name
    delete(server, "x")


@pytest.mark.parametrize("name", ["a\r\nX-Evil: 1", "a\nb", "a\0b", "\x7f"], ids=ascii)
def test_a_file_name_with_line_breaks_is_refused(server: Server, name: str) -> None:
    target = f"/v1/content/x?filename={quote(name, safe='')}"
    [answer] = ask(server, head("PUT", target, "Content-Length: 5") + b"hello")
    assert_problem(answer, 422, "invalid")
    assert "x-evil" not in answer.headers


@pytest.mark.parametrize(
    "name", [f"../../{OUTSIDE}", f"/tmp/{OUTSIDE}", f"..\\..\\{OUTSIDE}", f"C:\\{OUTSIDE}", f"~/{OUTSIDE}"]
)
def test_a_file_name_that_is_a_path_leads_nowhere(server: Server, name: str) -> None:
    target = f"/v1/content/x?filename={quote(name, safe='')}"
    [answer] = ask(server, head("PUT", target, "Content-Length: 5") + b"hello")
    assert answer.status in (201, 422)
    assert not Path(f"/tmp/{OUTSIDE}").exists()
    if answer.status == 201:
        [answer] = ask(server, head("GET", "/v1/content/x"))
        offered = re.search(r'filename="([^"]*)"', answer.headers["content-disposition"])
        assert offered
        assert not set(offered[1]) & set("/\\")
        delete(server, "x")


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("text/html", b"<script>alert(1)</script>"),
        ("TEXT/HTML; charset=utf-7", b"+ADw-script+AD4-alert(1)+ADw-/script+AD4-"),
        ("application/xhtml+xml", b'<html xmlns="http://www.w3.org/1999/xhtml"><script>1</script></html>'),
        ("image/svg+xml", b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>'),
        ("text/xml", b'<?xml-stylesheet href="x.xsl" type="text/xsl"?><a/>'),
        ("application/pdf", b"%PDF-1.7 /JS (app.alert(1))"),
        ("text/javascript", b"alert(1)"),
        ("multipart/x-mixed-replace", b"x"),
        ("message/rfc822", b"Content-Type: text/html\n\n<script>"),
        ("application/octet-stream", b"<!DOCTYPE html><script>alert(1)</script>"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_could_run_as_a_page_is_downloaded_and_sandboxed(
    server: Server, content_type: str, body: bytes
) -> None:
    typed = (f"Content-Type: {content_type}", f"Content-Length: {len(body)}")
    [answer] = ask(server, head("PUT", "/v1/content/x", *typed) + body)
    assert answer.status == 201
    [answer] = ask(server, head("GET", "/v1/content/x", "Accept: text/html", "Sec-Fetch-Dest: document"))
    assert answer.body == body
    assert answer.headers["content-disposition"].startswith("attachment")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-security-policy"] == "default-src 'none'; sandbox"
    delete(server, "x")


# --- Cookies, tokens and headers that are not what they seem


COOKIES = [
    "simpledrive=",
    "simpledrive=x",
    "simpledrive=eyJrZXkiOiJhZG1pbiJ9.Z1.forged",
    "simpledrive=eyJrZXkiOiJhZG1pbiJ9",
    "simpledrive=.eJwDAAAAAAE.AAAAAA.AAAA",
    "simpledrive=" + "." * 4000,
    "simpledrive=gASVJQAAAAAAAACMBXBvc2l4lIwGc3lzdGVtlJOUjAp0b3VjaCAvdG1wL5SFlFKULg==",
    "simpledrive=\xff\xfe\x80",
    'simpledrive="a\\"b\\000c',
    "simpledrive=a; simpledrive=b; simpledrive=c",
    "=; ;;; =x; a",
    "a=b; " * 1000,
    "simpledrive=" + TOKEN,
]


@pytest.mark.parametrize("cookie", COOKIES, ids=lambda cookie: ascii(cookie)[:40])
def test_a_forged_cookie_signs_nobody_in(server: Server, cookie: str) -> None:
    [page] = ask(server, head("GET", "/drive/files/", f"Cookie: {cookie}", token=""))
    assert (page.status, page.headers["location"].partition("?")[0]) == (303, "/drive/sign-in")
    for lines in ((), ("X-CSRF-Token: x",), ("X-CSRFToken: x",)):
        [answer] = ask(server, head("GET", "/v1/blobs", f"Cookie: {cookie}", *lines, token=""))
        assert_problem(answer, 401, "not-signed-in")
    body = b"csrf_token=x&key=x"
    typed = ("Content-Type: application/x-www-form-urlencoded", f"Content-Length: {len(body)}")
    [form] = ask(server, head("POST", "/drive/sign-in", f"Cookie: {cookie}", *typed, token="") + body)
    assert form.status == 400


@pytest.mark.parametrize("name", ["token", "access_token", "api_key", "api_token", "key", "authorization"])
def test_a_token_in_the_query_is_no_credential_and_is_not_logged(server: Server, name: str) -> None:
    logged = len(server.output())
    for method, target in (("GET", "/v1/blobs"), ("PUT", "/v1/content/x"), ("GET", "/v1/content/kept")):
        for value in (TOKEN, f"Bearer%20{TOKEN}"):
            [answer] = ask(server, head(method, f"{target}?{name}={value}", token=""))
            assert answer.status == 401
            assert TOKEN.encode() not in answer.body
    assert TOKEN not in server.output()[logged:]


CREDENTIALS = [
    f"Authorization: Basic {TOKEN}",
    f"Authorization: {TOKEN}",
    f"Authorization: Bearer {TOKEN} x",
    f"Authorization: Bearer Bearer {TOKEN}",
    f"Authorization: Bearer {TOKEN[:-1]}",
    f"Authorization: Bearer {TOKEN.upper()}",
    f"X-API-Key: {TOKEN},{TOKEN}",
    f"X-API-Key: {TOKEN}\xff",
    "Authorization: Bearer " + "a" * 8000,
    "Authorization: Bearer \xc3\xa4",
]


@pytest.mark.parametrize("line", CREDENTIALS, ids=lambda line: ascii(line)[:40])
def test_what_is_almost_a_token_is_none(server: Server, line: str) -> None:
    [answer] = ask(server, head("GET", "/v1/blobs", line, token=""))
    assert answer.status == 401
    assert "bearer" in answer.headers["www-authenticate"].lower()


def test_two_credentials_are_not_one(server: Server) -> None:
    lines = (f"Authorization: Bearer {TOKEN}", "Authorization: Bearer x")
    assert ask(server, head("GET", "/v1/blobs", *lines, token=""))[0].status == 401


REFLECTED = "reflected-marker"


@pytest.mark.parametrize(
    "line",
    [
        f"X-Request-Id: {REFLECTED}",
        f"X-Anything: {REFLECTED}",
        f"Origin: https://{REFLECTED}",
        f"Host: {REFLECTED}",
        f"Referer: https://{REFLECTED}/",
        f"X-Forwarded-Host: {REFLECTED}",
        f"Accept: {REFLECTED}",
        f"Content-Type: {REFLECTED}",
        f"If-Match: {REFLECTED}",
        f"Range: {REFLECTED}",
        f"Access-Control-Request-Headers: {REFLECTED}",
        f"Upgrade: {REFLECTED}",
    ],
    ids=lambda line: line.partition(":")[0],
)
@pytest.mark.parametrize("target", ["/v1/content/kept", "/v1/blobs/nothing", "/nowhere", "/v1/blobs"])
def test_no_header_comes_back(server: Server, line: str, target: str) -> None:
    for method in ("GET", "OPTIONS", "DELETE", "POST"):
        if (method, target) == ("DELETE", "/v1/content/kept"):
            continue
        request_bytes = head(method, target, line)
        if line.startswith("Host:"):
            request_bytes = request_bytes.replace(b"Host: drive\r\n", b"")
        for answer in ask(server, request_bytes):
            assert answer.status < 500
            assert REFLECTED not in str(answer.headers)


@pytest.mark.parametrize(
    "line",
    [
        "Range: bytes=" + "0-1," * 1500 + "2-3",
        "Range: bytes=" + "9" * 8000 + "-",
        "If-None-Match: " + '"a",' * 1500 + '"b"',
        "Accept: " + "a/b;q=0.5," * 700 + "c/d",
        "Accept-Language: " + "de-DE;q=0.5," * 600 + "en",
        "Accept-Encoding: " + "gzip;q=0.1," * 600 + "br",
        "Repr-Digest: " + "sha-256=:" * 800,
        "Content-Type: text/plain" + ";a=b" * 1900,
        'Content-Type: text/plain; a="' + "\\" * 7000,
        "Cookie: " + "a=b;" * 2000,
        "If-Modified-Since: " + "9" * 8000,
        "Idempotency-Key: " + "a" * 8000,
        "X-Forwarded-For: " + "1.1.1.1," * 1000,
    ],
    ids=lambda line: line[:30],
)
def test_a_header_as_long_as_it_may_be_is_read_at_once(server: Server, line: str) -> None:
    for answer in ask(server, head("GET", "/v1/content/kept", line) + head("GET", "/v1/content/kept", line)):
        assert answer.status < 500
    for answer in ask(server, put(5, line) + b"hello"):
        assert answer.status < 500
        if answer.status == 201:
            delete(server, "x")
