"""Clients that are slow on purpose, on real gunicorn: they hold up nobody, and do not stay for ever.

Where others have to be served while the slow ones are there, BODY_TIMEOUT is longer than any test waits: then
no time limit has helped.
"""

import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import requests

from simpledrive.http.connection import LEAST_BYTES
from simpledrive.serving import connection as serving
from tests.apps import BEARER
from tests.needs import need
from tests.servers import Server, wait_for
from tests.wire import BLOCK, PATIENCE, assert_problem, connected, head, parse, received

SLOW = 64
NEVER = 3600
BODY = head("PUT", "/v1/content/slow", "Content-Length: 1000000")
CHUNKED = head("PUT", "/v1/content/slow", "Transfer-Encoding: chunked") + b"f4240\r\n"
HEAD = b"GET /v1/blobs HTTP/1.1\r\nHost: drive\r\nX-Slow: "


@contextmanager
def trickling(server: Server, opening: bytes, count: int = SLOW) -> Iterator[list[Any]]:
    """So many connections that have sent this and go on, a byte at a time."""
    done = threading.Event()
    with ExitStack() as stack:
        connections = [stack.enter_context(connected(server)) for _ in range(count)]
        for connection in connections:
            connection.sendall(opening)

        def trickle() -> None:
            while not done.wait(0.1):
                for connection in connections:
                    with suppress(OSError):
                        connection.send(b"a")

        thread = threading.Thread(target=trickle)
        thread.start()
        try:
            yield connections
        finally:
            done.set()
            thread.join()


def others_are_served(server: Server) -> None:
    """Eight others, three at a time, each on a connection of its own, reading and writing."""

    def ask(number: int) -> None:
        url = f"{server.url}/v1/content/other{number}"
        for method, status in (("PUT", 201), ("GET", 200), ("DELETE", 405)):
            answer = requests.request(method, url, data=b"quick", headers=BEARER, timeout=PATIENCE)
            assert answer.status_code == status

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(ask, range(8)))
    listed = requests.get(f"{server.url}/v1/blobs", headers=BEARER, timeout=PATIENCE).json()["items"]
    for item in listed:
        gone = requests.delete(f"{server.url}/v1/blobs/{item['id']}", headers=BEARER, timeout=PATIENCE)
        assert gone.status_code == 204


@pytest.mark.parametrize("opening", [b"", b"G", HEAD], ids=["nothing yet", "one byte", "half a head"])
def test_slow_heads_hold_no_thread_at_all(make_server: Callable[..., Server], opening: bytes) -> None:
    server = make_server(WORKERS=1, THREADS=1, BODY_TIMEOUT=NEVER)
    with trickling(server, opening) if opening else waiting(server, SLOW):
        others_are_served(server)


@contextmanager
def waiting(server: Server, count: int) -> Iterator[None]:
    """So many connections that say nothing."""
    with ExitStack() as stack:
        for _ in range(count):
            stack.enter_context(connected(server))
        yield


@pytest.mark.parametrize("opening", [HEAD, BODY, CHUNKED], ids=["heads", "bodies", "chunks"])
def test_by_default_sixty_four_slow_connections_leave_others_served(
    make_server: Callable[..., Server], opening: bytes
) -> None:
    server = make_server(BODY_TIMEOUT=NEVER)
    with trickling(server, opening):
        others_are_served(server)


def test_a_worker_without_a_free_thread_leaves_new_connections_to_the_others(
    make_server: Callable[..., Server],
) -> None:
    server = make_server(WORKERS=2, THREADS=4, BODY_TIMEOUT=NEVER)
    wait_for(lambda: len(server.pids()) == 3, "two workers")
    with trickling(server, BODY, count=7):  # of eight threads
        others_are_served(server)


@pytest.mark.parametrize("opening", [BODY, CHUNKED], ids=["length", "chunked"])
def test_more_slow_bodies_than_threads_are_cut_with_408_and_the_worker_recovers(
    make_server: Callable[..., Server], opening: bytes
) -> None:
    server = make_server(WORKERS=1, THREADS=4, BODY_TIMEOUT=1)
    with trickling(server, opening, count=10) as connections:
        others_are_served(server)
        for connection in connections:
            [answer] = parse(received(connection))
            assert_problem(answer, 408, "request-timeout")
            assert answer.headers["connection"] == "close"
    staging = server.folder / "instance" / "blobs" / "staging"
    wait_for(lambda: not list(staging.glob("*")), "an empty staging")
    assert "Traceback" not in server.output()


def test_slow_heads_are_cut_with_408(make_server: Callable[..., Server]) -> None:
    server = make_server(WORKERS=1, THREADS=1, BODY_TIMEOUT=1)
    with trickling(server, HEAD) as connections:
        for connection in connections:
            [answer] = parse(received(connection))
            assert_problem(answer, 408, "request-timeout")


def test_connections_that_are_kept_hold_no_thread(make_server: Callable[..., Server]) -> None:
    server = make_server(WORKERS=1, THREADS=1)
    with ExitStack() as stack:
        kept = [stack.enter_context(connected(server)) for _ in range(SLOW)]
        for connection in kept * 2:
            connection.sendall(head("GET", "/livez"))
            data = b""
            while not data.endswith(b"ok\n"):
                part = connection.recv(BLOCK)
                assert part, data
                data += part
        others_are_served(server)


