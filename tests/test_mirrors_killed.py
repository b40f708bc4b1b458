"""SIGKILL at every step of making a mirror's copy: another worker goes on, and nothing is left behind."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable

import pytest
from flask import Flask

from simpledrive.parts import Parts
from tests.drives import check, fetch, impatient, keep, objects, replicas
from tests.mirror_child import STEPS
from tests.mirrored import catch_up, make_due, waiting
from tests.servers import ROOT
from tests.sources import content


def kill(parts: Parts, step: str, times: int) -> int:
    """How a worker's process ends that is to die when it is at that step so many times."""
    given = parts.settings
    settings = {
        "database_url": given.database_url,
        "backends": {"archive": given.backends["archive"]},
        "mirrors": {home: table.to for home, table in given.mirrors.items()},
    }
    command = [sys.executable, "-m", "tests.mirror_child", str(given.folder), step, str(times)]
    environ = {name: os.environ[name] for name in ("PATH", "COVERAGE_PROCESS_CONFIG") if name in os.environ}
    ended = subprocess.run(
        [*command, json.dumps(settings)],
        cwd=ROOT,
        env=environ,
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert b"Traceback" not in ended.stderr, ended.stderr.decode()
    return ended.returncode


def killed_at(make: Callable[..., Flask], step: str, times: int) -> None:
    before: Parts = make(mirrors={}).extensions["simpledrive"]
    parts: Parts = make().extensions["simpledrive"]
    contents = {f"{seed}": content(300_000 if seed % 3 else 5, seed // 2) for seed in range(10)}
    for id, data in contents.items():
        keep(before if int(id) < 5 else parts, id, data)
    for backend in ("local", "archive"):
        parts.backends.use(backend)
    assert kill(parts, step, times) == -signal.SIGKILL
    for id, data in contents.items():
        assert fetch(parts, id) == data
    make_due(parts)
    catch_up(parts)
    assert waiting(parts) == []
    check(parts)
    swept = impatient(parts).sweep(orphans=True, force=True)
    assert swept.problems == []
    keys = {row.storage_key for row in replicas(parts)}
    assert objects(parts, "local") | objects(parts, "archive") == keys
    assert len(keys) == 2 * len(set(contents.values()))


@pytest.mark.parametrize("step", STEPS)
def test_killed_once_at_each_step(make_mirrored: Callable[..., Flask], step: str) -> None:
    killed_at(make_mirrored, step, 1)


@pytest.mark.soak
@pytest.mark.parametrize("times", [2, 3, 5])
@pytest.mark.parametrize("step", STEPS)
def test_killed_later_at_each_step_on_each_database(
    make_any_mirrored: Callable[..., Flask], step: str, times: int
) -> None:
    killed_at(make_any_mirrored, step, 1 if "search" in step or "lacks" in step else times)
