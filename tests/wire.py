"""HTTP as bytes on a socket: what no client library would send, and answers as they came."""

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from tests.apps import TOKEN
from tests.problems import MEMBERS
from tests.servers import Server

PATIENCE = 20
BLOCK = 1 << 16


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes


def head(method: str, target: str, *lines: str, token: str = TOKEN) -> bytes:
    """A request up to its body."""
    start = [
        f"{method} {target} HTTP/1.1",
        "Host: drive",
        *([f"Authorization: Bearer {token}"] if token else []),
    ]
    return "\r\n".join([*start, *lines, "", ""]).encode("latin-1")


@contextmanager
def connected(server: Server) -> Iterator[socket.socket]:
    address = urlsplit(server.url)
    with socket.create_connection((address.hostname, address.port), timeout=PATIENCE) as connection:
        yield connection


def send(connection: socket.socket, data: bytes) -> None:
    """As much of it as the server wants: it may answer and close before the end."""
    try:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
    except (BrokenPipeError, ConnectionResetError, OSError):
        pass


def received(connection: socket.socket) -> bytes:
    """All that comes until the server closes. A server that does neither fails the test."""
    data = b""
    try:
        while part := connection.recv(BLOCK):
            data += part
    except ConnectionResetError:
        pass
    return data


def ask(server: Server, data: bytes, methods: str = "") -> list[Answer]:
    """Sends these bytes, then the end; the answers until the server closes. `methods` says which are HEAD."""
    with connected(server) as connection:
        send(connection, data)
        return parse(received(connection), methods.split())


def parse(data: bytes, methods: list[str] | None = None) -> list[Answer]:
    answers = []
    while data:
        block, separator, data = data.partition(b"\r\n\r\n")
        assert separator, f"an answer without an end: {block[:200]!r}"
        first, *lines = block.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        status = int(first.split()[1])
        if status == 100:
            continue
        without = status in (204, 304) or (methods or [])[len(answers) : len(answers) + 1] == ["HEAD"]
        length = 0 if without else int(headers["content-length"])
        assert len(data) >= length, f"an answer that ends early: {status}"
        answers.append(Answer(status, headers, data[:length]))
        data = data[length:]
    return answers


def assert_problem(answer: Answer, status: int, kind: str) -> dict[str, object]:
    """The document of an error of that status and type, which has the members that every error has."""
    assert answer.status == status, answer
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    document: dict[str, object] = json.loads(answer.body)
    assert [name for name in document if name != "errors"] == MEMBERS
    assert (document["type"], document["status"]) == (f"/problems/{kind}", status)
    assert document["request_id"] == answer.headers["x-request-id"]
    assert all(document[name] for name in MEMBERS)
    return document
