"""SIGKILL at every step of writing a back-up and of bringing one back: what was whole before stays so."""

import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from simpledrive import create_app
from simpledrive.backup import Folder, recording, restoring, sums, verifying, writing
from simpledrive.backup import folder as folders
from simpledrive.backup.providing import Provider
from simpledrive.backup.recording import Restoration
from simpledrive.backup.runs import Writer
from simpledrive.parts import Parts
from simpledrive.rights import SERVER
from simpledrive.storage.measured import MeasuredStorage
from simpledrive.streams.source import VerifyingReader
from tests.backups import MakeDrive, back_up, bring_back, check_sums, put, records
from tests.drives import check, impatient, keep, objects, replicas
from tests.mover_child import die_at
from tests.sources import content

Step = tuple[Any, str, bool, int]
"""At whose method the process dies, whether that is when it has returned, and at which call of it."""

WRITING: dict[str, Step] = {
    "the records are half written": (Writer, "add", True, 3),
    "the records are written": (writing, "write_snapshot", True, 1),
    "a byte was read": (VerifyingReader, "read", True, 1),
    "an object is written, without its name": (folders, "write_all", True, 1),
    "an object has its name": (Folder, "keep", True, 1),
    "all objects are on the disk": (Folder, "settle", True, 1),
    "the run is written, without its name": (Writer, "end", True, 2),
    "the run has its name": (sums, "add", False, 1),
    "SHA256SUMS names the run": (sums, "add", True, 1),
    "SHA256SUMS names an old run no more": (sums, "rewrite", True, 1),
    "an old run is gone": (Folder, "remove", True, 1),
    "an object is about to go": (Folder, "digests", True, 1),
}

BRINGING_BACK: dict[str, Step] = {
    "the beginning is noted, not yet committed": (recording, "begin", True, 1),
    "an object was read": (VerifyingReader, "read", True, 1),
    "bytes are about to be put": (MeasuredStorage, "put", False, 1),
    "bytes are put": (MeasuredStorage, "put", True, 2),
    "bytes are read back": (Provider, "_read_back", True, 3),
    "records are written, not yet committed": (Restoration, "restore", True, 2),
    "records are there": (restoring, "Restored", False, 2),
    "all is there, the end is not noted": (recording, "end", False, 1),
}


def killed(parts: Parts, step: Step, work: Callable[[Parts], object]) -> None:
    """Has a process of its own do this to the same drive, and die at that step."""
    child = os.fork()
    if child == 0:
        try:
            own: Parts = create_app(parts.settings).extensions["simpledrive"]
            die_at(*step)
            work(own)
        except BaseException:
            traceback.print_exc(file=sys.stderr)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), "it was not killed"
    assert os.WTERMSIG(status) == signal.SIGKILL


def wrong(path: Path, when: str) -> list[str]:
    opened = Folder(path)
    return [found.why for found in verifying.verify(opened, opened.run(when), 2) if found.why]


@pytest.mark.parametrize("step", WRITING)
def test_a_killed_run_leaves_the_ones_before_it_and_the_next_one_ends(
    parts: Parts, folder: Path, make_drive: MakeDrive, step: str
) -> None:
    put(parts, "gone", b"only in the first run")
    first = back_up(parts, folder).name
    parts.drive.delete(SERVER, "gone", permanent=True)
    for seed in range(6):
        put(parts, f"{seed % 4}", content(300_000 if seed % 3 else 5, seed))
    second = back_up(parts, folder).name
    before = records(parts)
    for seed in range(6):
        put(parts, f"{seed}", content(300_000 if seed % 3 else 5, seed + 4))

    killed(parts, WRITING[step], lambda own: back_up(own, folder, keep=2, workers=1))
    assert check_sums(folder) == (0, [])
    assert wrong(folder, second) == []
    names = [run.name for run in Folder(folder).runs()]
    assert all(wrong(folder, name) == [] for name in names), "what has a name is whole"
    assert (first in names) == (step not in ("an old run is gone", "an object is about to go"))

    third = back_up(parts, folder, keep=2).name
    assert check_sums(folder) == (0, [])
    assert {path.name for path in folder.glob("objects/*/*")} == {
        record.sha256 for run in Folder(folder).runs() for record in run.records()
    }
    assert [*(folder / "tmp").iterdir()] == []
    later = make_drive("later")
    assert bring_back(later, folder, third) == []
    assert records(later) == records(parts)
    if second in [run.name for run in Folder(folder).runs()]:
        earlier = make_drive("earlier")
        assert bring_back(earlier, folder, second) == []
        assert records(earlier) == before


@pytest.mark.parametrize("step", BRINGING_BACK)
def test_a_killed_restore_is_gone_on_with(
    parts: Parts, folder: Path, make_drive: MakeDrive, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    monkeypatch.setattr(restoring, "RECORDS", 3)
    for seed in range(8):
        put(parts, f"{seed % 5}", content(300_000 if seed % 3 else 5, seed), ("local", "database")[seed % 2])
    keep(parts, "same", content(300_000, 1))
    back_up(parts, folder)
    other = make_drive("other")
    killed(other, BRINGING_BACK[step], lambda own: bring_back(own, folder))
    check(other)
    assert records(other).items() <= records(parts).items()

    assert bring_back(other, folder) == []
    assert records(other) == records(parts)
    check(other)
    swept = impatient(other).sweep(orphans=True, force=True)
    assert swept.problems == []
    for backend in ("local", "database"):
        named = {row.storage_key for row in replicas(other) if row.storage_backend == backend}
        assert objects(other, backend) == named
