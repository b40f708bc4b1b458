"""What the server refuses before the drive sees it: the same problem documents, and answers that arrive."""

import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from werkzeug.exceptions import default_exceptions

from simpledrive.http.problems import BY_STATUS, problem_of
from tests.apps import BEARER, TOKEN
from tests.servers import Server
from tests.sources import content
from tests.wire import BLOCK, ask, assert_problem, connected, head, parse

MIB = 1 << 20
MARK = "REFLECTED"
GET = f"GET /v1/blobs?{MARK} HTTP/1.1\r\nHost: drive\r\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("refusing"), BODY_TIMEOUT=1, FAILED_SIGN_INS="none")
    try:
        yield server.start()
    finally:
        server.stop()


def closing(connection: socket.socket) -> bytes:
    """All that comes until a clean end. A reset, which may destroy what was sent, fails the test."""
    data = b""
    while part := connection.recv(BLOCK):
        data += part
    return data


# --- What gunicorn's parser does not take


@pytest.mark.parametrize(
    ("request_text", "status", "kind"),
    [
        (f"{MARK}\r\n\r\n", 400, "bad-request"),
        (f"GET {MARK} HTTP/1.1\r\n\r\n", 400, "bad-request"),
        (f"GET /{MARK}\r\n\r\n", 400, "bad-request"),
        (f"get /{MARK} HTTP/1.1\r\n\r\n", 400, "bad-request"),
        (f"GET /{MARK} HTTQ/1.1\r\n\r\n", 400, "bad-request"),
        (f"GET /{MARK} HTTP/1.1\n\n", 400, "bad-request"),
        (f"{GET}{MARK}\r\n\r\n", 400, "bad-request"),
        (f"{GET}{MARK} : x\r\n\r\n", 400, "bad-request"),
        (f"{GET}A: {MARK}\0\r\n\r\n", 400, "bad-request"),
        (f"{GET}A: {MARK}\r\n {MARK}\r\n\r\n", 400, "bad-request"),
        (f"{GET}Host: {MARK}\r\n\r\n", 400, "bad-request"),
        (f"GET /{MARK} HTTP/1.1\r\n\r\n", 400, "bad-request"),
        (f"{GET}Content-Length: {MARK}\r\n\r\n", 400, "bad-request"),
        (f"{GET}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", 400, "bad-request"),
        (f"\x16\x03\x01\x02\x00\x01{MARK}", 400, "bad-request"),
        (f"GET /{MARK}{'a' * 17_000} HTTP/1.1\r\n\r\n", 414, "uri-too-long"),
        (f"GET /{MARK}{'a' * 100_000}", 414, "uri-too-long"),
        (f"{GET}Expect: {MARK}\r\n\r\n", 417, "expectation-failed"),
        (f"{GET}{MARK}: {'a' * 9_000}\r\n\r\n", 431, "header-too-large"),
        (f"{GET}" + f"{MARK}: a\r\n" * 101 + "\r\n", 431, "header-too-large"),
        (f"{GET}" + f"{MARK}: {'a' * 8_000}\r\n" * 20, 431, "header-too-large"),
        (f"{GET}Transfer-Encoding: {MARK}\r\n\r\n", 501, "not-implemented"),
        (f"GET /{MARK} HTTP/9.9\r\n\r\n", 505, "version-not-supported"),
        (f"GET /{MARK} HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "version-not-supported"),
    ],
    ids=lambda value: repr(value)[:50],
)
def test_a_request_that_cannot_be_read_gets_a_problem_and_the_end(
    server: Server, request_text: str, status: int, kind: str
) -> None:
    with connected(server) as connection:
        connection.sendall(request_text.encode("latin-1"))
        data = closing(connection)  # though we said nothing of an end
    [answer] = parse(data)
    document = assert_problem(answer, status, kind)
    assert MARK.encode() not in data
    assert document["instance"] == f"urn:uuid:{document['request_id']}"
    assert answer.headers["connection"] == "close"


def test_a_head_without_its_end_is_400_if_the_client_ended_it_and_408_if_it_did_not(server: Server) -> None:
    with connected(server) as connection:
        connection.sendall(GET.encode())
        connection.shutdown(socket.SHUT_WR)
        assert_problem(parse(closing(connection))[0], 400, "bad-request")
    with connected(server) as connection:
        connection.sendall(GET.encode())
        assert_problem(parse(closing(connection))[0], 408, "request-timeout")


def test_the_head_of_a_later_request_is_waited_for_as_long_as_that_of_the_first(server: Server) -> None:
    with connected(server) as connection:
        connection.sendall(head("GET", "/v1/blobs?limit=1") + GET.encode())
        fine, late = parse(closing(connection))
    assert fine.status == 200
    assert_problem(late, 408, "request-timeout")


def test_a_connection_that_says_nothing_is_ended_without_a_word(server: Server) -> None:
    for opening in (b"", b"\r\n"):
        with connected(server) as connection:
            connection.sendall(opening)
            assert closing(connection) == b""


FAULTY = """
def app(environ, start_response):
    if environ["PATH_INFO"] != "/livez":
        raise ValueError(environ["QUERY_STRING"])
    start_response("200 OK", [("Content-Length", "0")])
    return []
"""


def test_a_fault_below_the_drive_is_a_problem_too_and_only_the_log_tells_it(tmp_path: Path) -> None:
    (tmp_path / "faulty.py").write_text(FAULTY)
    server = Server(tmp_path, PYTHONPATH=tmp_path)
    server.app = "faulty:app"
    try:
        server.start()
        [answer] = ask(server, head("GET", f"/?{MARK}"))
        [headless] = ask(server, head("HEAD", "/"), "HEAD")
    finally:
        server.stop()
    document = assert_problem(answer, 500, "internal-error")
    assert MARK.encode() not in answer.body
    assert f"a fault in request {document['request_id']}" in server.output()
    assert f"ValueError: {MARK}" in server.output()
    assert (headless.status, headless.body) == (500, b"")


@pytest.mark.parametrize("status", sorted(BY_STATUS))
def test_what_werkzeug_raises_has_the_type_of_what_the_server_refuses(status: int) -> None:
    problem = problem_of(default_exceptions[status]())
    assert (problem.status, problem.type != "http-error") == (status, True)


# --- Answers before the body


EARLY: dict[str, tuple[int, Callable[[str], bytes]]] = {
    "not-signed-in": (401, lambda length: head("PUT", "/v1/content/x", length, token="wrong")),
    "not-found": (404, lambda length: head("PUT", "/nowhere", length)),
    "method-not-allowed": (405, lambda length: head("PATCH", "/v1/content/x", length)),
    "precondition-failed": (412, lambda length: head("PUT", "/v1/content/x", length, 'If-Match: "x"')),
    "too-large": (
        413,
        lambda length: head("POST", "/v1/blobs", "Content-Type: application/json", length),
    ),
    "unsupported-type": (415, lambda length: head("POST", "/v1/blobs", length)),
}


EVERY_FRAMING = [(kind, framing) for kind in EARLY for framing in ("length", "chunked")]
EVERY_FRAMING.remove(("too-large", "chunked"))  # a length that is not announced is found out while reading


@pytest.mark.parametrize(("kind", "framing"), EVERY_FRAMING)
def test_an_early_answer_says_that_it_closes_and_reaches_who_is_still_sending(
    server: Server, kind: str, framing: str
) -> None:
    status, opening = EARLY[kind]
    size = 50 * MIB
    with connected(server) as connection:
        if framing == "length":
            connection.sendall(opening(f"Content-Length: {size}"))
        else:
            connection.sendall(opening("Transfer-Encoding: chunked") + b"%x\r\n" % size)
        piece = content(MIB)
        for _ in range(size // MIB):
            connection.sendall(piece)  # like most clients: all of the body first, then a look at the answer
        [answer] = parse(closing(connection))
    assert_problem(answer, status, kind)
    assert answer.headers["connection"] == "close"


@pytest.mark.parametrize("kind", EARLY)
def test_an_early_answer_does_not_wait_for_the_body(server: Server, kind: str) -> None:
    status, opening = EARLY[kind]
    with connected(server) as connection:
        connection.sendall(opening(f"Content-Length: {50 * MIB}") + b"{")
        [answer] = parse(closing(connection))
    assert_problem(answer, status, kind)
    assert answer.headers["connection"] == "close"


@pytest.mark.parametrize("kind", [kind for kind in EARLY if kind != "too-large"])
def test_a_body_that_came_with_its_head_costs_no_connection(server: Server, kind: str) -> None:
    status, opening = EARLY[kind]
    with connected(server) as connection:
        for _ in range(3):
            connection.sendall(opening("Content-Length: 1000") + content(1000))
            data = connection.recv(BLOCK)
            while b"\r\n\r\n" not in data or not data.endswith(b"}"):
                data += connection.recv(BLOCK)
            [answer] = parse(data)
            assert_problem(answer, status, kind)
            assert answer.headers["connection"] == "keep-alive"


def test_only_who_will_be_heard_is_told_to_go_on(server: Server) -> None:
    expecting = ("Content-Length: 5", "Expect: 100-continue")
    with connected(server) as connection:
        connection.sendall(head("PUT", "/v1/content/x", *expecting, token="wrong"))
        data = closing(connection)
    assert data.startswith(b"HTTP/1.1 401 ")
    assert parse(data)[0].headers["connection"] == "close"
    with connected(server) as connection:
        connection.sendall(head("PUT", "/v1/content/expected", *expecting, "Connection: close"))
        assert connection.recv(BLOCK) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"hello")
        assert parse(closing(connection))[0].status == 201


def test_a_client_that_never_hangs_up_is_hung_up_on(server: Server) -> None:
    with connected(server) as connection:
        connection.sendall(head("GET", "/livez", "Connection: close"))
        assert closing(connection).startswith(b"HTTP/1.1 200")
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            connection.sendall(bytes(512 * MIB))


# --- Two slashes


@pytest.mark.parametrize("root", ["//v1", "///v1", "/%2Fv1", "http://drive//v1"])
@pytest.mark.parametrize("path", ["blobs/kept", "content/kept", "blobs"])
def test_a_doubled_root_is_no_alias(server: Server, root: str, path: str) -> None:
    stored = head("PUT", "/v1/content/kept", "Content-Length: 4", "If-Match: *") + b"kept"
    ask(server, stored.replace(b"If-Match: *\r\n", b"") + stored)
    for method in ("GET", "DELETE"):
        [answer] = ask(server, head(method, f"{root}/{path}"))
        assert_problem(answer, 404, "not-found")
    [there] = ask(server, head("GET", "http://elsewhere/v1/content/kept"))
    assert there.body == b"kept"


def test_a_doubled_root_leads_nowhere_else(server: Server) -> None:
    for target in ("//evil.example/drive/files", "//evil.example/..", "/\\evil.example"):
        [answer] = ask(server, head("GET", target))
        assert answer.status == 404
        assert "location" not in answer.headers


def test_the_log_names_the_refusal_and_not_what_was_sent(server: Server) -> None:
    before = len(server.output())
    [answer] = ask(server, f"GET /{MARK}\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode())
    document = json.loads(answer.body)
    logged = server.output()[before:]
    assert str(document["request_id"]) in logged
    assert MARK not in logged
    assert BEARER["Authorization"] not in logged
