"""Logs: one JSON document a request on stdout, whatever becomes of it, and none that can be forged."""

import io
import json
import logging
import re
import socket
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
from flask import Flask

from simpledrive import logs
from simpledrive.http import access_log
from simpledrive.keys import NewKey
from simpledrive.parts import Parts
from simpledrive.rights import SERVER
from tests.apps import BEARER, TOKEN
from tests.servers import Server, wait_for
from tests.sources import content
from tests.wire import connected, head

MEMBERS = [
    "time",
    "level",
    "request_id",
    "key",
    "method",
    "route",
    "path",
    "status",
    "bytes_in",
    "bytes_out",
    "whole",
    "duration_ms",
    "address",
]


class Streams(Server):
    """A server whose stdout goes to a file of its own."""

    def __init__(self, folder: Path, **settings: object) -> None:
        super().__init__(folder, **settings)
        self.stdout = folder / "stdout"
        self.behind = ["sh", "-c", f'exec "$@" >>{self.stdout}', "sh"]

    def lines(self) -> list[dict[str, Any]]:
        """The lines of all requests, each of which is a JSON document."""
        return [json.loads(line) for line in self.stdout.read_text().splitlines()]

    def line(self, path: str) -> dict[str, Any]:
        """The line of the one request for that path."""
        wait_for(lambda: any(line["path"] == path for line in self.lines()), f"the line of {path}")
        (found,) = [line for line in self.lines() if line["path"] == path]
        return found


@pytest.fixture
def streams(tmp_path: Path):
    servers: list[Streams] = []

    def start(**settings: object) -> Streams:
        servers.append(Streams(tmp_path, **settings))
        servers[-1].start()
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


def get(server: Server, path: str, **options: Any) -> requests.Response:
    return requests.get(server.url + path, timeout=20, **({"headers": BEARER} | options))


def test_every_request_is_one_document_with_the_same_members(streams: Callable[..., Streams]) -> None:
    server = streams()
    sent = requests.put(f"{server.url}/v1/content/a/b", data=b"bytes", headers=BEARER, timeout=20)
    answers = {
        "/v1/content/a/b": (201, sent),
        "/v1/blobs/nothing": (404, get(server, "/v1/blobs/nothing")),
        "/v1/blobs/closed": (401, get(server, "/v1/blobs/closed", headers={})),
        "/nowhere": (404, get(server, "/nowhere")),
        "/readyz": (200, requests.head(f"{server.url}/readyz", timeout=20)),
    }
    for path, (status, answer) in answers.items():
        line = server.line(path)
        assert list(line) == MEMBERS
        assert (line["status"], answer.status_code) == (status, status)
        assert line["request_id"] == answer.headers["X-Request-Id"]
        assert line["bytes_out"] == len(answer.content)
        assert line["whole"] is True
        assert line["duration_ms"] > 0
        assert line["address"] == "127.0.0.1"
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"])
    stored = server.line("/v1/content/a/b")
    assert (stored["key"], stored["route"], stored["method"]) == ("API_TOKEN", "/v1/content/<id:id>", "PUT")
    assert (stored["level"], stored["bytes_in"]) == ("INFO", 5)
    assert server.line("/v1/blobs/closed")["key"] is None
    assert server.line("/nowhere")["route"] is None
    assert TOKEN not in server.stdout.read_text()


def test_a_fault_of_ours_is_an_error_here_and_told_under_its_id_on_stderr(
    streams: Callable[..., Streams],
) -> None:
    server = streams()
    requests.put(f"{server.url}/v1/content/lost", data=b"bytes", headers=BEARER, timeout=20)
    for path in (server.folder / "instance" / "blobs" / "objects").rglob("*.*"):
        path.unlink()
    answer = get(server, "/v1/content/lost")
    assert answer.status_code == 500
    wait_for(
        lambda: any(line["status"] == answer.status_code for line in server.lines()), "the line of the fault"
    )
    (line,) = [line for line in server.lines() if line["status"] >= 500]
    assert (line["level"], line["request_id"]) == ("ERROR", answer.headers["X-Request-Id"])
    told = [json.loads(line) for line in server.output().splitlines() if line.startswith("{")]
    about = [record for record in told if record.get("request_id") == line["request_id"]]
    assert any(record["level"] == "ERROR" for record in about)


def test_a_download_that_breaks_off_says_what_was_sent(streams: Callable[..., Streams]) -> None:
    server = streams()
    data = content(1 << 20) * 64
    requests.put(f"{server.url}/v1/content/big", data=data, headers=BEARER, timeout=60).raise_for_status()
    with connected(server) as connection:
        connection.sendall(head("GET", "/v1/content/big"))
        assert connection.recv(1000)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    wait_for(lambda: any(line["method"] == "GET" and "big" in line["path"] for line in server.lines()), "it")
    (line,) = [line for line in server.lines() if line["method"] == "GET" and "big" in line["path"]]
    assert (line["status"], line["whole"]) == (200, False)
    assert 0 <= line["bytes_out"] < len(data)
    assert line["key"] == "API_TOKEN"


def test_an_upload_that_breaks_off_says_what_came(streams: Callable[..., Streams]) -> None:
    server = streams()
    with connected(server) as connection:
        connection.sendall(head("PUT", "/v1/content/cut", "Content-Length: 1000") + b"x" * 600)
        connection.shutdown(socket.SHUT_WR)
        connection.recv(1000)
    line = server.line("/v1/content/cut")
    assert (line["status"], line["bytes_in"]) == (400, 600)


def test_a_query_is_in_no_log(streams: Callable[..., Streams]) -> None:
    server = streams()
    get(server, "/v1/blobs?prefix=hidden&token=hidden")
    get(server, "/drive?next=hidden", headers={})
    assert server.line("/v1/blobs")["status"] in (200, 422)
    assert "hidden" not in server.stdout.read_text()
    assert "hidden" not in server.output()


