"""What a migration is: selected, planned, gone on with, shared, rolled back, given up."""

import itertools
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from flask import Flask
from sqlalchemy import insert, update
from sqlalchemy.orm import Session

from simpledrive.errors import (
    Forbidden,
    Invalid,
    MigrationNotFound,
    StorageRefused,
    StorageUnavailable,
    WrongState,
)
from simpledrive.ids import uuid7
from simpledrive.mirroring.waiting import Waiting
from simpledrive.models import Blob, Migration, MigrationItem, Replica, WantedCopy, now
from simpledrive.moving import Selection, leasing, returning, running, switching
from simpledrive.moving.flow import Flow
from simpledrive.moving.planning import Plan, Planning
from simpledrive.parts import Parts
from simpledrive.rights import SERVER, Caller
from simpledrive.usage import count
from tests.drives import check, digest_of, fetch, flip, keep, lose, objects, replace, replicas
from tests.moves import after_reading_back, begin, move, plan, roll_back, run, states
from tests.plans import plans_of
from tests.sources import content


def homes(parts: Parts) -> dict[str, str]:
    return {blob.id: blob.storage_backend for blob in parts.listing.page(SERVER, limit=1000).blobs}


# --- What is selected, and planned


def age(parts: Parts, id: str, by: timedelta) -> None:
    """As if the blob had been stored that long ago."""
    statement = update(Blob).where(Blob.id == id).values(updated_at=now() - by)
    parts.database.write(lambda session: session.execute(statement))


@pytest.mark.parametrize(
    ("selected", "expected"),
    [
        ({}, ["a/old", "a/small", "b/image", "b/large"]),
        ({"prefix": "a/"}, ["a/old", "a/small"]),
        ({"ids": ("a/old", "b/large", "nowhere")}, ["a/old", "b/large"]),
        ({"older_than": "30d"}, ["a/old"]),
        ({"newer_than": "30d"}, ["a/small", "b/image", "b/large"]),
        ({"older_than": "2000-01-01"}, []),
        ({"newer_than": "2000-01-01T00:00:00+02:00"}, ["a/old", "a/small", "b/image", "b/large"]),
        ({"min_size": 1000}, ["b/large"]),
        ({"max_size": 999}, ["a/old", "a/small", "b/image"]),
        ({"content_type": "image/png"}, ["b/image"]),
        ({"content_type": "image/"}, ["b/image"]),
        ({"content_type": "image/*"}, ["b/image"]),
        ({"limit": 3}, ["a/old", "a/small", "b/image"]),
        ({"prefix": "b/", "min_size": 1000, "limit": 1}, ["b/large"]),
    ],
)
def test_a_selection_moves_what_it_says_and_nothing_else(
    any_parts: Parts, selected: dict[str, Any], expected: list[str]
) -> None:
    for id, size in (("a/old", 10), ("a/small", 11), ("b/image", 12), ("b/large", 1000)):
        keep(any_parts, id, content(size, size))
    any_parts.drive.change(SERVER, "b/image", content_type="image/png; of=something")
    age(any_parts, "a/old", timedelta(days=31))
    planned = plan(any_parts, **selected)
    assert planned.first == expected
    assert planned.items == len(expected)
    move(any_parts, **selected)
    assert sorted(id for id, home in homes(any_parts).items() if home == "database") == expected
    check(any_parts)


@pytest.mark.parametrize("said", ["yesterday", "30", "-1d", "30x", "2026-13-01", "", "9999999d"])
def test_an_age_that_is_none_is_refused(said: str) -> None:
    with pytest.raises(Invalid, match="older_than"):
        Selection(older_than=said)


def test_what_is_not_selected_keeps_bytes_that_others_have_too(make_app: Callable[..., Flask]) -> None:
    parts: Parts = make_app(sweep_grace=0).extensions["simpledrive"]
    for id in ("a", "b"):
        keep(parts, id, b"the same")
    move(parts, ids=("a",))
    parts.upkeep.sweep()
    assert homes(parts) == {"a": "database", "b": "local"}
    assert len(replicas(parts)) == 2
    check(parts)


def test_only_what_was_planned_moves(any_parts: Parts) -> None:
    keep(any_parts, "a", b"one")
    planned = plan(any_parts)
    assert plan(any_parts).hash == planned.hash
    replace(any_parts, "a", b"two")
    with pytest.raises(Invalid, match="has changed since"):
        begin(any_parts, plan=planned.hash)
    assert homes(any_parts) == {"a": "local"}
    assert any_parts.migration_work.waiting("planning", "running") == []
    move(any_parts, plan=plan(any_parts).hash)
    assert homes(any_parts) == {"a": "database"}


