"""What is removed, when, and above all what is not."""

import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
import requests
from flask import Flask
from sqlalchemy import update

from simpledrive.errors import ConfigurationError, StorageError, StorageRefused
from simpledrive.keys import SERVER
from simpledrive.models import BlobHistory, DriveRow, Replica, now
from simpledrive.parts import Parts
from simpledrive.start import prepare
from simpledrive.storage.base import MARKER, new_key
from simpledrive.sweeper import Sweeper
from simpledrive.upkeep import Swept
from tests.apps import BEARER, settings_for
from tests.drives import check, digest_of, fetch, keep, objects, replace, replicas
from tests.servers import Server, wait_for
from tests.sources import content, source_of


def age(parts: Parts, by: timedelta) -> None:
    """Makes everything that was retired or put aside that much older."""
    moment = now() - by
    with_times = (update(Replica).where(Replica.retired_at.is_not(None)).values(retired_at=moment),
                  update(BlobHistory).values(put_aside_at=moment))  # fmt: skip
    parts.database.write(lambda session: [session.execute(statement) for statement in with_times] and None)


def put_orphan(parts: Parts, backend: str, seed: int = 0) -> str:
    source = source_of(content(10, seed))
    key = new_key(source.sha256)
    parts.backends.use(backend).put(key, source)
    return key


def test_nothing_goes_before_its_grace_is_over(any_parts: Parts) -> None:
    keep(any_parts, "a", b"bytes")
    list(any_parts.migration.run("local", "database"))
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
    list(parts.migration.run("local", "database"))
    age(parts, timedelta(hours=1))
    list(parts.migration.run("database", "archive"))
    assert parts.upkeep.sweep() == Swept(replicas=1)
    assert [row.storage_backend for row in replicas(parts)] == ["archive", "database"]
    check(parts)


def test_what_is_needed_again_stays_and_is_not_looked_at_again(any_parts: Parts) -> None:
    keep(any_parts, "a", b"bytes")
    moment = now() - timedelta(days=1)
    any_parts.database.write(
        lambda session: session.execute(update(Replica).values(retired_at=moment)) and None
    )
    assert any_parts.upkeep.sweep() == Swept()
    (row,) = replicas(any_parts)
    assert row.retired_at is None
    assert fetch(any_parts, "a") == b"bytes"


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
    moment = now() - timedelta(days=1)
    any_parts.database.write(
        lambda session: session.execute(update(Replica).values(retired_at=moment)) and None
    )
    assert any_parts.upkeep.sweep().replicas == 0
    any_parts.drive.restore(SERVER, "a")
    assert fetch(any_parts, "a") == b"bytes"


def test_a_backend_that_fails_to_delete_leaves_an_orphan_and_no_record(
    any_parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(any_parts, "a", b"bytes")
    list(any_parts.migration.run("local", "database"))
    age(any_parts, timedelta(days=1))

    def refuse(key: str) -> None:
        raise StorageError("local", "delete", "not today")

    monkeypatch.setattr(any_parts.backends.use("local"), "delete", refuse)
    assert any_parts.upkeep.sweep().replicas == 1
    assert len(objects(any_parts, "local")) == 1
    check(any_parts)


@pytest.mark.parametrize("backend", ["local", "database"])
def test_orphans_go_when_they_are_old_and_everything_else_stays(
    make_app: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    parts: Parts = make_app().extensions["simpledrive"]
    keep(parts, "a", b"bytes", backend)
    young = put_orphan(parts, backend, 1)
    monkeypatch.setattr("simpledrive.ids.time.time_ns", lambda: time.monotonic_ns() // 2)
    old = put_orphan(parts, backend, 2)
    monkeypatch.undo()
    assert parts.upkeep.sweep() == Swept()
    assert parts.upkeep.sweep(orphans=True) == Swept(orphans=1)
    assert young in objects(parts, backend)
    assert old not in objects(parts, backend)
    parts.backends.check(backend)
    check(parts)


def test_more_orphans_than_a_tenth_want_force(make_app: Callable[..., Flask]) -> None:
    parts: Parts = make_app(orphan_age=0).extensions["simpledrive"]
    lost = {put_orphan(parts, "local", seed) for seed in range(11)}
    (problem,) = parts.upkeep.sweep(orphans=True).problems
    assert problem.startswith("local: 11 of 11 objects are named by no record")
    assert objects(parts, "local") == lost
    assert parts.upkeep.sweep(orphans=True, force=True) == Swept(orphans=11)


def test_what_dead_processes_left_in_staging_goes_and_live_uploads_stay(parts: Parts) -> None:
    folder = parts.settings.staging_path
    folder.mkdir(parents=True)
    (folder / "0123456789abcdef0123456789abcdef.part").write_bytes(b"left")
    with parts.drive.staging.begin().finish(), LiveUpload(parts) as alive:
        assert parts.upkeep.sweep().leftovers == 1
        assert [path.name for path in folder.iterdir()] == [alive]


class LiveUpload:
    """An upload that is under way."""

    def __init__(self, parts: Parts) -> None:
        self._arrival, self._folder = parts.drive.staging.begin(), parts.settings.staging_path

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
    ruthless: Parts = make_app(sweep_grace=0, history_days=0, orphan_age=0).extensions["simpledrive"]
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


def test_a_foreign_marker_stops_everything(parts: Parts, ruthless: Parts, tmp_path: Path) -> None:
    keep(parts, "a", b"bytes")
    other = settings_for(tmp_path / "other", local_storage_path=str(parts.settings.local_storage_path))
    with pytest.raises(ConfigurationError, match="local: check: its marker is that of another drive"):
        prepare(other)
    # The same by a database that was restored from another time or place.
    renamed = update(DriveRow).values(uuid=UUID(int=1))
    parts.database.write(lambda session: session.execute(renamed) and None)
    swept = ruthless.upkeep.sweep(orphans=True, force=True)
    assert ["another drive" in problem for problem in swept.problems] == [True, True]
    assert len(objects(parts, "local")) == 1


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
    monkeypatch.setattr(parts.upkeep, "due", lambda _: False)
