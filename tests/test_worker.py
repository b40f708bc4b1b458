"""The worker, as processes: beside the server and by itself; what it takes up, and how it ends."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from flask import Flask

from simpledrive import create_app, worker
from simpledrive.errors import Busy
from simpledrive.parts import Parts
from simpledrive.rights import SERVER
from simpledrive.worker import Job, Worker
from tests.apps import BEARER, settings_for
from tests.drives import check, fetch, keep, objects, replicas
from tests.moves import begin, states
from tests.servers import ROOT, Server, wait_for
from tests.sources import content
from tests.strict_s3 import StrictS3
from tests.strict_signature import Asked

# --- Any jobs


def test_what_fails_is_logged_tried_again_and_holds_up_no_other(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(worker, "AFTER_FAULT", 0.001)
    monkeypatch.setattr(worker, "PAUSE", 0.001)
    monkeypatch.setattr(worker, "LOOK", 0.001)
    done: dict[str, int] = {"busy": 0, "faulty": 0, "fine": 0}

    def busy(_: threading.Event) -> bool:
        done["busy"] += 1
        raise Busy("The database is busy.")

    def faulty(_: threading.Event) -> bool:
        done["faulty"] += 1
        raise ZeroDivisionError

    def fine(_: threading.Event) -> bool:
        done["fine"] += 1
        return done["fine"] % 2 == 0

    Worker([Job("busy", busy), Job("faulty", faulty), Job("fine", fine)]).run(lambda: min(done.values()) < 3)
    assert "busy: The database is busy." in caplog.text
    assert "a fault while faulty" in caplog.text
    assert "ZeroDivisionError" in caplog.text


def test_it_ends_when_its_jobs_have_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "LOOK", 0.001)
    began, let_go = threading.Event(), threading.Event()

    def long(stop: threading.Event) -> bool:
        began.set()
        stop.wait()
        let_go.set()
        return True

    Worker([Job("long", long)]).run(lambda: not began.is_set())
    assert let_go.is_set()


# --- Beside the server


def busy_processes(server: Server) -> list[int]:
    """The processes that have said so far that they do the long work, in their order."""
    said = [line for line in server.output().splitlines() if " does what takes long: " in line]
    return [int(line.partition("process ")[2].split()[0]) for line in said]


@pytest.fixture(scope="module")
def working(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with one process that serves, and one that works."""
    server = Server(tmp_path_factory.mktemp("working"), WORKERS=1, RUN_JOBS=True)
    try:
        server.start()
        wait_for(lambda: busy_processes(server), "the worker")
        yield server
    finally:
        server.stop()


@pytest.fixture
def parts(working: Server) -> Iterator[Parts]:
    """The same drive, seen from here."""
    app = create_app(settings_for(working.folder))
    parts: Parts = app.extensions["simpledrive"]
    yield parts
    parts.backends.close()
    parts.database.engine.dispose()


def ask(server: Server, path: str, **body: Any) -> dict[str, Any]:
    answer = requests.post(f"{server.url}/v1/migrations{path}", json=body or None, headers=BEARER, timeout=20)
    assert answer.status_code == 202, answer.text
    document: dict[str, Any] = answer.json()
    return document


def state(server: Server, id: str) -> str:
    answer = requests.get(f"{server.url}/v1/migrations/{id}", headers=BEARER, timeout=20)
    return str(answer.json()["state"])


def test_a_migration_asked_for_over_the_api_runs_and_goes_back(working: Server, parts: Parts) -> None:
    for seed in range(3):
        keep(parts, f"{seed}", content(1000, seed))
    asked = ask(working, "", source="local", target="database")
    assert asked["state"] == "planning"
    wait_for(lambda: state(working, asked["id"]) == "ended", "the end of the migration")
    assert {blob.storage_backend for blob in parts.listing.page(SERVER).blobs} == {"database"}
    assert ask(working, f"/{asked['id']}/roll-back")["state"] == "rolling_back"
    wait_for(lambda: state(working, asked["id"]) == "rolled_back", "the way back")
    assert {blob.storage_backend for blob in parts.listing.page(SERVER).blobs} == {"local"}
    check(parts)


