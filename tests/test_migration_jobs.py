"""What workers do of migrations by themselves: all that is asked for, and nothing that others are at."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from simpledrive.errors import Invalid, StorageUnavailable, WrongState
from simpledrive.models import Migration, MigrationItem
from simpledrive.moving import MigrationJobs, Selection, jobs
from simpledrive.moving.flow import Flow, Stopped
from simpledrive.parts import Parts
from simpledrive.rights import SERVER
from tests.drives import check, fetch, impatient, keep, objects, replicas
from tests.moves import after_reading_back, begin, plan, roll_back, run, states
from tests.sources import content

GO_ON = threading.Event()
"""One that nobody sets."""


def jobs_of(parts: Parts) -> MigrationJobs:
    return MigrationJobs(parts.migration_work)


def asked_for(parts: Parts, target: str = "database", **more: Any) -> Migration:
    """A migration that nobody has planned yet."""
    return parts.migrations.begin(SERVER, "local", target, Selection(), **more)


def state(parts: Parts, migration: Migration) -> str:
    return parts.migrations.get(SERVER, migration.id).state


def some(parts: Parts, count: int = 5) -> None:
    for seed in range(count):
        keep(parts, f"{seed}", content(10, seed))


def test_whatever_is_asked_for_is_done(any_parts: Parts) -> None:
    some(any_parts)
    worker = jobs_of(any_parts)
    assert not any(job(GO_ON) for job in (worker.plan, worker.move, worker.roll_back, worker.finalize))
    first = asked_for(any_parts)
    assert not worker.move(GO_ON), "nothing moves that was not planned"
    assert worker.plan(GO_ON)
    assert state(any_parts, first) == "running"
    assert worker.move(GO_ON)
    assert (state(any_parts, first), states(any_parts, first)) == ("ended", {"moved": 5})
    any_parts.migrations.roll_back(SERVER, first.id)
    assert worker.roll_back(GO_ON)
    assert (state(any_parts, first), states(any_parts, first)) == ("rolled_back", {"back": 5})
    second = asked_for(any_parts)
    assert second.id != first.id
    assert worker.plan(GO_ON)
    assert worker.move(GO_ON)
    any_parts.migrations.finalize(SERVER, second.id)
    assert worker.finalize(GO_ON)
    assert state(any_parts, second) == "finalized"
    assert impatient(any_parts).sweep().problems == []
    assert objects(any_parts, "local") == set()
    assert not any(job(GO_ON) for job in (worker.plan, worker.move, worker.roll_back, worker.finalize))
    check(any_parts)


def test_a_backend_that_is_down_costs_nothing_and_holds_up_nothing_else(
    make_app: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    parts: Parts = make_app(backends={"archive": {"kind": "local", "path": "archive"}}).extensions[
        "simpledrive"
    ]
    some(parts)
    to_archive, to_database = begin(parts, target="archive", limit=2), begin(parts, limit=5)
    worker = jobs_of(parts)

    def down(*_: object) -> None:
        raise StorageUnavailable("archive", "open", "connection refused")

    with monkeypatch.context() as patch:
        patch.setattr(parts.backends.use("archive"), "open", down)
        assert worker.move(GO_ON)
        assert states(parts, to_archive) == {"pending": 2}
        assert f"migration {to_archive.id}, running: archive: open: connection refused" in caplog.text
        assert worker.move(GO_ON)
        assert (state(parts, to_database), states(parts, to_database)) == ("ended", {"moved": 5})
        assert not worker.move(GO_ON), "it is left alone for a while"
        assert jobs_of(parts).move(GO_ON), "other workers do not know that"
    monkeypatch.setattr(jobs, "time", _Later())
    assert worker.move(GO_ON)
    assert (state(parts, to_archive), states(parts, to_archive)) == ("ended", {"gone": 2})
    assert not worker.move(GO_ON)


class _Later:
    """When what was left alone for a while is taken up again."""

    def monotonic(self) -> float:
        return threading.TIMEOUT_MAX


def test_going_back_waits_for_a_source_that_is_down(
    any_parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    some(any_parts)
    migration = begin(any_parts)
    list(run(any_parts, migration))
    any_parts.migrations.roll_back(SERVER, migration.id)

    def down(*_: object) -> None:
        raise StorageUnavailable("local", "open", "connection refused")

    with monkeypatch.context() as patch:
        for call in ("open", "size"):
            patch.setattr(any_parts.backends.use("local"), call, down)
        assert jobs_of(any_parts).roll_back(GO_ON)
    assert (state(any_parts, migration), states(any_parts, migration)) == ("rolling_back", {"moved": 5})
    assert jobs_of(any_parts).roll_back(GO_ON)
    assert states(any_parts, migration) == {"back": 5}


def test_what_a_command_has_to_itself_workers_leave_alone(any_parts: Parts) -> None:
    some(any_parts)
    worker, work = jobs_of(any_parts), any_parts.migration_work
    migration = asked_for(any_parts, exclusive=True)
    assert not worker.plan(GO_ON)
    with work.exclusively(migration):
        migration = work.plan(migration, Flow())
        assert not worker.move(GO_ON)
    assert worker.move(GO_ON), "the command has ended, and something is left"
    migration = any_parts.migrations.roll_back(SERVER, migration.id, exclusive=True)
    assert not worker.roll_back(GO_ON)
    with work.exclusively(migration):
        assert not worker.roll_back(GO_ON)
        assert len(list(work.go_back(migration, Flow()))) == 5
    assert (state(any_parts, migration), worker.roll_back(GO_ON)) == ("rolled_back", False)


def test_told_to_end_in_the_middle_a_worker_leaves_the_rest_to_others(
    any_parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    some(any_parts, 30)
    migration = begin(any_parts)
    stop, copied = threading.Event(), []

    def tell(provided: Any) -> None:
        copied.append(provided)
        if len(copied) == 10:
            stop.set()

    with after_reading_back(monkeypatch, tell):
        assert jobs_of(any_parts).move(stop)
    told = states(any_parts, migration)
    assert 0 < told["pending"] < 30
    assert state(any_parts, migration) == "running"
    assert objects(any_parts, "database") == {
        row.storage_key for row in replicas(any_parts) if row.storage_backend == "database"
    }, "what was copied and not switched to is gone"
    (leased,) = {
        item.leased_until for items in any_parts.migrations.items(SERVER, migration.id) for item in items
    }
    assert leased is None
    check(any_parts)
    assert jobs_of(any_parts).move(GO_ON)
    assert states(any_parts, migration) == {"moved": 30}
    for seed in range(30):
        assert fetch(any_parts, f"{seed}") == content(10, seed)


def test_all_of_it_stops_when_it_is_told_to(any_parts: Parts) -> None:
    some(any_parts)
    work, told = any_parts.migration_work, threading.Event()
    told.set()
    migration = asked_for(any_parts)
    with pytest.raises(Stopped):
        work.plan(migration, Flow(stop=told))
    migration = work.plan(migration, Flow())
    with pytest.raises(Stopped):
        list(work.move(migration, 2, Flow(stop=told)))
    list(run(any_parts, migration))
    any_parts.migrations.roll_back(SERVER, migration.id)
    with pytest.raises(Stopped):
        list(work.go_back(migration, Flow(stop=told)))
    list(work.go_back(migration, Flow()))
    finalized = begin(any_parts)
    list(run(any_parts, finalized))
    any_parts.migrations.finalize(SERVER, finalized.id)
    with pytest.raises(Stopped):
        work.let_go(finalized, Flow(stop=told))
    assert state(any_parts, finalized) == "finalizing"


# --- Asked for something else meanwhile


def test_a_pause_in_the_middle_of_planning_is_kept_to(any_parts: Parts) -> None:
    some(any_parts)
    migration = asked_for(any_parts)
    assert any_parts.migrations.pause(SERVER, migration.id).state == "paused"
    with pytest.raises(WrongState, match="It is paused by now"):
        any_parts.migration_work.plan(migration, Flow())
    assert states(any_parts, migration) == {}
    worker = jobs_of(any_parts)
    assert not worker.plan(GO_ON)
    assert any_parts.migrations.resume(SERVER, migration.id).state == "planning"
    assert any_parts.migrations.resume(SERVER, migration.id).state == "planning", "asked for twice"
    assert worker.plan(GO_ON)
    assert states(any_parts, migration) == {"pending": 5}
    any_parts.migrations.pause(SERVER, migration.id)
    keep(any_parts, "new", b"bytes")
    any_parts.migrations.resume(SERVER, migration.id)
    assert worker.plan(GO_ON)
    assert (state(any_parts, migration), states(any_parts, migration)) == ("running", {"pending": 5}), (
        "it was planned before"
    )


def test_what_is_no_longer_as_it_was_planned_is_not_run(any_parts: Parts) -> None:
    some(any_parts)
    wanted = plan(any_parts).hash
    migration = asked_for(any_parts, plan=wanted)
    keep(any_parts, "new", b"bytes")
    worker = jobs_of(any_parts)
    assert worker.plan(GO_ON)
    assert (state(any_parts, migration), states(any_parts, migration)) == ("paused", {})
    assert any_parts.migrations.resume(SERVER, migration.id).state == "planning"
    with pytest.raises(Invalid, match="has changed since"):
        any_parts.migration_work.plan(migration, Flow())
    any_parts.drive.delete(SERVER, "new", permanent=True)
    any_parts.migrations.resume(SERVER, migration.id)
    assert jobs_of(any_parts).plan(GO_ON)
    assert (state(any_parts, migration), states(any_parts, migration)) == ("running", {"pending": 5})


def test_planned_anew_while_it_runs_it_goes_on_running(any_parts: Parts) -> None:
    some(any_parts)
    migration = begin(any_parts)
    going = run(any_parts, migration, workers=1)
    next(going)
    keep(any_parts, "new", b"bytes")
    again = asked_for(any_parts)
    assert (again.id, again.state) == (migration.id, "planning")
    any_parts.migration_work.plan(again, Flow())
    list(going)
    assert (state(any_parts, migration), states(any_parts, migration)) == ("ended", {"moved": 6})


def test_a_worker_keeps_to_its_bandwidth_with_all_that_it_does(
    make_mirrored: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch
) -> None:
    """100 KB at 100 KB/s: moved and mirrored, read and read back each time; three copies are scrubbed."""
    waited: list[float] = []
    monkeypatch.setattr("simpledrive.moving.flow.Flow.wait", lambda _self, seconds: waited.append(seconds))
    monkeypatch.setattr("simpledrive.moving.flow.time.monotonic", lambda: 0.0)
    app = make_mirrored(worker_bandwidth="100KB", mirrors={"database": ["archive"]})
    parts: Parts = app.extensions["simpledrive"]
    keep(parts, "a", content(100_000))
    asked_for(parts)
    longest = {}
    for job in parts.worker._jobs:
        while job.work(GO_ON):
            pass
        longest[job.name] = max(waited, default=0.0)
    assert longest == {
        "planning migrations": 0.0,
        "moving": pytest.approx(2.0),
        "rolling back": pytest.approx(2.0),
        "finalizing": pytest.approx(2.0),
        "mirroring": pytest.approx(4.0),
        "scrubbing local": pytest.approx(5.0),
        "scrubbing database": pytest.approx(6.0),
        "scrubbing archive": pytest.approx(7.0),
    }


def test_what_is_rolled_back_twice_at_once_goes_back_once(any_parts: Parts) -> None:
    some(any_parts)
    migration = begin(any_parts)
    list(run(any_parts, migration))
    first = any_parts.migration_work.go_back(any_parts.migrations.roll_back(SERVER, migration.id), Flow())
    assert len(roll_back(any_parts, migration.id)) == 5
    assert list(first) == []
    assert states(any_parts, migration) == {"back": 5}
    with pytest.raises(WrongState, match="It is rolled back"):
        any_parts.migrations.pause(SERVER, migration.id)


def test_pages_of_items_are_whole_in_every_order(any_parts: Parts) -> None:
    some(any_parts, 7)
    migration = begin(any_parts)
    whole: list[MigrationItem] = []
    cursor = None
    while True:
        page, cursor = any_parts.migrations.items_page(SERVER, migration.id, "pending", cursor, 3)
        whole += page
        if cursor is None:
            break
    assert [item.sha256 for item in whole] == sorted(item.sha256 for item in whole)
    assert {item.blob_id for item in whole} == {f"{seed}" for seed in range(7)}
    assert any_parts.migrations.items_page(SERVER, migration.id, "moved", None, 3) == ([], None)
    for wrong in ("x", f"{whole[0].sha256}.x", "a\x00.b", f"\x00.{whole[0].record}"):
        with pytest.raises(Invalid, match="cursor"):
            any_parts.migrations.items_page(SERVER, migration.id, None, wrong, 3)
    with pytest.raises(Invalid, match="cursor"):
        any_parts.migrations.page(SERVER, "x", 3)
