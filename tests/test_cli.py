"""flask drive ..., as an operator types it: the real command, in a process of its own."""

import os
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskCliRunner

from simpledrive.parts import Parts
from simpledrive.rights import SERVER
from tests.apps import TOKEN
from tests.drives import keep, objects, put_orphan, replicas
from tests.servers import ROOT


@pytest.fixture
def cli(app: Flask) -> FlaskCliRunner:
    return app.test_cli_runner()


def homes(parts: Parts) -> list[str]:
    return [blob.storage_backend for blob in parts.listing.page(SERVER, limit=1000).blobs]


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
        ([], "What whoever runs the drive does at its side."),
        (["verify"], "Exit code 0: all is right, or was repaired; 1: some is bad; 2: some could not be"),
        (["fsck"], "Exit code 0: clean, or all was fixed; 1: something was found; 2: some could not be"),
        (["check-backend"], "0: all of it went well; 1: some did not; 2: could not run."),
        (["migrate-backend"], "Exit code 0: all moved; 1: some did not; 2: could not run; 130: interrupted."),
        (["worker"], "Do the drive's long work, migrations for instance, until Ctrl-C or SIGTERM."),
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
