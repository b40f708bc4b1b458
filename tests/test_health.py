"""Health: ready only when requests can be served, told at once, whatever hangs or is gone."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy import text

from simpledrive import create_app, probes, sql
from simpledrive.errors import StorageUnavailable
from simpledrive.keys import NewKey
from simpledrive.parts import Parts
from simpledrive.rights import SERVER
from simpledrive.storage.base import Begin
from tests.apps import BEARER, settings_for
from tests.outage import Line, line_to
from tests.problems import assert_problem
from tests.servers import wait_for

OPEN = ("/livez", "/readyz", "/healthz", "/health")


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine may take its time for a probe; tests of impatience say so."""
    monkeypatch.setattr(probes, "WAIT", 20.0)


@pytest.fixture
def line(postgres_database: str) -> Iterator[Line]:
    with line_to(postgres_database) as line:
        yield line


def bearer(parts: Parts, **rights: object) -> dict[str, str]:
    _, credential = parts.keys.issue(SERVER, NewKey(name="watcher", **rights))
    return {"Authorization": f"Bearer {credential}"}


def status(app: Flask) -> int:
    return app.test_client().get("/readyz").status_code


def failed(app: Flask) -> list[str]:
    return app.test_client().get("/readyz").get_json()["failed"]


def test_a_drive_that_can_serve_is_ready(any_app: Flask) -> None:
    client = any_app.test_client()
    for path in ("/readyz", "/healthz"):
        response = client.get(path)
        assert (response.status_code, response.get_json()) == (200, {"status": "ready", "failed": []})
    assert client.get("/livez").data == b"ok\n"


@pytest.mark.parametrize("path", OPEN)
def test_health_needs_no_key_is_never_cached_and_answers_head(app: Flask, path: str) -> None:
    for ask in (app.test_client().get, app.test_client().head):
        response = ask(path)
        assert response.status_code == 200
        assert response.headers["Cache-Control"] == "no-store"
    assert response.data == b""


def test_putplaces_health_tells_the_database(any_app: Flask) -> None:
    assert any_app.test_client().get("/health").get_json() == {
        "status": "healthy",
        "database": {
            "status": "connected",
            "type": any_app.extensions["simpledrive"].database.engine.dialect.name,
        },
    }


def test_verbose_tells_every_check_and_every_backend(app: Flask) -> None:
    document = app.test_client().get("/readyz?verbose", headers=BEARER).get_json()
    assert document["status"] == "ready"
    assert document["checks"] == [
        {"name": name, "passed": True, "detail": ""} for name in ("database", "migrations", "default_backend")
    ]
    assert {backend["name"]: backend["default"] for backend in document["backends"]} == {
        "local": True,
        "database": False,
    }
    for backend in document["backends"]:
        assert backend["reachable"] is True
        assert backend["probed_at"].endswith("Z")
        assert backend["probe_ms"] > 0


def test_verbose_wants_the_scope_admin_over_the_whole_drive(app: Flask, parts: Parts) -> None:
    client = app.test_client()
    assert_problem(client.get("/readyz?verbose"), 401, "not-signed-in")
    for rights in ({"scopes": ["read"]}, {"scopes": ["admin"], "prefix": "mine/"}):
        response = client.get("/readyz?verbose", headers=bearer(parts, **rights))
        assert_problem(response, 403, "insufficient_scope")
    assert client.get("/readyz?verbose", headers=bearer(parts, scopes=["admin"])).status_code == 200


def test_a_database_without_tables_is_not_ready(tmp_path: Path) -> None:
    app = create_app(settings_for(tmp_path))
    assert failed(app) == ["migrations", "default_backend"]
    document = app.test_client().get("/readyz?verbose", headers=BEARER).get_json()
    assert "flask db upgrade" in document["checks"][1]["detail"]
    assert app.test_client().get("/health").get_json()["status"] == "healthy"
    assert app.test_client().get("/livez").status_code == 200


def test_a_database_at_another_migration_is_not_ready_but_one_that_went_ahead_still_is(
    make_app: Callable[..., Flask],
) -> None:
    """While a newer version is being rolled out, the older processes go on with what they know."""
    served, restarted = make_app(), make_app()
    assert status(served) == 200
    engine = served.extensions["simpledrive"].database.engine
    with engine.execution_options(writes=True).begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = 'later'"))
    assert status(served) == 200
    assert failed(restarted) == ["migrations"]