def test_also_while_it_runs_nothing_moves_that_a_plan_does_not_name(any_parts: Parts) -> None:
    for seed in range(3):
        keep(any_parts, f"{seed}", content(10, seed))
    migration = begin(any_parts)
    keep(any_parts, "new", b"bytes")
    with pytest.raises(Invalid, match="has changed since"):
        begin(any_parts, plan="another")
    list(run(any_parts, migration))
    assert states(any_parts, migration) == {"moved": 3}
    assert homes(any_parts)["new"] == "local"


def test_what_changed_between_the_request_and_the_planning_moves_nothing(any_parts: Parts) -> None:
    """Nor does what an earlier plan of the same migration had named, and a later request asks for no less."""
    for seed in range(3):
        keep(any_parts, f"{seed}", content(10, seed))
    migration, selection = begin(any_parts), Selection()
    replace(any_parts, "0", b"replaced")
    required = plan(any_parts).hash
    begun = any_parts.migrations.begin(SERVER, "local", "database", selection, plan=required)
    keep(any_parts, "new", b"bytes")
    assert any_parts.migrations.begin(SERVER, "local", "database", selection).required_plan == required
    with pytest.raises(Invalid, match="has changed since"):
        any_parts.migration_work.plan(begun, Flow())
    list(run(any_parts, migration))
    assert set(homes(any_parts).values()) == {"local"}
    assert any_parts.migrations.get(SERVER, migration.id).state == "paused"
    assert states(any_parts, migration) == {}
    any_parts.drive.delete(SERVER, "new", permanent=True)
    any_parts.migrations.resume(SERVER, migration.id)
    list(run(any_parts, any_parts.migration_work.plan(begun, Flow())))
    assert states(any_parts, migration) == {"moved": 4}


@pytest.mark.parametrize("is_paused", [False, True])
def test_what_has_a_plan_is_gone_on_with_by_the_same_request(
    any_parts: Parts, is_paused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "AHEAD", 1)
    for seed in range(20):
        keep(any_parts, f"{seed}", content(10, seed))
    required = plan(any_parts).hash
    migration = begin(any_parts, plan=required)
    going = run(any_parts, migration, workers=1)
    next(going)
    going.close()
    if is_paused:
        any_parts.migrations.pause(SERVER, migration.id)
    keep(any_parts, "new", b"bytes")
    lose(any_parts, content(10, 19), "local")
    for _ in range(2):
        again = begin(any_parts, plan=required)
        assert (again.id, again.plan) == (migration.id, required)
        list(run(any_parts, again))
        assert states(any_parts, migration) == {"moved": 19, "failed": 1}
    assert homes(any_parts)["new"] == "local"


def test_what_has_moved_and_is_back_moves_again(any_parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "AHEAD", 1)
    for seed in range(20):
        keep(any_parts, f"{seed}", content(10, seed))
    migration = begin(any_parts)
    going = run(any_parts, migration, workers=1)
    next(going)
    going.close()
    moved = [id for id, home in homes(any_parts).items() if home == "database"]
    any_parts.mover.move(SERVER, moved[0], "local")
    list(run(any_parts, begin(any_parts)))
    assert states(any_parts, migration) == {"moved": 20}
    assert any_parts.migrations.get(SERVER, migration.id).moved_bytes == 200
    assert set(homes(any_parts).values()) == {"database"}


def test_a_limit_holds_for_all_that_a_migration_moves(
    any_parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "AHEAD", 1)
    for seed in range(12):
        keep(any_parts, f"{seed:02}", content(10, seed))
    migration = begin(any_parts, limit=6)
    going = run(any_parts, migration, workers=1)
    next(going)
    going.close()
    keep(any_parts, "000", b"first by its id")
    list(run(any_parts, begin(any_parts, limit=6)))
    assert states(any_parts, migration) == {"moved": 6}
    assert sorted(homes(any_parts).values()) == ["database"] * 6 + ["local"] * 7


