"""SIGKILL at every step of moving a blob: nothing is lost, nothing doubled, and the same request goes on."""

import json
import os
import signal
import subprocess
import sys
from datetime import timedelta

import pytest
from flask import Flask
from sqlalchemy import update

from simpledrive.models import MigrationItem, now
from simpledrive.parts import Parts
from simpledrive.rights import SERVER
from tests.drives import check, fetch, impatient, keep, objects, replace, replicas
from tests.mover_child import STEPS
from tests.moves import begin, run, states
from tests.servers import ROOT
from tests.sources import content


def kill(parts: Parts, step: str, times: int) -> int:
    """How a process ends that works at a migration and is to die when it is at that step so many times."""
    settings = {"database_url": parts.settings.database_url}
    command = [sys.executable, "-m", "tests.mover_child", str(parts.settings.folder)]
    environ = {name: os.environ[name] for name in ("PATH", "COVERAGE_PROCESS_CONFIG") if name in os.environ}
    ended = subprocess.run(
        [*command, step, str(times), json.dumps(settings)],
        cwd=ROOT,
        env=environ,
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert b"Traceback" not in ended.stderr, ended.stderr.decode()
    return ended.returncode


def killed_at(parts: Parts, step: str, times: int) -> None:
    contents = {f"{seed}": content(300_000 if seed % 3 else 5, seed // 2) for seed in range(10)}
    for id, data in contents.items():
        keep(parts, id, data)
    replace(parts, "0", b"replaced")
    contents["0"] = b"replaced"
    for backend in ("local", "database"):
        parts.backends.use(backend)
    assert kill(parts, step, times) == -signal.SIGKILL
    check(parts)
    for id, data in contents.items():
        assert fetch(parts, id) == data

    late = update(MigrationItem).values(leased_until=now() - timedelta(seconds=1))
    parts.database.write(lambda session: session.execute(late))
    migration = begin(parts)
    assert len(parts.migrations.page(SERVER, None, 10)[0]) == 1
    list(run(parts, migration))
    assert states(parts, migration) == {"moved": 11}
    for id, data in contents.items():
        assert fetch(parts, id) == data
        assert parts.drive.describe(SERVER, id).storage_backend == "database"
    check(parts)
    swept = impatient(parts).sweep(orphans=True, force=True)
    assert swept.problems == []
    assert objects(parts, "database") == {row.storage_key for row in replicas(parts)}
    assert objects(parts, "local") == set()


@pytest.mark.parametrize("step", STEPS)
def test_killed_once_at_each_step(parts: Parts, step: str) -> None:
    killed_at(parts, step, 1)


@pytest.mark.soak
@pytest.mark.parametrize("times", [2, 3, 5])
@pytest.mark.parametrize("step", STEPS)
def test_killed_later_at_each_step_on_each_database(any_app: Flask, step: str, times: int) -> None:
    parts: Parts = any_app.extensions["simpledrive"]
    if step.startswith(("the plan", "all are")):
        times = 1  # that comes once
    killed_at(parts, step, times)
