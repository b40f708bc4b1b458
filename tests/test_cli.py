"""flask drive ..., as an operator types it: the real command, in a process of its own."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskCliRunner

from simpledrive.migration import Migration, Move
from simpledrive.parts import Parts
from simpledrive.rights import SERVER
from tests.apps import TOKEN, settings_for
from tests.drives import check, fetch, flip, keep, objects, put_orphan, replicas
from tests.servers import ROOT, wait_for
from tests.sources import content, source_of

MIGRATE = ("drive", "migrate-backend")


@pytest.fixture
def cli(app: Flask) -> FlaskCliRunner:
    return app.test_cli_runner()


def homes(parts: Parts) -> list[str]:
    return [blob.storage_backend for blob in parts.listing.page(SERVER, limit=1000).blobs]


def test_migrating_both_ways(parts: Parts, cli: FlaskCliRunner) -> None:
    for seed in range(3):
        keep(parts, f"{seed}", content(1000, seed))
    for source, target in (("local", "database"), ("database", "local")):
        result = cli.invoke(args=[*MIGRATE, source, target])
        assert result.exit_code == 0, result.output
        assert f"3 contents of 3000 bytes, in 3 records, from {source} to {target}." in result.output
        assert "Moved 3 contents, 3000 bytes. 0 failed." in result.output
        assert set(homes(parts)) == {target}
        for seed in range(3):
            assert fetch(parts, f"{seed}") == content(1000, seed)


def test_a_dry_run_changes_nothing(parts: Parts, cli: FlaskCliRunner) -> None:
    keep(parts, "a", b"bytes")
    result = cli.invoke(args=[*MIGRATE, "--dry-run", "local", "database"])
    assert (result.exit_code, "1 contents of 5 bytes" in result.output) == (0, True)
    assert homes(parts) == ["local"]
    assert objects(parts, "database") == set()


def test_what_fails_is_named_and_the_exit_code_says_so(parts: Parts, cli: FlaskCliRunner) -> None:
    for seed in range(3):
        keep(parts, f"{seed}", content(1000, seed))
    flip(parts, content(1000, 1), "local", 5)
    result = cli.invoke(args=[*MIGRATE, "local", "database"])
    assert result.exit_code == 1
    assert "Moved 2 contents, 2000 bytes. 1 failed." in result.output
    assert "1 records remain at local" in result.stderr
    assert f"Not moved: {source_of(content(1000, 1)).sha256}: local: " in result.stderr
    assert homes(parts) == ["database", "local", "database"]
    assert len(objects(parts, "database")) == 2


def test_what_remains_is_told_and_the_exit_code_says_so(
    parts: Parts, cli: FlaskCliRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing failed, and yet not all has moved: it was stored at the source while the run ended."""
    keep(parts, "a", b"bytes")
    run = parts.migration.run

    def and_then(source: str, target: str) -> Iterator[Move]:
        yield from run(source, target)
        keep(parts, "b", b"late", "local")

    monkeypatch.setattr(Migration, "run", lambda _self, source, target: and_then(source, target))
    result = cli.invoke(args=[*MIGRATE, "local", "database"])
    assert "Moved 1 contents, 5 bytes. 0 failed." in result.output
    assert "1 records remain at local" in result.stderr
    assert result.exit_code == 1
    monkeypatch.undo()
    assert cli.invoke(args=[*MIGRATE, "local", "database"]).exit_code == 0