def test_what_failed_is_told_until_it_is_tried_again(any_parts: Parts) -> None:
    for seed in range(3):
        keep(any_parts, f"{seed}", content(10, seed))
    lose(any_parts, content(10, 1), "local")
    migration = begin(any_parts)
    list(run(any_parts, migration))
    ((failed,),) = any_parts.migrations.items(SERVER, migration.id, "failed")
    with pytest.raises(Invalid, match="has changed since"):
        begin(any_parts, plan="another")
    ((still,),) = any_parts.migrations.items(SERVER, migration.id, "failed")
    assert (still.why, still.blob_id) == (failed.why, "1")
    assert states(any_parts, migration) == {"moved": 2, "failed": 1}
    assert list(any_parts.migrations.items(SERVER, migration.id, "planned")) == []
    keep(any_parts, "the bytes again", content(10, 1))
    list(run(any_parts, begin(any_parts)))
    assert states(any_parts, migration) == {"moved": 4}


def test_who_plans_has_it_to_himself(any_parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(5):
        keep(any_parts, f"{seed}", content(10, seed))
    begun = any_parts.migrations.begin(SERVER, "local", "database", Selection())
    plans, accept, waits = [], Planning._accept, threading.Event()

    class Impatient(Flow):
        def wait(self, seconds: float) -> None:
            if seconds:
                waits.set()
            super().wait(min(seconds, 0.01))

    def slow(self: Planning, planned: Plan, session: Session) -> bool:
        plans.append(planned.hash)
        assert waits.wait(30)
        return accept(self, planned, session)

    monkeypatch.setattr(Planning, "_accept", slow)
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda _: any_parts.migration_work.plan(begun, Impatient()), range(2)))
    assert {(planned.plan, planned.items, planned.state) for planned in both} == {(plans[0], 5, "running")}
    assert len(plans) == 1


def test_the_longest_grace_that_was_asked_for_counts(any_parts: Parts) -> None:
    keep(any_parts, "a", b"bytes")
    for days, expected in ((7, 7), (0, 7), (30, 30)):
        migration = begin(any_parts, grace=timedelta(days=days))
        assert migration.grace_seconds == expected * 86400


# --- Who works at it


