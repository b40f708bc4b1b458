"""What is removed, when, and above all what is not."""

import shutil
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
import requests
from flask import Flask
from sqlalchemy import insert, update

from simpledrive.errors import ConfigurationError, StorageError, StorageRefused
from simpledrive.models import BlobHistory, DriveRow, Replica, now
from simpledrive.parts import Parts
from simpledrive.rights import SERVER
from simpledrive.start import prepare
from simpledrive.storage.base import MARKER
from simpledrive.sweeper import Sweeper
from simpledrive.upkeep import Swept
from tests.apps import BEARER, settings_for
from tests.drives import check, digest_of, fetch, impatient, keep, objects, put_orphan, replace, replicas
from tests.moves import move
from tests.plans import plans_of
from tests.servers import Server, wait_for
from tests.sources import content, source_of


def age(parts: Parts, by: timedelta) -> None:
    """Makes everything that was retired or put aside that much older."""
    moment = now() - by
    with_times = (update(Replica).where(Replica.retired_at.is_not(None)).values(retired_at=moment),
                  update(BlobHistory).values(put_aside_at=moment))  # fmt: skip
    parts.database.write(lambda session: [session.execute(statement) for statement in with_times] and None)


def release_long_ago(parts: Parts) -> None:
    """As if something had stopped needing every replica a day ago, and nobody had looked since."""
    retired = update(Replica).values(retired_at=now() - timedelta(days=1))
    parts.database.write(lambda session: session.execute(retired) and None)


def test_nothing_goes_before_its_grace_is_over(any_parts: Parts) -> None:
    keep(any_parts, "a", b"bytes")
    move(any_parts, "local", "database")
    age(any_parts, timedelta(seconds=590))
    assert any_parts.upkeep.sweep() == Swept()
    assert len(objects(any_parts, "local")) == 1
    age(any_parts, timedelta(seconds=610))
    assert any_parts.upkeep.sweep() == Swept(replicas=1)
    assert objects(any_parts, "local") == set()
    assert fetch(any_parts, "a") == b"bytes"
    check(any_parts)


def test_each_replica_of_the_same_bytes_has_its_own_grace(
    make_app: Callable[..., Flask], tmp_path: Path
) -> None:
    archive = {"archive": {"kind": "local", "path": str(tmp_path / "archive")}}
    parts: Parts = make_app(backends=archive).extensions["simpledrive"]
    keep(parts, "a", b"bytes")
    move(parts, "local", "database")
    age(parts, timedelta(hours=1))
    move(parts, "database", "archive")
    assert parts.upkeep.sweep() == Swept(replicas=1)
    assert [row.storage_backend for row in replicas(parts)] == ["archive", "database"]
    check(parts)


def test_what_is_needed_again_stays_and_is_not_looked_at_again(any_parts: Parts) -> None:
    keep(any_parts, "a", b"bytes")
    release_long_ago(any_parts)
    assert any_parts.upkeep.sweep() == Swept()
    (row,) = replicas(any_parts)
    assert row.retired_at is None
    assert fetch(any_parts, "a") == b"bytes"


def test_a_replica_that_is_needed_less_and_less_has_its_whole_grace_in_the_end(any_parts: Parts) -> None:
    """Somebody stopped needing it long ago while others still did; the last of them stops now."""
    keep(any_parts, "a", b"bytes")
    release_long_ago(any_parts)
    move(any_parts, "local", "database")
    assert any_parts.upkeep.sweep() == Swept()
    assert len(objects(any_parts, "local")) == 1


def test_earlier_versions_and_the_trash_go_when_they_have_expired(any_parts: Parts) -> None:
    keep(any_parts, "a", b"first")
    replace(any_parts, "a", b"second")
    keep(any_parts, "b", b"third")
    keep(any_parts, "c", b"second")
    any_parts.drive.delete(SERVER, "b")
    any_parts.drive.delete(SERVER, "c")
    age(any_parts, timedelta(days=89))
    assert any_parts.upkeep.sweep() == Swept()
    age(any_parts, timedelta(days=91))
    assert any_parts.upkeep.sweep() == Swept(expired=3)
    age(any_parts, timedelta(minutes=11))
    assert any_parts.upkeep.sweep() == Swept(replicas=2)
    assert [row.sha256 for row in replicas(any_parts)] == [digest_of(b"second")]
    assert fetch(any_parts, "a") == b"second"
    check(any_parts)


def test_bytes_in_the_trash_are_needed(any_parts: Parts) -> None:
    keep(any_parts, "a", b"bytes")
    any_parts.drive.delete(SERVER, "a")
    release_long_ago(any_parts)
    assert any_parts.upkeep.sweep().replicas == 0
    any_parts.drive.restore(SERVER, "a")
    assert fetch(any_parts, "a") == b"bytes"


