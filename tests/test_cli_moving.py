"""flask drive migrate-backend and its siblings, as an operator types them."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskCliRunner

from simpledrive.cli import drive
from simpledrive.cli.moving import exclusively
from simpledrive.moving.leasing import Leases
from simpledrive.parts import Parts
from simpledrive.rights import SERVER
from tests.apps import TOKEN, settings_for
from tests.drives import check, digest_of, fetch, flip, keep, lose, objects
from tests.moves import begin
from tests.servers import ROOT, wait_for
from tests.sources import content, source_of

MIGRATE = ("drive", "migrate-backend")


@pytest.fixture
def cli(app: Flask) -> FlaskCliRunner:
    return app.test_cli_runner()


def homes(parts: Parts) -> list[str]:
    return [blob.storage_backend for blob in parts.listing.page(SERVER, limit=1000).blobs]


def latest(parts: Parts) -> str:
    (migration,), _ = parts.migrations.page(SERVER, None, 1)
    return migration.id


def test_migrating_both_ways(parts: Parts, cli: FlaskCliRunner) -> None:
    for seed in range(3):
        keep(parts, f"{seed}", content(1000, seed))
    for source, target in (("local", "database"), ("database", "local")):
        result = cli.invoke(args=[*MIGRATE, source, target])
        assert result.exit_code == 0, result.output
        said = f"Migration {latest(parts)}: 3 of 3 records moved, 3000 bytes.\n"
        assert result.output == said
        assert set(homes(parts)) == {target}
        for seed in range(3):
            assert fetch(parts, f"{seed}") == content(1000, seed)


def test_a_dry_run_changes_nothing(parts: Parts, cli: FlaskCliRunner) -> None:
    keep(parts, "a", b"bytes")
    result = cli.invoke(args=[*MIGRATE, "--dry-run", "local", "database"])
    assert result.exit_code == 0
    assert "1 records of 5 bytes would move from local to database.\n  a\n" in result.output
    assert homes(parts) == ["local"]
    assert objects(parts, "database") == set()


def test_what_fails_is_named_and_the_exit_code_says_so(parts: Parts, cli: FlaskCliRunner) -> None:
    for seed in range(3):
        keep(parts, f"{seed}", content(1000, seed))
    flip(parts, content(1000, 1), "local", 5)
    result = cli.invoke(args=[*MIGRATE, "local", "database"])
    assert result.exit_code == 1
    assert "2 of 3 records moved, 2000 bytes; 1 failed." in result.output
    assert f"Not moved: {source_of(content(1000, 1)).sha256} (1 records): local: " in result.stderr
    assert homes(parts) == ["database", "local", "database"]
    assert len(objects(parts, "database")) == 2


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
    slowly = ["--bandwidth", "2M"]
    interrupted = 0
    for turn in range(20):
        process = subprocess.Popen(
            [*command, *slowly] if interrupted < 3 else command,
            cwd=ROOT,
            env=environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
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
        assert process.returncode == (-how if how == signal.SIGKILL else 130)
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


def lines(result_output: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in result_output.splitlines()]


def test_a_dry_run_names_a_plan_that_is_kept_to(parts: Parts, cli: FlaskCliRunner) -> None:
    for seed in range(12):
        keep(parts, f"{seed:02}", content(10, seed))
    result = cli.invoke(args=[*MIGRATE, "local", "database", "--dry-run"])
    assert "  09\n  and 2 more\n" in result.output
    (told,) = lines(cli.invoke(args=[*MIGRATE, "local", "database", "--dry-run", "--json"]).output)
    assert (told["items"], told["bytes"]) == (12, 120)
    assert f"--plan {told['plan']}" in result.output
    keep(parts, "new", b"bytes")
    refused = cli.invoke(args=[*MIGRATE, "local", "database", "--plan", str(told["plan"])])
    assert refused.exit_code == 2
    assert "What matches has changed since" in refused.stderr
    assert set(homes(parts)) == {"local"}
    selected = ["--max-size", "10", "--prefix", "0"]
    (told,) = lines(cli.invoke(args=[*MIGRATE, "local", "database", *selected, "--dry-run", "--json"]).output)
    moved = cli.invoke(args=[*MIGRATE, "local", "database", *selected, "--plan", str(told["plan"])])
    assert moved.exit_code == 0, moved.output
    assert homes(parts).count("database") == 10


def test_programs_are_told_each_outcome_and_the_end(parts: Parts, cli: FlaskCliRunner) -> None:
    for seed in range(3):
        keep(parts, f"{seed}", content(10, seed))
    lose(parts, content(10, 1), "local")
    result = cli.invoke(args=[*MIGRATE, "local", "database", "--json"])
    assert result.exit_code == 1
    *outcomes, end = lines(result.output)
    states = {outcome["sha256"]: outcome["state"] for outcome in outcomes}
    assert states == {digest_of(content(10, seed)): "failed" if seed == 1 else "moved" for seed in range(3)}
    assert end["migration"]["moved"] == 2  # type: ignore[index]
    assert end["migration"]["id"] == latest(parts)  # type: ignore[index]


def test_a_receipt_is_checked_by_sha256sum(make_app: Callable[..., Flask], tmp_path: Path) -> None:
    """By somebody who has neither the drive nor its database: the target's files, and this."""
    archive = tmp_path / "archive"
    app = make_app(backends={"archive": {"kind": "local", "path": str(archive)}})
    parts: Parts = app.extensions["simpledrive"]
    for seed in range(5):
        keep(parts, f"{seed}", content(1000, seed))
    receipt = tmp_path / "receipt.jsonl"
    result = app.test_cli_runner().invoke(args=[*MIGRATE, "local", "archive", "--receipt", str(receipt)])
    assert result.exit_code == 0, result.output
    told = lines(receipt.read_text())
    assert [line["id"] for line in sorted(told, key=lambda line: str(line["id"]))] == [*"01234"]
    assert all(line["verified_at"] and line["source_key"] for line in told)
    keys = [str(line["target_key"]) for line in told]
    sums = "".join(f"{key.partition('.')[0]}  objects/{key[:2]}/{key[2:4]}/{key}\n" for key in keys)
    assert {line["sha256"] for line in told} == {key.partition(".")[0] for key in keys}
    checked = subprocess.run(
        ["sha256sum", "--check", "--strict"],
        input=sums,
        cwd=archive,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (checked.returncode, checked.stdout.count(": OK")) == (0, 5), checked.stderr


def test_a_receipt_that_cannot_be_written_is_told_before_anything_moves(
    parts: Parts, cli: FlaskCliRunner, tmp_path: Path
) -> None:
    keep(parts, "a", b"bytes")
    for path in (tmp_path / "nowhere" / "receipt", tmp_path):
        result = cli.invoke(args=[*MIGRATE, "local", "database", "--receipt", str(path)])
        assert result.exit_code == 2, result.output
    assert homes(parts) == ["local"]
    assert parts.migrations.page(SERVER, None, 1) == ([], None)


def test_a_receipt_of_nothing_takes_the_place_of_no_other(
    parts: Parts, cli: FlaskCliRunner, tmp_path: Path
) -> None:
    keep(parts, "a", b"bytes")
    file = tmp_path / "receipt.jsonl"
    command = [*MIGRATE, "local", "database", "--receipt", str(file)]
    assert cli.invoke(args=command).exit_code == 0
    written = file.read_bytes()
    assert cli.invoke(args=command).exit_code == 0
    assert file.read_bytes() == written != b""
    assert [path.name for path in tmp_path.glob("receipt*")] == ["receipt.jsonl"]


@pytest.mark.parametrize(
    "option",
    [
        ["--bandwidth", "0"],
        ["--bandwidth", "0.5"],
        ["--min-size", "99999999999999999999"],
        ["--max-size", "9999999999EiB"],
        ["--plan", "\udcff"],
        ["--plan", "a\x00"],
        [argument for number in range(10_001) for argument in ("--id", str(number))],
    ],
    ids=lambda option: " ".join(option[:2]).encode("unicode_escape").decode(),
)
def test_what_no_option_can_be_is_2(parts: Parts, cli: FlaskCliRunner, option: list[str]) -> None:
    keep(parts, "a", b"bytes")
    result = cli.invoke(args=[*MIGRATE, "local", "database", *option])
    assert result.exit_code == 2, result.output
    assert homes(parts) == ["local"]


def test_one_of_several_commands_that_is_interrupted_ends_alone(app: Flask, parts: Parts) -> None:
    keep(parts, "a", b"bytes")
    migration = begin(parts)
    other = Leases(parts.database, migration.id)
    assert len(other.take(1)) == 1
    with other.kept(), app.app_context(), pytest.raises(KeyboardInterrupt), exclusively(migration):
        raise KeyboardInterrupt
    assert parts.migrations.get(SERVER, migration.id).state == "running"
    with app.app_context(), pytest.raises(KeyboardInterrupt), exclusively(migration):
        raise KeyboardInterrupt
    assert parts.migrations.get(SERVER, migration.id).state == "paused"


def test_a_migration_is_listed_rolled_back_and_finalized(parts: Parts, cli: FlaskCliRunner) -> None:
    for seed in range(3):
        keep(parts, f"{seed}", content(10, seed))
    cli.invoke(args=[*MIGRATE, "local", "database"])
    id = latest(parts)
    listed = cli.invoke(args=["drive", "migrations"]).output
    assert id in listed
    assert "local to database  ended  3 of 3 moved, 30 bytes, 0 failed" in listed
    lose(parts, content(10, 2), "local")
    result = cli.invoke(args=["drive", "rollback-migration", id])
    assert result.exit_code == 1
    assert "2 records went back, 1 stay at database" in result.output
    assert "Its copy at local is gone." in result.stderr
    assert (
        "stays  2  version 1  Its copy at local is gone."
        in cli.invoke(args=["drive", "migrations", id]).output
    )
    assert homes(parts) == ["local", "local", "database"]

    cli.invoke(args=[*MIGRATE, "database", "local"])
    assert "Go on?" in cli.invoke(args=["drive", "finalize-migration", latest(parts)], input="n\n").output
    assert parts.migrations.get(SERVER, latest(parts)).state == "ended"
    assert cli.invoke(args=["drive", "finalize-migration", latest(parts), "--yes"]).exit_code == 0
    assert parts.migrations.get(SERVER, latest(parts)).state == "finalized"


@pytest.mark.parametrize(
    "command", ["rollback-migration", "finalize-migration", "pause-migration", "migrations"]
)
def test_a_migration_that_does_not_exist_is_2(cli: FlaskCliRunner, command: str) -> None:
    result = cli.invoke(args=["drive", command, "nothing"])
    assert result.exit_code == 2
    assert "There is no migration with the id 'nothing'." in result.stderr


def commands_shown() -> list[list[str]]:
    """Every command in the guide, with its arguments."""
    guide = (ROOT / "docs" / "moving.md").read_text()
    return [shlex.split(line) for line in re.findall(r"^\$ flask drive (.+)$", guide, re.MULTILINE)]


def test_the_guide_shows_commands_that_there_are() -> None:
    shown = commands_shown()
    assert {name for name, *_ in shown} >= {"migrate-backend", "migrations", "rollback-migration"}
    for name, *arguments in shown:
        drive.commands[name].make_context(name, arguments)


def test_bandwidth_is_kept_to(parts: Parts, cli: FlaskCliRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every byte is read and read back: 200 KB at 100 KB/s wait for about two seconds together."""
    waited: list[float] = []
    monkeypatch.setattr("simpledrive.moving.flow.Flow.wait", lambda _self, seconds: waited.append(seconds))
    monkeypatch.setattr("simpledrive.moving.flow.time.monotonic", lambda: 0.0)
    keep(parts, "a", content(100_000))
    assert cli.invoke(args=[*MIGRATE, "local", "database", "--bandwidth", "100KB"]).exit_code == 0
    assert max(waited) == pytest.approx(2.0)