def test_a_thousand_records_of_the_same_bytes_move_in_portions(
    make_app: Callable[..., Flask], any_database: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Among others that are not alike; and read, put and read back once, whoever is at it."""
    parts: Parts = make_app(**any_database).extensions["simpledrive"]
    keep(parts, "the same 0", b"the same")
    alike(parts, "the same 0", 1100)
    for seed in range(20):
        keep(parts, f"{seed}", content(10, seed))
    largest: list[int] = []
    rehome = switching.rehome

    def counted(*arguments: Any, **places: Any) -> set[UUID]:
        largest.append(len(arguments[3]))
        return rehome(*arguments, **places)

    monkeypatch.setattr(switching, "rehome", counted)
    migration = begin(parts)
    others = ThreadPoolExecutor(1).submit(lambda: list(run(parts, migration)))
    told = [*run(parts, migration), *others.result(60)]
    assert states(parts, migration) == {"moved": 1121}
    assert sum(outcome.records for outcome in told) == 1121
    assert max(largest) <= switching.MOST
    assert len(objects(parts, "database")) == 21
    assert set(homes(parts).values()) == {"database"}
    check(parts)


def test_a_thousand_records_of_bytes_that_are_lost_all_fail(any_parts: Parts) -> None:
    keep(any_parts, "the same 0", b"the same")
    alike(any_parts, "the same 0", 1100)
    lose(any_parts, b"the same", "local")
    migration = begin(any_parts)
    told = list(run(any_parts, migration))
    assert {outcome.state for outcome in told} == {"failed"}
    assert sum(outcome.records for outcome in told) == 1101
    assert states(any_parts, migration) == {"failed": 1101}


def test_whoever_keeps_leases_looks_at_these_alone(any_parts: Parts) -> None:
    """Every worker does so every few seconds, as a writer: what is left to do must not make it cost more."""
    migration = begin(any_parts)
    pending = [
        {
            "migration": migration.id,
            "sha256": f"{number:064x}",
            "record": uuid7(),
            "blob_id": f"{number}",
            "version": 1,
            "size": 1,
            "state": "pending",
        }
        for number in range(5000)
    ]
    any_parts.database.write(lambda session: session.execute(insert(MigrationItem), pending))
    wanted = [
        {"sha256": f"{number:064x}", "storage_backend": "database", "since": now(), "due_at": now()}
        for number in range(5000)
    ]
    any_parts.database.write(lambda session: session.execute(insert(WantedCopy), wanted))
    leases, waiting = (
        leasing.Leases(any_parts.database, migration.id),
        Waiting(any_parts.database, any_parts.mirrors),
    )
    engine = any_parts.database.engine
    if engine.dialect.name == "postgresql":
        with engine.connect() as connection:
            connection.exec_driver_sql("ANALYZE migration_items, wanted_copies")
            connection.commit()

    def work() -> None:
        assert len(leases.take(8)) == 8
        assert len(waiting.take(8, ["database"])) == 8
        for lease in (leases, waiting):
            with lease.kept():
                pass

    plans = plans_of(engine, work, "migration_items", "wanted_copies")
    for name in ("ix_migration_items_leased", "ix_wanted_copies_leased"):
        assert any(name in plan for plan in plans), plans
    assert not any("Seq Scan" in plan or "SCAN migr" in plan or "SCAN wanted" in plan for plan in plans), (
        plans
    )


def alike(parts: Parts, id: str, number: int) -> None:
    """Adds so many blobs with the bytes of this one."""
    blob = parts.drive.describe(SERVER, id)
    rows = [blob.described() | {"pk": uuid7(), "id": f"the same {n}"} for n in range(1, number + 1)]

    def work(session: Session) -> None:
        session.execute(insert(Blob), rows)
        count(session, blob.storage_backend, blobs=number)

    parts.database.write(work)


def test_what_a_dead_worker_had_leased_is_free_after_a_while(
    any_parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in range(3):
        keep(any_parts, f"{seed}", content(10, seed))
    migration = begin(any_parts)
    dead = leasing.Leases(any_parts.database, migration.id)
    assert len(dead.take(10)) == 3
    alive = leasing.Leases(any_parts.database, migration.id)
    assert alive.take(10) == []
    statement = update(MigrationItem).values(leased_until=now() - timedelta(seconds=1))
    any_parts.database.write(lambda session: session.execute(statement))
    assert {told.state for told in run(any_parts, migration)} == {"moved"}
    assert states(any_parts, migration) == {"moved": 3}


def test_a_lease_by_a_clock_that_was_ahead_holds_nothing_up(any_parts: Parts) -> None:
    keep(any_parts, "a", b"bytes")
    migration = begin(any_parts)
    assert len(leasing.Leases(any_parts.database, migration.id).take(1)) == 1
    for table in (Migration, MigrationItem):
        ahead = update(table).values(leased="another", leased_until=now() + timedelta(days=365))
        any_parts.database.write(lambda session, ahead=ahead: session.execute(ahead))
    list(run(any_parts, begin(any_parts)))
    assert states(any_parts, migration) == {"moved": 1}


def test_a_worker_that_comes_too_late_changes_nothing(
    any_parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It had slept through its lease; another one has moved everything meanwhile."""
    keep(any_parts, "a", b"bytes")
    migration = begin(any_parts)
    late = running.Run(
        any_parts.database,
        any_parts.backends,
        any_parts.migration_work._replicas,
        any_parts.migration_work._copies,
        migration,
        workers=1,
        flow=running.Flow(),
    )
    (task,) = late._leases.take(1)
    copy = late._copy(task, late._look([task])[task.sha256])
    statement = update(MigrationItem).values(leased_until=now() - timedelta(seconds=1))
    any_parts.database.write(lambda session: session.execute(statement))
    assert [told.state for told in run(any_parts, migration)] == ["moved"]
    version = any_parts.drive.describe(SERVER, "a").version
    assert list(late._switched([(task, copy)])) == []
    assert any_parts.drive.describe(SERVER, "a").version == version
    assert len(objects(any_parts, "database")) == 1
    assert states(any_parts, migration) == {"moved": 1}
    check(any_parts)


def test_a_worker_that_is_late_moves_nothing_behind_a_roll_back(
    any_parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has copied and read back, still has its lease, and is about to switch."""
    keep(any_parts, "a", b"bytes")
    migration = begin(any_parts)
    with after_reading_back(monkeypatch, lambda _: roll_back(any_parts, migration.id)):
        assert list(run(any_parts, migration)) == []
    assert any_parts.migrations.get(SERVER, migration.id).state == "rolled_back"
    assert homes(any_parts) == {"a": "local"}
    assert states(any_parts, migration) == {"pending": 1}
    assert objects(any_parts, "database") == set()
    check(any_parts)


def test_a_pause_ends_a_run_and_the_same_request_goes_on(
    any_parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "AHEAD", 1)
    for seed in range(20):
        keep(any_parts, f"{seed}", content(10, seed))
    migration = begin(any_parts)
    going = run(any_parts, migration, workers=1)
    next(going)
    assert any_parts.migrations.pause(SERVER, migration.id).state == "paused"
    list(going)
    left = states(any_parts, migration)["pending"]
    assert left > 10
    assert any_parts.migration_work.waiting("planning", "running") == []
    assert begin(any_parts).id == migration.id
    list(run(any_parts, migration))
    assert states(any_parts, migration) == {"moved": 20}
    assert any_parts.migrations.get(SERVER, migration.id).state == "ended"


def test_a_target_where_nothing_works_fails_no_record_and_it_can_go_on(
    any_parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in range(60):
        keep(any_parts, f"{seed}", content(10, seed))

    def refuse(*_: object) -> None:
        raise StorageRefused("database", "put", "the quota is used up")

    migration = begin(any_parts)
    with monkeypatch.context() as patch:
        patch.setattr(any_parts.backends.use("database"), "put", refuse)
        with pytest.raises(StorageRefused, match="the quota is used up"):
            list(run(any_parts, migration))
    assert states(any_parts, migration) == {"pending": 60}
    stopped = any_parts.migrations.get(SERVER, migration.id)
    assert (stopped.state, stopped.why) == ("running", "database: put: the quota is used up")
    list(run(any_parts, migration))
    assert any_parts.migrations.get(SERVER, migration.id).why == ""
    assert states(any_parts, migration) == {"moved": 60}
    check(any_parts)


# --- Going back


def test_going_back_copies_nothing(any_parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(5):
        keep(any_parts, f"{seed}", content(10, seed))
    replace(any_parts, "0", b"replaced")
    kept = objects(any_parts, "local")
    migration = begin(any_parts, grace=timedelta(days=7))
    list(run(any_parts, migration))
    any_parts.drive.delete(SERVER, "4")

    def copied(*_: object) -> None:
        raise AssertionError("a byte was copied")

    for backend in ("local", "database"):
        monkeypatch.setattr(any_parts.backends.use(backend), "put", copied)
        monkeypatch.setattr(any_parts.backends.use(backend), "open", copied)
    monkeypatch.setattr(any_parts.backends, "check", lambda _: None)  # that reads the marker
    assert {told.state for told in roll_back(any_parts, migration.id)} == {"back"}
    monkeypatch.undo()
    assert states(any_parts, migration) == {"back": 6}
    assert set(homes(any_parts).values()) == {"local"}
    assert objects(any_parts, "local") == kept
    assert any_parts.migrations.get(SERVER, migration.id).state == "rolled_back"
    any_parts.drive.restore(SERVER, "4")
    assert fetch(any_parts, "4") == content(10, 4)
    assert roll_back(any_parts, migration.id) == []
    check(any_parts)


def test_what_cannot_go_back_stays_and_says_why(make_app: Callable[..., Flask]) -> None:
    parts: Parts = make_app(sweep_grace=0, history_days=0).extensions["simpledrive"]
    names = ("fine", "lost", "altered", "swept", "gone", "moved on")
    for seed, id in enumerate(names):
        keep(parts, id, content(1000, seed))
    migration = begin(parts, grace=timedelta(days=7))
    list(run(parts, migration))
    lose(parts, content(1000, 1), "local")
    there = (Replica.sha256 == digest_of(content(1000, 2)), Replica.storage_backend == "local")
    parts.database.write(lambda session: session.execute(update(Replica).where(*there).values(bad_at=now())))
    there = (Replica.sha256 == digest_of(content(1000, 3)), Replica.storage_backend == "local")
    past = now() - timedelta(days=1)
    due = update(Replica).where(*there).values(retired_at=past, keep_until=past)
    parts.database.write(lambda session: session.execute(due))
    parts.drive.delete(SERVER, "gone")
    parts.mover.move(SERVER, "moved on", "local")
    parts.upkeep.sweep()
    told = {outcome.sha256: outcome for outcome in roll_back(parts, migration.id)}
    assert told[digest_of(content(1000, 0))].state == "back"
    reasons = {id: told[digest_of(content(1000, seed))].why for seed, id in enumerate(names) if seed}
    assert reasons == {
        "lost": "Its copy at local is gone.",
        "altered": "Its copy at local is marked bad.",
        "swept": "Its copy at local was swept.",
        "gone": "Its copy at local was swept.",
        "moved on": "It was deleted, replaced for good or moved on meanwhile.",
    }
    assert states(parts, migration) == {"back": 1, "stays": 5}
    for seed in (0, 1, 2, 3, 5):
        assert fetch(parts, names[seed]) == content(1000, seed)


def test_what_was_kept_is_swept_when_the_grace_is_over_and_not_before(
    make_app: Callable[..., Flask],
) -> None:
    parts: Parts = make_app(sweep_grace=0, history_days=0).extensions["simpledrive"]
    for id in ("a", "b"):
        keep(parts, id, id.encode())
    migration = begin(parts, grace=timedelta(days=7))
    list(run(parts, migration))
    parts.upkeep.sweep()
    assert len(objects(parts, "local")) == 2
    parts.drive.delete(SERVER, "a")
    parts.upkeep.sweep()
    assert len(objects(parts, "local")) == 1, "nothing is left of it that could go back"
    parts.migration_work.let_go(parts.migrations.finalize(SERVER, migration.id), Flow())
    parts.upkeep.sweep()
    assert objects(parts, "local") == set()
    assert fetch(parts, "b") == b"b"
    with pytest.raises(WrongState, match="finalized"):
        roll_back(parts, migration.id)
    check(parts)


def test_going_back_to_damaged_bytes_loses_nothing(make_app: Callable[..., Flask]) -> None:
    """It has copied nothing, and so has not read them: the copy that was read back stays as long."""
    parts: Parts = make_app(sweep_grace=0).extensions["simpledrive"]
    data = content(300_000)
    keep(parts, "a", data)
    migration = begin(parts, grace=timedelta(days=7))
    list(run(parts, migration))
    flip(parts, data, "local", 5)
    assert [told.state for told in roll_back(parts, migration.id)] == ["back"]
    parts.upkeep.sweep()
    assert fetch(parts, "a") == data


def test_others_who_use_and_leave_the_source_take_no_way_back(make_app: Callable[..., Flask]) -> None:
    parts: Parts = make_app(sweep_grace=0).extensions["simpledrive"]
    keep(parts, "a", b"the same")
    migration = begin(parts, grace=timedelta(days=7))
    list(run(parts, migration))
    keep(parts, "b", b"the same", "local")
    parts.drive.delete(SERVER, "b", permanent=True)
    parts.upkeep.sweep()
    assert [told.state for told in roll_back(parts, migration.id)] == ["back"]
    check(parts)


def test_giving_up_one_way_back_keeps_that_of_another(make_app: Callable[..., Flask]) -> None:
    """Two migrations have moved records of the same bytes, of which the source keeps one copy."""
    parts: Parts = make_app(sweep_grace=0).extensions["simpledrive"]
    migrations = []
    for id in ("a", "b"):
        keep(parts, id, b"the same")
    for id in ("a", "b"):
        migrations.append(begin(parts, ids=(id,), grace=timedelta(days=7)))
        list(run(parts, migrations[-1]))
    first, second = migrations
    parts.migration_work.let_go(parts.migrations.finalize(SERVER, first.id), Flow())
    parts.upkeep.sweep()
    assert len(objects(parts, "local")) == 1
    assert [told.state for told in roll_back(parts, second.id)] == ["back"]
    third = begin(parts, ids=("b",), grace=timedelta(days=7))
    list(run(parts, third))
    parts.migration_work.let_go(parts.migrations.finalize(SERVER, third.id), Flow())
    parts.upkeep.sweep()
    assert objects(parts, "local") == set()
    check(parts)


def test_an_outage_in_the_middle_of_going_back_leaves_nothing_behind(
    any_parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in range(5):
        keep(any_parts, f"{seed}", content(10, seed))
    migration = begin(any_parts)
    list(run(any_parts, migration))
    storage = any_parts.backends.use("local")
    size, calls = storage.size, itertools.count()

    def fails_soon(key: str) -> int:
        if next(calls) >= 2:
            raise StorageUnavailable("local", "size", "no answer")
        return size(key)

    with monkeypatch.context() as patch:
        patch.setattr(storage, "size", fails_soon)
        patch.setattr(returning, "PAUSES", ())
        patch.setattr(returning, "PAGE", 2)
        with pytest.raises(StorageUnavailable, match="no answer"):
            roll_back(any_parts, migration.id)
    assert states(any_parts, migration) == {"moved": 3, "back": 2}
    stopped = any_parts.migrations.get(SERVER, migration.id)
    assert (stopped.state, stopped.why) == ("rolling_back", "local: size: no answer")
    assert len(roll_back(any_parts, migration.id)) == 3
    assert states(any_parts, migration) == {"back": 5}
    assert any_parts.migrations.get(SERVER, migration.id).why == ""
    check(any_parts)


def test_a_copy_that_is_kept_is_used_when_the_home_is_damaged(any_parts: Parts) -> None:
    data = content(300_000)
    keep(any_parts, "a", data)
    list(run(any_parts, begin(any_parts, grace=timedelta(days=7))))
    flip(any_parts, data, "database", 5)
    assert fetch(any_parts, "a") == data


# --- Who may, and what is told


def test_it_takes_the_scope_admin_everywhere(parts: Parts) -> None:
    keep(parts, "a", b"bytes")
    migration = begin(parts)
    for caller in (
        Caller("a reader", "1", frozenset({"read", "write", "delete"})),
        Caller("of a prefix", "2", SERVER.scopes, prefix="a"),
    ):
        for call in (
            lambda: parts.migrations.plan(caller, "local", "database", Selection()),  # noqa: B023
            lambda: parts.migrations.begin(caller, "local", "database", Selection()),  # noqa: B023
            lambda: parts.migrations.get(caller, migration.id),  # noqa: B023
            lambda: parts.migrations.page(caller, None, 10),  # noqa: B023
            lambda: list(parts.migrations.items(caller, migration.id)),  # noqa: B023
            lambda: parts.migrations.pause(caller, migration.id),  # noqa: B023
            lambda: parts.migrations.resume(caller, migration.id),  # noqa: B023
            lambda: parts.migrations.items_page(caller, migration.id, None, None, 10),  # noqa: B023
            lambda: parts.migrations.roll_back(caller, migration.id),  # noqa: B023
            lambda: parts.migrations.finalize(caller, migration.id),  # noqa: B023
        ):
            with pytest.raises(Forbidden):
                call()
    assert states(parts, migration) == {"pending": 1}


def test_who_may_place_bytes_somewhere_only_moves_nothing_elsewhere(any_parts: Parts) -> None:
    keep(any_parts, "a", b"bytes")
    migration = begin(any_parts)
    confined = Caller("at home", "1", SERVER.scopes, backends=("local",))
    for call in (
        lambda: any_parts.migrations.plan(confined, "local", "database", Selection()),
        lambda: any_parts.migrations.begin(confined, "local", "database", Selection()),
        lambda: any_parts.migrations.pause(confined, migration.id),
        lambda: any_parts.migrations.roll_back(confined, migration.id),
    ):
        with pytest.raises(Forbidden, match="may not place bytes at database"):
            call()
    assert states(any_parts, migration) == {"pending": 1}
    both = Caller("at both", "2", SERVER.scopes, backends=("local", "database"))
    assert any_parts.migrations.pause(both, migration.id).state == "paused"


def test_one_that_does_not_exist_is_not_found(parts: Parts) -> None:
    with pytest.raises(MigrationNotFound):
        parts.migrations.get(SERVER, "nothing")


def test_items_tell_where_the_bytes_were_and_are(any_parts: Parts) -> None:
    keep(any_parts, "a", b"first")
    replace(any_parts, "a", b"second")
    (local,) = objects(any_parts, "local") - {row.storage_key for row in replicas(any_parts, b"first")}
    migration = begin(any_parts, versions=False)
    list(run(any_parts, migration))
    ((item,),) = any_parts.migrations.items(SERVER, migration.id, "moved")
    (there,) = objects(any_parts, "database")
    assert (item.blob_id, item.version, item.sha256) == ("a", 2, digest_of(b"second"))
    assert (item.size, item.source_key, item.target_key) == (6, local, there)
    assert item.verified_at is not None


def test_migrations_are_told_the_latest_first(any_parts: Parts) -> None:
    keep(any_parts, "a", b"bytes")
    ids = []
    for source, target in (("local", "database"), ("database", "local")) * 2:
        migration = begin(any_parts, source, target)
        list(run(any_parts, migration))
        ids.append(migration.id)
    told, cursor = any_parts.migrations.page(SERVER, None, 3)
    more, end = any_parts.migrations.page(SERVER, cursor, 3)
    assert [migration.id for migration in (*told, *more)] == ids[::-1]
    assert end is None
