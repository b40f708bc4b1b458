"""The database of the records is gone, hangs, or is locked: said clearly, and over when it is back."""

import sqlite3
from collections.abc import Callable, Iterator

import pytest
import requests
from flask import Flask

from simpledrive import sql
from simpledrive.parts import Parts
from tests.apps import BEARER
from tests.drives import check
from tests.outage import Line, line_to
from tests.problems import assert_problem
from tests.servers import Server
from tests.sources import content

DATA = content(8 << 20)


@pytest.fixture
def line(postgres_database: str) -> Iterator[Line]:
    with line_to(postgres_database) as line:
        yield line


@pytest.fixture
def served(line: Line, make_server: Callable[..., Server]) -> Server:
    """A server whose records are behind the line, with a blob in it."""
    server = make_server(DATABASE_URL=line.url)
    assert put(server, "large", DATA).status_code == 201
    return server


def put(server: Server, id: str, data: bytes) -> requests.Response:
    return requests.put(f"{server.url}/v1/content/{id}", data=data, headers=BEARER, timeout=60)


def get(server: Server, path: str, **more: object) -> requests.Response:
    return requests.get(f"{server.url}{path}", headers=BEARER, timeout=60, **more)


def assert_away(answer: requests.Response) -> None:
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "2"), answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["type"] == "/problems/database-unavailable"


def test_a_database_that_goes_and_comes_back_needs_no_restart(line: Line, served: Server) -> None:
    line.down()
    for _ in range(3):
        assert_away(put(served, "new", b"abc"))
        assert_away(get(served, "/v1/content/large"))
        assert_away(get(served, "/v1/blobs"))
        assert_away(requests.delete(f"{served.url}/v1/blobs/large", headers=BEARER, timeout=60))
    page = requests.get(f"{served.url}/drive/sign-in", timeout=60)
    assert page.status_code == 200, "what needs no database goes on"
    line.up()
    assert get(served, "/v1/content/large").content == DATA
    assert get(served, "/v1/content/new").status_code == 404
    assert put(served, "new", b"abc").status_code == 201
    assert "Traceback" not in served.output()


def test_a_download_that_has_begun_needs_no_database(line: Line, served: Server) -> None:
    with get(served, "/v1/content/large", stream=True) as answer:
        portions = answer.iter_content(256 << 10)
        received = next(portions)
        line.down()
        assert received + b"".join(portions) == DATA


def test_nothing_acknowledged_is_lost_when_it_goes_in_the_middle(
    line: Line, served: Server, make_app: Callable[..., Flask]
) -> None:
    stored = []
    for number in range(12):
        if number % 4 == 2:
            line.down()
        answer = put(served, f"n/{number}", b"%d" % number)
        if answer.status_code == 201:
            stored.append(number)
        else:
            assert_away(answer)
        line.up()
    assert len(stored) >= 8
    for number in stored:
        assert get(served, f"/v1/content/n/{number}").content == b"%d" % number


@pytest.fixture
def impatient_app(monkeypatch: pytest.MonkeyPatch, make_app: Callable[..., Flask]) -> Flask:
    """An app on SQLite that does not wait long for a lock."""
    monkeypatch.setattr(sql, "PATIENCE", 0.1)
    monkeypatch.setattr(sql, "BUSY_SECONDS", 0)
    return make_app()


def test_a_locked_database_refuses_writers_and_lets_readers_go_on(impatient_app: Flask) -> None:
    parts: Parts = impatient_app.extensions["simpledrive"]
    client = impatient_app.test_client()
    client.environ_base["HTTP_AUTHORIZATION"] = BEARER["Authorization"]
    assert client.put("/v1/content/a", data=b"abc").status_code == 201
    holder = sqlite3.connect(parts.settings.instance_path / "drive.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    try:
        refused = client.put("/v1/content/b", data=b"abc")
        assert_problem(refused, 503, "busy")
        assert refused.headers["Retry-After"] == "2"
        assert_problem(client.delete("/v1/blobs/a"), 503, "busy")
        assert client.get("/v1/content/a").data == b"abc"
        assert [item["id"] for item in client.get("/v1/blobs").json["items"]] == ["a"]
    finally:
        holder.execute("ROLLBACK")
        holder.close()
    assert client.put("/v1/content/b", data=b"abc").status_code == 201
    check(parts)