def test_the_worker_is_started_again_when_it_dies_and_the_rest_serves_on(working: Server) -> None:
    _, *processes = working.pids()
    assert len(processes) == 2
    dead = busy_processes(working)[-1]
    (serves,) = set(processes) - {dead}
    os.kill(dead, signal.SIGKILL)
    wait_for(lambda: busy_processes(working)[-1] != dead, "another worker")
    assert set(working.pids()[1:]) == {serves, busy_processes(working)[-1]}


def test_settings_that_are_read_anew_make_it_anew(working: Server) -> None:
    old = working.pids()[1:]
    os.kill(working.pids()[0], signal.SIGHUP)
    wait_for(lambda: len(working.pids()) == 3 and not set(old) & set(working.pids()), "other processes")
    wait_for(lambda: busy_processes(working)[-1] in working.pids(), "another worker")


def test_of_fewer_processes_one_serves_and_one_works(working: Server) -> None:
    arbiter, *processes = working.pids()
    works = busy_processes(working)[-1]
    os.kill(arbiter, signal.SIGTTIN)
    wait_for(lambda: len(working.pids()) == 4, "one process more")
    for _ in range(2):
        os.kill(arbiter, signal.SIGTTOU)
    wait_for(lambda: len(working.pids()) == 3, "one process less")
    assert works in working.pids()
    assert requests.get(f"{working.url}/livez", timeout=20).ok
    assert set(working.pids()) != {arbiter, *processes}, "the oldest has gone"


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_it_ends_with_the_server(make_server: Callable[..., Server], how: signal.Signals) -> None:
    server = make_server(WORKERS=1, RUN_JOBS=True)
    wait_for(lambda: busy_processes(server), "the worker")
    processes = server.pids()
    assert server.process is not None
    server.process.send_signal(how)
    server.process.wait(20)
    wait_for(lambda: not any(map(is_alive, processes)), "the end of all processes")


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


# --- By itself


def test_told_to_end_in_the_middle_of_a_migration_it_leaves_a_whole_drive(
    make_app: Callable[..., Flask], strict_s3: StrictS3, tmp_path: Path
) -> None:
    """The bucket takes some blobs and then keeps the worker waiting; SIGTERM comes meanwhile."""
    backends = {"bucket": strict_s3.config()}
    parts: Parts = make_app(backends=backends).extensions["simpledrive"]
    for seed in range(20):
        keep(parts, f"{seed}", content(1000, seed))
    migration = begin(parts, target="bucket")
    puts, go_on = [], threading.Event()

    def hold(asked: Asked) -> None:
        if asked.method == "PUT":
            puts.append(asked)
        if len(puts) > 8:
            assert go_on.wait(60)

    strict_s3.next.extend([hold] * 500)
    server = Server(tmp_path)
    (tmp_path / "simpledrive.toml").write_text(toml(backends))
    command = [sys.executable, "-m", "flask", "--app", "wsgi", "drive", "worker"]
    environ = server.environ | {"SIMPLEDRIVE_CONFIG": str(tmp_path / "simpledrive.toml")}
    process = subprocess.Popen(command, cwd=ROOT, env=environ, stderr=subprocess.PIPE, text=True)
    try:
        wait_for(lambda: len(puts) > 8 or process.poll() is not None, "blobs on their way")
        wait_for(lambda: states(parts, migration).get("moved"), "some that have moved")
        process.send_signal(signal.SIGTERM)
        go_on.set()
        _, output = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, "Ended." in output, "Traceback" in output) == (0, True, False), output
    told = states(parts, migration)
    assert told["moved"] > 0
    assert told["pending"] > 0
    assert set(told) == {"moved", "pending"}
    assert objects(parts, "bucket") == {
        row.storage_key for row in replicas(parts) if row.storage_backend == "bucket"
    }
    check(parts)
    leases = {item.leased_until for items in parts.migrations.items(SERVER, migration.id) for item in items}
    assert leases == {None}
    for seed in range(20):
        assert fetch(parts, f"{seed}") == content(1000, seed)


def toml(backends: dict[str, dict[str, str]]) -> str:
    """The tables of a configuration file."""
    return "\n".join(
        line
        for name, options in backends.items()
        for line in (f"[backends.{name}]", *(f'{option} = "{value}"' for option, value in options.items()))
    )