def test_a_database_that_goes_and_comes_back(
    make_app: Callable[..., Flask], line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_app(database_url=line.url)
    client = app.test_client()
    assert status(app) == 200
    monkeypatch.setattr(probes, "WAIT", 0.5)
    line.down()
    assert "database" in failed(app)
    for path in OPEN:
        response = client.get(path)
        assert response.status_code == (503 if path in ("/readyz", "/healthz") else 200)
    assert client.get("/health").get_json()["status"] == "degraded"
    assert client.get("/health").get_json()["database"]["status"] == "disconnected"
    document = client.get("/readyz?verbose", headers=BEARER).get_json()
    assert document["checks"][0]["detail"]
    assert document["checks"][1]["passed"] is True  # it was at the right migration when it was last seen
    line.up()
    wait_for(lambda: status(app) == 200, "the database's return")
    assert client.get("/health").get_json()["status"] == "healthy"


def test_a_database_that_hangs_is_no_answer_and_holds_up_nobody(
    make_app: Callable[..., Flask], line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probes, "WAIT", 0.2)
    app = make_app(database_url=line.url)
    wait_for(lambda: status(app) == 200, "the first probes")
    line.hang()
    document = app.test_client().get("/readyz?verbose", headers=BEARER).get_json()
    assert document["checks"][0]["passed"] is False
    assert "There was no answer" in document["checks"][0]["detail"]
    line.down()
    line.up()
    wait_for(lambda: status(app) == 200, "the database's return")


def test_a_sqlite_file_that_cannot_be_used_is_not_ready_until_it_can(app: Flask, parts: Parts) -> None:
    assert status(app) == 200
    file = parts.settings.instance_path / "drive.db"
    kept = file.rename(file.with_name("away.db"))
    file.mkdir()
    parts.database.engine.dispose()
    assert "database" in failed(app)
    assert app.test_client().get("/health").get_json()["status"] == "degraded"
    file.rmdir()
    kept.rename(file)
    wait_for(lambda: status(app) == 200, "the file's return")


def test_a_default_backend_that_is_gone_is_not_ready_another_one_is(
    app: Flask, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    def down(begin: Begin) -> None:
        raise StorageUnavailable("any", "probe", "connection refused")

    monkeypatch.setattr(probes, "FRESH", 0.0)
    with monkeypatch.context() as patch:
        patch.setattr(parts.backends.use("database"), "probe", down)
        assert status(app) == 200
    with monkeypatch.context() as patch:
        patch.setattr(parts.backends.use("local"), "probe", down)
        assert failed(app) == ["default_backend"]
        document = app.test_client().get("/readyz?verbose", headers=BEARER).get_json()
        assert document["backends"][0]["detail"] == "probe: connection refused."
    assert status(app) == 200


def test_a_backend_that_hangs_holds_up_no_request_and_no_other_backend(
    app: Flask, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probes, "WAIT", 0.2)
    let_go = threading.Event()
    monkeypatch.setattr(parts.backends.use("database"), "probe", lambda begin: let_go.wait())
    try:
        wait_for(lambda: status(app) == 200, "the probe of the backend that answers")
        found = parts.probes.backends()
        assert (found["local"].reachable, found["database"].reachable) == (True, False)
        assert "There was no answer" in found["database"].why
    finally:
        let_go.set()
    wait_for(lambda: parts.probes.backends()["database"].reachable, "the answer")


def test_what_answered_once_and_then_hangs_counts_as_silent(
    app: Flask, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    wait_for(lambda: status(app) == 200, "the first probes")
    for name, value in {"WAIT": 0.05, "FRESH": 0.0, "SILENT": 0.1}.items():
        monkeypatch.setattr(probes, name, value)
    let_go = threading.Event()
    monkeypatch.setattr(parts.backends.use("local"), "probe", lambda begin: let_go.wait())
    try:
        wait_for(lambda: failed(app) == ["default_backend"], "patience to end")
    finally:
        let_go.set()
    wait_for(lambda: status(app) == 200, "the answer")


def test_requests_begin_no_probes_where_a_thread_does(
    make_app: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_app(probe_interval=3600)
    parts: Parts = app.extensions["simpledrive"]
    probed: list[str] = []
    for name in parts.backends:
        monkeypatch.setattr(parts.backends.use(name), "probe", lambda begin, name=name: probed.append(name))
    for _ in range(20):
        assert status(app) == 200
    assert sorted(probed) == ["database", "local"]


def test_a_backend_is_looked_at_anew_and_found_again_by_itself(make_app: Callable[..., Flask]) -> None:
    app = make_app(probe_interval=1)
    parts: Parts = app.extensions["simpledrive"]
    assert status(app) == 200
    base = parts.settings.local_storage_path
    away = base.rename(base.with_name("away"))
    base.write_bytes(b"no folder")
    wait_for(lambda: failed(app) == ["default_backend"], "the loss to be noticed")
    base.unlink()
    away.rename(base)
    wait_for(lambda: status(app) == 200, "the return to be noticed")


def test_a_probe_leaves_nothing_behind(app: Flask, parts: Parts) -> None:
    assert status(app) == 200
    for name in parts.backends:
        assert list(parts.backends.use(name).keys()) == []


def test_why_a_backend_cannot_be_reached_tells_no_secret(
    make_app: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sql, "ATTEMPTS", 2)
    backends = {"cold": {"kind": "database", "url": "postgresql://user:hunter2@127.0.0.1:1/cold"}}
    app = make_app(backends=backends)
    client = app.test_client()

    def cold() -> dict[str, object]:
        document = client.get("/readyz?verbose", headers=BEARER).get_json()
        return next(backend for backend in document["backends"] if backend["name"] == "cold")

    wait_for(lambda: cold()["probed_at"] is not None, "the probe to give up")
    assert cold()["reachable"] is False
    assert cold()["detail"]
    assert "hunter2" not in str(cold())


def test_a_storage_that_breaks_its_promise_is_a_fault_that_the_log_tells(
    app: Flask, parts: Parts, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fault(begin: Begin) -> None:
        raise RuntimeError("secret inside")

    monkeypatch.setattr(parts.backends.use("local"), "probe", fault)
    assert failed(app) == ["default_backend"]
    document = app.test_client().get("/readyz?verbose", headers=BEARER).get_json()
    assert "secret inside" not in str(document)
    assert "a fault while looking at the backend local" in caplog.text