def test_a_backend_that_fails_to_delete_leaves_an_orphan_and_no_record(
    any_parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(any_parts, "a", b"bytes")
    move(any_parts, "local", "database")
    age(any_parts, timedelta(days=1))

    def refuse(key: str) -> None:
        raise StorageError("local", "delete", "not today")

    monkeypatch.setattr(any_parts.backends.use("local"), "delete", refuse)
    assert any_parts.upkeep.sweep().replicas == 1
    assert len(objects(any_parts, "local")) == 1
    check(any_parts)


@pytest.mark.parametrize("backend", ["local", "database"])
def test_orphans_go_when_they_are_old_and_everything_else_stays(parts: Parts, backend: str) -> None:
    for seed in range(8):
        keep(parts, f"{seed}", content(20, seed), backend)
    young, old = put_orphan(parts, backend, 1), put_orphan(parts, backend, 2, timedelta(days=2))
    assert parts.upkeep.sweep() == Swept()
    assert parts.upkeep.sweep(orphans=True) == Swept(orphans=1)
    assert young in objects(parts, backend)
    assert old not in objects(parts, backend)
    parts.backends.check(backend)
    check(parts)


@pytest.mark.parametrize(("kept", "lost"), [(0, 1), (8, 1), (17, 2)])
def test_more_orphans_than_a_tenth_want_force(parts: Parts, kept: int, lost: int) -> None:
    """Also a few of few: they may be all that an older copy of the database does not know."""
    for seed in range(kept):
        keep(parts, f"{seed}", content(20, seed))
    keys = {put_orphan(parts, "local", seed, timedelta(days=2)) for seed in range(lost)}
    (problem,) = parts.upkeep.sweep(orphans=True).problems
    assert problem.startswith(f"local: {lost} of {kept + lost} objects are named by no record")
    assert objects(parts, "local") >= keys
    assert parts.upkeep.sweep(orphans=True, force=True) == Swept(orphans=lost)


def test_a_foreign_object_from_beyond_the_calendar_is_left_alone(parts: Parts) -> None:
    source = source_of(b"not ours")
    key = f"{source.sha256}.{'f' * 32}"
    parts.backends.use("local").put(key, source)
    assert parts.upkeep.sweep(orphans=True, force=True) == Swept()
    assert objects(parts, "local") == {key}


def test_what_dead_processes_left_in_staging_goes_and_live_uploads_stay(parts: Parts) -> None:
    folder = parts.settings.staging_path
    folder.mkdir(parents=True)
    (folder / "0123456789abcdef0123456789abcdef.part").write_bytes(b"left")
    with parts.staging.begin().finish(), LiveUpload(parts) as alive:
        assert parts.upkeep.sweep().leftovers == 1
        assert [path.name for path in folder.iterdir()] == [alive]


class LiveUpload:
    """An upload that is under way."""

    def __init__(self, parts: Parts) -> None:
        self._arrival, self._folder = parts.staging.begin(), parts.settings.staging_path

    def __enter__(self) -> str:
        before = set(self._folder.iterdir())
        self._arrival.write(bytes(1 << 20))
        (new,) = set(self._folder.iterdir()) - before
        return new.name

    def __exit__(self, *_: object) -> None:
        self._arrival.close()


# --- Markers


@pytest.fixture
def ruthless(parts: Parts, make_app: Callable[..., Flask]) -> Parts:
    """The drive of `parts`, keeping nothing that nothing needs, not for a moment."""
    ruthless: Parts = make_app(sweep_grace=0, history_days=0).extensions["simpledrive"]
    return ruthless


def test_an_unmounted_disk_is_not_swept_and_not_written_to(
    parts: Parts, ruthless: Parts, make_app: Callable[..., Flask]
) -> None:
    keep(parts, "a", b"bytes")
    keep(parts, "b", b"other", "database")
    assert ruthless.upkeep.sweep() == Swept(), "its marker was seen once: that does not count for ever"
    for id in "ab":
        parts.drive.delete(SERVER, id)
    base = parts.settings.local_storage_path
    away = base.with_name("elsewhere")
    base.rename(away)
    swept = ruthless.upkeep.sweep(orphans=True)
    assert [problem.split(":")[0] for problem in swept.problems] == ["local"]
    assert [row.storage_backend for row in replicas(parts)] == ["local"], (
        "the other one is swept all the same"
    )
    fresh: Parts = make_app().extensions["simpledrive"]
    with pytest.raises(StorageRefused, match="marker is missing"):
        keep(fresh, "c", b"new bytes")
    assert not list(base.glob("objects/**/*.*"))
    shutil.rmtree(base, ignore_errors=True)
    away.rename(base)
    assert ruthless.upkeep.sweep(orphans=True) == Swept(replicas=1)


def test_a_drive_does_not_start_on_a_place_of_another_drive(parts: Parts, tmp_path: Path) -> None:
    keep(parts, "a", b"bytes")
    other = settings_for(tmp_path / "other", local_storage_path=str(parts.settings.local_storage_path))
    with pytest.raises(ConfigurationError, match="local: check: its marker is that of another drive"):
        prepare(other)


def test_the_database_of_another_drive_sweeps_nothing(parts: Parts) -> None:
    """Of another one: an older copy of this drive's own has the same UUID, and passes."""
    keep(parts, "a", b"bytes")
    orphan = put_orphan(parts, "local", age=timedelta(days=2))
    renamed = update(DriveRow).values(uuid=UUID(int=1))
    parts.database.write(lambda session: session.execute(renamed) and None)
    swept = impatient(parts).sweep(orphans=True, force=True)
    assert ["another drive" in problem for problem in swept.problems] == [True, True]
    assert (swept.orphans, orphan in objects(parts, "local")) == (0, True)


def test_a_start_without_the_disk_stops_with_a_sentence(
    make_server: Callable[..., Server], tmp_path: Path
) -> None:
    server = make_server()
    requests.put(f"{server.url}/v1/content/a", b"bytes", headers=BEARER, timeout=30).raise_for_status()
    server.stop()
    blobs = tmp_path / "instance" / "blobs"
    blobs.rename(blobs.with_name("elsewhere"))
    with pytest.raises(AssertionError):
        server.start()
    assert "local: check: its marker is missing though bytes are recorded there" in server.output()
    assert "Traceback" not in server.output()
    assert not (blobs / "objects").exists()


def test_two_processes_that_write_the_marker_at_once_agree(
    make_app: Callable[..., Flask], tmp_path: Path
) -> None:
    for backend in ("local", "database"):
        made = [make_app().extensions["simpledrive"] for _ in range(4)]
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda parts: parts.backends.check(backend), made))  # noqa: B023
        reader = made[0].backends.use(backend).open(MARKER)
        assert reader.read(1000).decode().split()[1] == backend
        reader.close()


