"""SIGKILL at every step of moving a blob: nothing is lost, nothing doubled, and the same request goes on."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from itertools import cycle
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import update

from simpledrive.models import Migration, MigrationItem, Replica, now
from simpledrive.moving.flow import Flow
from simpledrive.parts import Parts
from simpledrive.rights import SERVER
from tests.drives import check, fetch, impatient, keep, objects, replace, replicas
from tests.ftp_servers import FtpServer
from tests.mover_child import GOING_BACK, MOVING, SWEEPING
from tests.moves import begin, run, states
from tests.s3_servers import S3Server
from tests.servers import ROOT
from tests.sources import content

CONTENTS = {f"{seed}": content(300_000 if seed % 3 else 5, seed // 2) for seed in range(10)} | {
    "0": b"replaced"
}
TARGETS = ("database", "bucket", "nas")
ONE_EACH = list(zip(MOVING, cycle(TARGETS), strict=False))
"""Each costs a process: that every step meets every target is for `make soak`."""


@pytest.fixture
def make_drive(
    make_app: Callable[..., Flask], rclone_s3: S3Server, pyftpdlib: FtpServer
) -> Callable[..., tuple[Parts, dict[str, Any]]]:
    """Makes a drive with the targets, and says how another process configures it."""

    def make(**database: Any) -> tuple[Parts, dict[str, Any]]:
        backends = {"bucket": rclone_s3.config(), "nas": pyftpdlib.config()}
        parts: Parts = make_app(backends=backends, **database).extensions["simpledrive"]
        for id, data in CONTENTS.items():
            keep(parts, id, data if id != "0" else content(5))
        replace(parts, "0", CONTENTS["0"])
        for backend in parts.backends:
            parts.backends.use(backend)
        return parts, {"database_url": parts.settings.database_url, "backends": backends}

    return make


def process_that(
    parts: Parts, settings: dict[str, Any], act: str, step: str, argument: str, times: int = 1
) -> "subprocess.Popen[bytes]":
    """Does that in a process of its own, which dies at that step, if any, when it is there so many times."""
    command = [sys.executable, "-m", "tests.mover_child", str(parts.settings.folder), act, step, str(times)]
    environ = {name: os.environ[name] for name in ("PATH", "COVERAGE_PROCESS_CONFIG") if name in os.environ}
    return subprocess.Popen(
        [*command, argument, json.dumps(settings)],
        cwd=ROOT,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def kill(parts: Parts, settings: dict[str, Any], act: str, step: str, argument: str, times: int = 1) -> None:
    """Has a process of its own do that and die at that step, at the given time that it is there."""
    process = process_that(parts, settings, act, step, argument, times)
    _, errors = process.communicate(timeout=120)
    assert b"Traceback" not in errors, errors.decode()
    assert process.returncode == -signal.SIGKILL
    check(parts)
    everything_is_readable(parts)
    for table in (Migration, MigrationItem):
        late = update(table).values(leased_until=now() - timedelta(seconds=1))
        parts.database.write(lambda session, late=late: session.execute(late))


def everything_is_readable(parts: Parts) -> None:
    for id, data in CONTENTS.items():
        assert fetch(parts, id) == data


def everything_is_at(parts: Parts, backend: str) -> None:
    """Once, and nothing is anywhere else; as soon as what was let go is kept no longer, and swept."""
    everything_is_readable(parts)
    check(parts)
    parts.database.write(lambda session: session.execute(update(Replica).values(keep_until=None)))
    assert impatient(parts).sweep(orphans=True, force=True).problems == []
    check(parts)
    rows = replicas(parts)
    assert {row.storage_backend for row in rows} == {backend}
    for name in parts.backends:
        assert objects(parts, name) == {row.storage_key for row in rows if row.storage_backend == name}


def killed_while_moving(drive: tuple[Parts, dict[str, Any]], step: str, target: str, times: int = 1) -> None:
    parts, settings = drive
    kill(parts, settings, "move", step, target, times)
    migration = begin(parts, target=target)
    assert len(parts.migrations.page(SERVER, None, 10)[0]) == 1
    list(run(parts, migration))
    assert states(parts, migration) == {"moved": 11}
    everything_is_at(parts, target)


@pytest.mark.parametrize(("step", "target"), ONE_EACH)
def test_killed_once_at_each_step(make_drive: Callable[..., Any], step: str, target: str) -> None:
    killed_while_moving(make_drive(), step, target)


@pytest.mark.soak
@pytest.mark.parametrize("times", [1, 2, 5])
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("step", MOVING)
def test_killed_early_and_late_at_each_step_on_each_database(
    make_drive: Callable[..., Any], any_database: dict[str, Any], step: str, target: str, times: int
) -> None:
    if step.startswith(("the plan", "all are")):
        times = 1  # that comes once
    killed_while_moving(make_drive(**any_database), step, target, times)


@pytest.mark.parametrize("step", GOING_BACK)
def test_killed_while_it_goes_back(make_drive: Callable[..., Any], step: str) -> None:
    parts, settings = make_drive()
    migration = begin(parts, grace=timedelta(days=7))
    list(run(parts, migration))
    kill(parts, settings, "go back", step, migration.id)
    list(parts.migration_work.go_back(parts.migrations.get(SERVER, migration.id), Flow()))
    assert states(parts, migration) == {"back": 11}
    assert parts.migrations.get(SERVER, migration.id).state == "rolled_back"
    everything_is_at(parts, "local")


@pytest.mark.parametrize("step", SWEEPING)
def test_killed_while_the_old_copies_are_swept(make_drive: Callable[..., Any], step: str) -> None:
    parts, settings = make_drive()
    list(run(parts, begin(parts)))
    kill(parts, settings, "sweep", step, "")
    everything_is_at(parts, "database")


def test_two_processes_share_a_migration_and_nothing_moves_twice(any_app: Flask) -> None:
    parts: Parts = any_app.extensions["simpledrive"]
    contents = {f"{seed}": content(3000, seed // 2) for seed in range(120)}
    for id, data in contents.items():
        keep(parts, id, data)
    for backend in ("local", "database"):
        parts.backends.use(backend)
    settings = {"database_url": parts.settings.database_url}
    processes = [process_that(parts, settings, "move", "", "database") for _ in range(2)]
    said = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    told = [json.loads(output.splitlines()[-1]) for output, _ in said]
    assert {state for outcomes in told for state in outcomes} == {"moved"}
    assert sum(outcomes.get("moved", 0) for outcomes in told) == 120
    for migration in parts.migrations.page(SERVER, None, 10)[0]:
        assert states(parts, migration) == ({"moved": 120} if migration.items else {})
    assert len(objects(parts, "database")) == 60
    for id, data in contents.items():
        assert fetch(parts, id) == data
        assert parts.drive.describe(SERVER, id).storage_backend == "database"
    check(parts)