def test_clients_that_do_not_hang_up_hold_no_thread(make_server: Callable[..., Server]) -> None:
    server = make_server(WORKERS=1, THREADS=1, BODY_TIMEOUT=NEVER)
    with ExitStack() as stack:
        connections = [stack.enter_context(connected(server)) for _ in range(SLOW)]
        for connection in connections:
            connection.sendall(head("GET", "/livez", "Connection: close"))
        for connection in connections:
            assert received(connection).startswith(b"HTTP/1.1 200")  # and then keep our side open
        others_are_served(server)


def test_with_tls_nobody_holds_a_thread_either(tmp_path: Path) -> None:
    need("openssl")
    files = f"-keyout {tmp_path}/key -out {tmp_path}/certificate -days 2 -subj /CN=localhost"
    command = f"openssl req -x509 -newkey rsa:2048 -nodes {files}".split()
    subprocess.run(command, check=True, capture_output=True)
    given = f"--certfile {tmp_path}/certificate --keyfile {tmp_path}/key"
    server = Overt(tmp_path, WORKERS=1, THREADS=1, BODY_TIMEOUT=NEVER, GUNICORN_CMD_ARGS=given)
    context = ssl.create_default_context(cafile=str(tmp_path / "certificate"))
    try:
        server.start()
        with trickling(server, b"\x16"), trickling(server, b"\x16\x03\x01\x02\x00\x01"), ExitStack() as stack:
            plain = [stack.enter_context(connected(server)) for _ in range(SLOW)]
            secured = [
                stack.enter_context(context.wrap_socket(connection, server_hostname="localhost"))
                for connection in plain
            ]
            for connection in secured:
                connection.sendall(HEAD)
            whole = secured.pop()
            whole.sendall(b"a\r\nAuthorization: " + BEARER["Authorization"].encode() + b"\r\n\r\n")
            whole.sendall(head("PUT", "/v1/content/x", "Content-Length: 300000") + bytes(300_000))
            whole.sendall(head("GET", "/v1/content/x", "Connection: close"))
            listed, stored, fetched = parse(received(whole))
            assert (listed.status, stored.status, fetched.body) == (200, 201, bytes(300_000))
    finally:
        server.stop()


class Overt(Server):
    """A server that is known to be up by its own word: it speaks TLS, by a certificate that nobody signed."""

    def _answers(self) -> bool:
        return True


def test_who_only_waits_makes_room_when_there_are_too_many(make_server: Callable[..., Server]) -> None:
    limited = {"GUNICORN_CMD_ARGS": "--worker-connections 16"}
    server = make_server(WORKERS=1, THREADS=2, BODY_TIMEOUT=NEVER, **limited)
    with trickling(server, HEAD):
        others_are_served(server)


def test_slow_clients_do_not_hold_up_the_end(make_server: Callable[..., Server]) -> None:
    server = make_server(WORKERS=1, THREADS=2, BODY_TIMEOUT=NEVER)
    with trickling(server, HEAD), waiting(server, 8):
        others_are_served(server)
        assert server.stop() == 0


# --- The pace, by a clock of its own


class Line:
    """A socket on which the next bytes come after so many seconds of a clock that nobody waits for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.timeout = 0.0, 60.0
        self.coming: list[tuple[float, int]] = []
        monkeypatch.setattr(serving.time, "monotonic", lambda: self.now)

    def gettimeout(self) -> float:
        return self.timeout

    def settimeout(self, timeout: float) -> None:
        self.timeout = timeout

    def recv(self, size: int) -> bytes:
        seconds, count = self.coming.pop(0)
        if seconds > self.timeout:
            self.now += self.timeout
            raise TimeoutError
        self.now += seconds
        return bytes(count)


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch) -> Line:
    return Line(monkeypatch)


@pytest.fixture
def unreader(line: Line) -> serving.Unreader:
    unreader = serving.Unreader(line)
    unreader.begin(b"", 30)
    return unreader


def test_a_body_at_the_least_pace_goes_on_for_ever(line: Line, unreader: serving.Unreader) -> None:
    line.coming = [(15, LEAST_BYTES // 2)] * 1000
    assert sum(len(unreader.chunk()) for _ in range(1000)) == 500 * LEAST_BYTES


def test_a_body_below_the_least_pace_is_given_up(line: Line, unreader: serving.Unreader) -> None:
    line.coming = [(1, 1)] * 1000
    for _ in range(30):
        unreader.chunk()
    for _ in range(2):  # nor does it come back
        with pytest.raises(TimeoutError):
            unreader.chunk()
    assert line.now == 30


def test_a_body_that_stops_is_given_up(line: Line, unreader: serving.Unreader) -> None:
    line.coming = [(1, LEAST_BYTES), (31, 1)]
    unreader.chunk()
    with pytest.raises(TimeoutError):
        unreader.chunk()


def test_time_that_the_drive_takes_is_not_the_clients(line: Line, unreader: serving.Unreader) -> None:
    line.coming = [(1, 1)] * 20
    for _ in range(20):
        unreader.chunk()
        line.now += 1000


def test_each_request_begins_anew_and_answers_keep_their_own_time(
    line: Line, unreader: serving.Unreader
) -> None:
    line.coming = [(29, 1), (29, 1)]
    unreader.chunk()
    unreader.begin(b"", 30)
    unreader.chunk()
    assert line.timeout == 60