def test_what_cannot_run_says_why_and_is_2(cli: FlaskCliRunner) -> None:
    result = cli.invoke(args=[*MIGRATE, "local", "nowhere"])
    assert result.exit_code == 2
    assert "There is no backend 'nowhere'. Known are: database, local." in result.stderr


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_interrupted_in_the_middle_and_run_again(
    make_app: Callable[..., Flask], tmp_path: Path, how: signal.Signals
) -> None:
    """Any number of times, until it is through. Nothing is ever half moved."""
    parts: Parts = make_app().extensions["simpledrive"]
    contents = {f"{seed}": content(100_000, seed) for seed in range(60)}
    for id, data in contents.items():
        keep(parts, id, data)
    environ = {name: os.environ[name] for name in ("PATH", "COVERAGE_PROCESS_CONFIG") if name in os.environ}
    environ |= {"INSTANCE_PATH": str(settings_for(tmp_path).instance_path), "API_TOKEN": TOKEN}
    command = [sys.executable, "-m", "flask", "--app", "wsgi", *MIGRATE, "local", "database"]
    interrupted = 0
    for turn in range(20):
        process = subprocess.Popen(
            command, cwd=ROOT, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        if interrupted < 3:
            before = homes(parts).count("database")
            goal = before + 1 + turn
            wait_until_moved(parts, goal, process)
            process.send_signal(how)
        output, _ = process.communicate(timeout=60)
        assert "Traceback" not in output
        if process.returncode == 0:
            break
        interrupted += 1
        assert process.returncode == (-how if how == signal.SIGKILL else 1)
        if how == signal.SIGINT:
            assert "Interrupted." in output
        check(parts)
    assert interrupted >= 2
    assert set(homes(parts)) == {"database"}
    for id, data in contents.items():
        assert fetch(parts, id) == data
    check(parts)


def wait_until_moved(parts: Parts, goal: int, process: "subprocess.Popen[str]") -> None:
    wait_for(lambda: homes(parts).count("database") >= goal or process.poll() is not None, "some moves")


def test_sweeping_says_what_it_removed(make_app: Callable[..., Flask]) -> None:
    app = make_app(sweep_grace=0, history_days=0)
    parts: Parts = app.extensions["simpledrive"]
    keep(parts, "a", b"bytes")
    parts.drive.delete(SERVER, "a")
    result = app.test_cli_runner().invoke(args=["drive", "sweep"])
    assert result.exit_code == 0
    assert result.output == "Removed 1 copies, 1 earlier versions, 0 left-overs, 0 orphans.\n"
    assert replicas(parts) == []


def test_many_orphans_want_force(parts: Parts, cli: FlaskCliRunner) -> None:
    for seed in range(3):
        put_orphan(parts, "local", seed, timedelta(days=2))
    assert "0 orphans" in cli.invoke(args=["drive", "sweep"]).output
    result = cli.invoke(args=["drive", "sweep", "--orphans"])
    assert result.exit_code == 1
    assert "local: 3 of 3 objects are named by no record" in result.stderr
    assert len(objects(parts, "local")) == 3
    result = cli.invoke(args=["drive", "sweep", "--orphans", "--force"])
    assert (result.exit_code, "3 orphans" in result.output) == (0, True)
    assert objects(parts, "local") == set()


def test_a_backend_that_cannot_be_swept_makes_the_exit_code_1(parts: Parts, cli: FlaskCliRunner) -> None:
    keep(parts, "a", b"bytes")
    base = parts.settings.local_storage_path
    base.rename(base.with_name("elsewhere"))
    result = cli.invoke(args=["drive", "sweep"])
    assert result.exit_code == 1
    assert "local: check: its marker is missing" in result.stderr


def test_settings_are_shown_without_secrets(make_app: Callable[..., Flask]) -> None:
    backends = {"cold": {"kind": "database", "url": "postgresql://user:hunter2@127.0.0.1/cold"}}
    result = make_app(backends=backends).test_cli_runner().invoke(args=["drive", "config"])
    assert result.exit_code == 0
    for secret in (TOKEN, "key-for-tests", "hunter2"):
        assert secret not in result.output
    assert "API_TOKEN " in result.output
    assert "STORAGE_BACKEND " in result.output
    assert "backends.cold.url" in result.output


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ([], "Keys, checking backends, moving blobs between them, sweeping, the audit log, settings."),
        (["check-backend"], "0: all of it went well; 1: some did not; 2: could not run."),
        (["migrate-backend"], "Exit code 0: all moved; 1: some did not; 2: could not run."),
        (["sweep"], "Remove what nothing needs any more and whose grace is over."),
        (["config"], "Print the effective settings, secrets hidden."),
        (["config", "check"], "Say what is unsafe about the settings, and what to do."),
        (["audit"], "Print the audit log, the latest entry first."),
    ],
)
def test_every_command_has_a_help_text(cli: FlaskCliRunner, command: list[str], says: str) -> None:
    result = cli.invoke(args=["drive", *command, "--help"])
    assert result.exit_code == 0
    assert says in " ".join(result.output.split())


def test_commands_on_a_database_without_tables_say_what_to_do(tmp_path: Path) -> None:
    environ = {"PATH": os.environ["PATH"], "INSTANCE_PATH": str(tmp_path / "new"), "API_TOKEN": TOKEN}
    for arguments in (("sweep",), ("migrate-backend", "local", "database")):
        result = subprocess.run(
            [sys.executable, "-m", "flask", "--app", "wsgi", "drive", *arguments],
            cwd=ROOT,
            env=environ,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert result.returncode != 0
        assert "Traceback" not in result.stderr
        assert "flask db upgrade" in result.stderr