def test_a_line_cannot_be_forged(streams: Callable[..., Streams]) -> None:
    server = streams()
    paths = (
        "/v1/blobs/a%0A%7B%22status%22%3A200%7D",
        "/v1/blobs/%1B%5B2J",
        "/v1/blobs/%E2%80%A8%E2%80%AE",
        "/%22%7D",
    )
    for path in paths:
        get(server, path)
    for path in paths:
        assert list(server.line(path)) == MEMBERS
    assert server.stdout.read_bytes().isascii()
    assert b"\x1b" not in server.stdout.read_bytes()


def test_lines_of_several_processes_are_never_mixed(streams: Callable[..., Streams]) -> None:
    server = streams(WORKERS=2)
    ids = [f"{number}-{'ü' * 1000}" for number in range(200)]
    with ThreadPoolExecutor(8) as pool:
        assert {
            answer.status_code for answer in pool.map(lambda id: get(server, f"/v1/blobs/{id}"), ids)
        } == {404}
    wait_for(lambda: server.stdout.read_text().count("/v1/blobs/") >= 2 * len(ids), "all lines")
    assert sum(line["route"] == "/v1/blobs/<id:id>" for line in server.lines()) == len(ids)
    longest = max(len(line) for line in server.stdout.read_text().splitlines())
    assert longest < 4096, "one write is not cut by another up to here (PIPE_BUF)"


def test_log_level_rules_the_lines_of_requests_too(streams: Callable[..., Streams]) -> None:
    server = streams(LOG_LEVEL="ERROR")
    get(server, "/v1/blobs")
    assert server.stop() == 0
    assert server.stdout.read_text() == ""


def test_text_is_for_people(streams: Callable[..., Streams]) -> None:
    server = streams(LOG_FORMAT="text")
    get(server, "/v1/blobs/%1B%5B2J")
    wait_for(lambda: "%1B%5B2J" in server.stdout.read_text(), "the line")
    (line,) = [line for line in server.stdout.read_text().splitlines() if "%1B%5B2J" in line]
    assert re.search(
        r"INFO +GET /v1/blobs/%1B%5B2J 4\d\d in [0-9.]+ ms, 0 bytes in, \d+ out, for API_TOKEN", line
    )


def record(message: str, **given: object) -> logging.LogRecord:
    made = logging.LogRecord("simpledrive.x", logging.WARNING, "", 0, message, None, None)
    made.__dict__.update(given)
    return made


def fault(message: str) -> Any:
    try:
        raise ValueError(message)
    except ValueError:
        return sys.exc_info()


@pytest.mark.parametrize("formatter", [logs.JsonLines(), logs.TextLines()])
def test_no_message_and_no_fault_makes_a_line_of_its_own(formatter: logging.Formatter) -> None:
    evil = "a\n2026-01-01T00:00:00.000Z ERROR all is lost\r\x1b[2J\u2028\u202e\x85"
    told = formatter.format(record(evil, exc_info=fault(evil)))
    first, *rest = told.splitlines()
    assert all(line.startswith("    ") for line in rest)
    assert not set(told) & set("\r\x1b\u2028\u202e\x85")
    assert "all is lost" in first


def test_a_record_in_json_has_its_request_and_its_traceback() -> None:
    line = logs.JsonLines().format(record("what", exc_info=fault("why"), request_id="an id"))
    document = json.loads(line)
    assert (document["level"], document["logger"]) == ("WARNING", "simpledrive.x")
    assert (document["message"], document["request_id"]) == ("what", "an id")
    assert document["traceback"].endswith("ValueError: why")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("log_format", "stream", "kind"),
    [
        ("auto", Terminal(), logs.TextLines),
        ("auto", io.StringIO(), logs.JsonLines),
        ("json", Terminal(), logs.JsonLines),
        ("text", io.StringIO(), logs.TextLines),
    ],
)
def test_auto_is_text_on_a_terminal(log_format: str, stream: io.StringIO, kind: type) -> None:
    assert type(logs.lines(log_format, stream)) is kind


def test_a_key_is_logged_by_its_name_and_never_itself(
    make_app: Callable[..., Flask], capsys: pytest.CaptureFixture[str]
) -> None:
    app = make_app()
    parts: Parts = app.extensions["simpledrive"]
    _, credential = parts.keys.issue(SERVER, NewKey(name="éclair \u202e" + "x" * 190))
    headers = {"Authorization": f"Bearer {credential}"}
    app.test_client().get("/v1/blobs", headers=headers, buffered=True)
    out = capsys.readouterr().out
    assert json.loads(out)["key"].startswith("éclair")
    assert credential not in out
    assert len(out) < 4096


def test_the_longest_line_fits_into_one_write(
    make_app: Callable[..., Flask], capsys: pytest.CaptureFixture[str]
) -> None:
    app = make_app()
    parts: Parts = app.extensions["simpledrive"]
    _, credential = parts.keys.issue(SERVER, NewKey(name="\U0001f980" * 200))
    headers = {"Authorization": f"Bearer {credential}"}
    app.test_client().get("/v1/blobs/" + "ü" * 5000, headers=headers, buffered=True)
    out = capsys.readouterr().out
    assert len(out) < 4096
    assert json.loads(out)["path"].endswith("...")
    assert len(json.loads(out)["path"]) == access_log.LONGEST + 3


def test_a_log_that_nobody_takes_in_is_no_fault_of_a_request(
    make_app: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch
) -> None:
    client = make_app().test_client()
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stdout", closed)
    assert client.get("/livez", buffered=True).status_code == 200