# --- The server's own sweeping


def test_of_many_that_ask_one_is_told_to_sweep(any_app: Flask, any_parts: Parts) -> None:
    interval = timedelta(seconds=300)
    any_parts.database.write(
        lambda session: session.execute(update(DriveRow).values(swept_at=now() - interval * 2)) and None
    )
    with ThreadPoolExecutor(8) as pool:
        told = list(pool.map(lambda _: any_parts.upkeep.due(interval), range(16)))
    assert sorted(told) == [False] * 15 + [True]


def test_the_server_sweeps_by_itself(
    make_server: Callable[..., Server], make_app: Callable[..., Flask]
) -> None:
    server = make_server(SWEEP_INTERVAL=1, SWEEP_GRACE=0, HISTORY_DAYS=0, WORKERS=2)
    parts: Parts = make_app().extensions["simpledrive"]
    url = f"{server.url}/v1/content/a"
    requests.put(url, b"bytes", headers=BEARER, timeout=30).raise_for_status()
    requests.delete(f"{server.url}/v1/blobs/a", headers=BEARER, timeout=30).raise_for_status()
    wait_for(lambda: replicas(parts) == [] and objects(parts, "local") == set(), "the server's own sweep")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # how it is ended
def test_a_fault_does_not_end_the_sweeping(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def sweep() -> Swept:
        calls.append(1)
        if len(calls) == 1:
            raise ZeroDivisionError
        return Swept()

    monkeypatch.setattr(parts.upkeep, "sweep", sweep)
    monkeypatch.setattr(parts.upkeep, "due", lambda _: True)
    sweeper = Sweeper(parts.upkeep, timedelta(seconds=0.05))
    sweeper.ensure_started()
    wait_for(lambda: len(calls) > 2, "the sweep after the fault")
    monkeypatch.setattr(parts.upkeep, "due", lambda _: sys.exit())
    wait_for(lambda: all(thread.name != "sweeper" for thread in threading.enumerate()), "its end")


def test_what_is_kept_to_go_back_to_costs_a_sweep_nothing(any_parts: Parts) -> None:
    moment = now()
    rows = [
        {
            "sha256": f"{number:064x}",
            "storage_backend": "local",
            "storage_key": f"{number:064x}.{number:032x}",
            "size": 1,
            "pieces": b"",
            "created_at": moment,
            "retired_at": moment - timedelta(days=1) if number % 100 else None,
            "keep_until": moment + timedelta(days=7, seconds=number),
        }
        for number in range(5000)
    ]
    any_parts.database.write(lambda session: session.execute(insert(Replica), rows))
    engine = any_parts.database.engine
    if engine.dialect.name == "postgresql":
        with engine.connect() as connection:
            connection.exec_driver_sql("ANALYZE replicas")
            connection.commit()
    plans = plans_of(engine, lambda: any_parts.upkeep._sweep_replicas(set(), Swept()), "replicas")
    assert len(plans) == 2
    assert all("ix_replicas_retired" in plan for plan in plans), plans
