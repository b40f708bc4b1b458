"""Moving between backends: every byte compared, interrupted anywhere, run again."""

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from simpledrive.errors import Invalid, StorageFull, StorageRefused, StorageUnavailable
from simpledrive.moving import running
from simpledrive.parts import Parts
from simpledrive.replicas import Provided
from simpledrive.rights import SERVER
from simpledrive.storage.base import MARKER
from tests.drives import (
    check,
    digest_of,
    fetch,
    flip,
    keep,
    lose,
    objects,
    replace,
    replicas,
    trust_no_more,
    versions,
)
from tests.moves import after_reading_back, begin, move, plan, run, states
from tests.sources import content


def homes(parts: Parts) -> set[str]:
    return {blob.storage_backend for blob in parts.listing.page(SERVER).blobs}


def test_everything_moves_there_and_back(any_parts: Parts) -> None:
    sizes = (0, 1, 300_000, 3 << 20)
    contents = {f"of {size}": content(size) for size in sizes}
    for id, data in contents.items():
        keep(any_parts, id, data)
    for source, target in (("local", "database"), ("database", "local")) * 2:
        planned = plan(any_parts, source, target)
        assert (planned.items, planned.bytes, planned.first) == (4, sum(sizes), sorted(contents))
        told = move(any_parts, source, target).values()
        assert {(outcome.state, outcome.records) for outcome in told} == {("moved", 1)}
        assert homes(any_parts) == {target}
        for id, data in contents.items():
            assert fetch(any_parts, id) == data
        assert plan(any_parts, source, target).items == 0
        check(any_parts)


def test_earlier_versions_and_the_trash_move_too(any_parts: Parts) -> None:
    keep(any_parts, "a", b"first")
    replace(any_parts, "a", b"second")
    keep(any_parts, "b", b"third")
    any_parts.drive.delete(SERVER, "b")
    assert plan(any_parts).items == 3
    assert plan(any_parts, versions=False).items == 1
    assert len(move(any_parts)) == 3
    assert {aside.storage_backend for id in "ab" for aside in versions(any_parts, id)} == {"database"}
    any_parts.drive.restore(SERVER, "b")
    assert fetch(any_parts, "b") == b"third"
    check(any_parts)


def test_a_move_reads_back_retires_the_old_and_counts_a_change(any_parts: Parts) -> None:
    before = keep(any_parts, "a", b"bytes")
    move(any_parts)
    new, old = replicas(any_parts)
    assert new.verified_at is not None
    assert (new.retired_at, old.retired_at is not None) == (None, True)
    assert any_parts.drive.describe(SERVER, "a").version == before.version + 1


def test_moving_back_before_the_sweep_copies_nothing(any_parts: Parts) -> None:
    keep(any_parts, "a", b"bytes")
    kept = objects(any_parts, "local")
    move(any_parts)
    move(any_parts, "database", "local")
    assert objects(any_parts, "local") == kept
    assert [row.retired_at is None for row in replicas(any_parts)] == [False, True]


def test_a_plan_changes_nothing(any_parts: Parts) -> None:
    keep(any_parts, "a", b"bytes")
    assert plan(any_parts).items == 1
    assert homes(any_parts) == {"local"}
    assert objects(any_parts, "database") == set()


def test_unknown_backends_are_refused_with_the_known_ones(parts: Parts) -> None:
    for source, target in (("local", "nowhere"), ("nowhere", "local"), ("local", "local")):
        with pytest.raises(Invalid):
            plan(parts, source, target)
        with pytest.raises(Invalid):
            begin(parts, source, target)


def test_a_corrupt_source_is_reported_and_copied_nowhere(any_parts: Parts) -> None:
    contents = [content(300_000, seed) for seed in range(5)]
    for seed, data in enumerate(contents):
        keep(any_parts, f"{seed}", data)
    flip(any_parts, contents[2], "local", 299_999)
    lose(any_parts, contents[4], "local")
    told = move(any_parts)
    assert [told[digest_of(data)].state == "moved" for data in contents] == [True, True, False, True, False]
    assert told[digest_of(contents[2])].why.startswith("local: ")
    assert len(objects(any_parts, "database")) == 3
    for seed in (0, 1, 3):
        assert fetch(any_parts, f"{seed}") == contents[seed]
        assert any_parts.drive.describe(SERVER, f"{seed}").storage_backend == "database"
    assert [row.bad_at is not None for row in replicas(any_parts, contents[2])] == [True]
    # The bytes come again: then they move.
    for seed in (2, 4):
        keep(any_parts, f"again {seed}", contents[seed])
    assert {told.state for told in move(any_parts).values()} == {"moved"}
    assert homes(any_parts) == {"database"}
    check(any_parts)


def test_a_corrupt_copy_at_the_target_is_not_taken_for_one(any_parts: Parts) -> None:
    for harm in (flip, lambda *a: lose(*a[:3]), lambda *a: trust_no_more(*a[:3])):
        data = content(300_000, id(harm))
        keep(any_parts, f"a {id(harm)}", data, "local")
        keep(any_parts, f"b {id(harm)}", data, "database")
        harm(any_parts, data, "database", 7)
        assert move(any_parts)[digest_of(data)].state == "moved"
        assert fetch(any_parts, f"a {id(harm)}") == fetch(any_parts, f"b {id(harm)}") == data
    check(any_parts)


def test_a_target_that_is_full_takes_what_it_can(any_parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    contents = [content(1000 * (seed + 1), seed) for seed in range(6)]
    for seed, data in enumerate(contents):
        keep(any_parts, f"{seed}", data)
    storage = any_parts.backends.use("database")
    put = storage.put

    def small_only(key, source) -> None:
        if source.size > 3000:
            raise StorageFull("database", "put", "no room")
        put(key, source)

    with monkeypatch.context() as patch:
        patch.setattr(storage, "put", small_only)
        migration = begin(any_parts)
        with pytest.raises(StorageFull, match="no room"):
            list(run(any_parts, migration))
    assert states(any_parts, migration) == {"moved": 3, "pending": 3}
    check(any_parts)
    assert {told.state for told in move(any_parts).values()} == {"moved"}
    assert homes(any_parts) == {"database"}
    check(any_parts)


@pytest.mark.parametrize("others", [0, 3])
def test_what_the_target_refuses_alone_fails_by_itself(
    any_parts: Parts, others: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes all else; or what a look at it stores, where there is nothing else."""
    keep(any_parts, "too large", content(5000))
    for seed in range(others):
        keep(any_parts, f"{seed}", content(1000, seed))
    storage = any_parts.backends.use("database")
    put = storage.put

    def small_only(key, source) -> None:
        if source.size > 3000:
            raise StorageRefused("database", "put", "no object of that size")
        put(key, source)

    migration = begin(any_parts)
    with monkeypatch.context() as patch:
        patch.setattr(storage, "put", small_only)
        told = {outcome.sha256: outcome for outcome in run(any_parts, migration)}
    assert told[digest_of(content(5000))].why == "database: put: no object of that size"
    assert states(any_parts, migration) == {"failed": 1} | ({"moved": others} if others else {})
    assert any_parts.migrations.get(SERVER, migration.id).state == "ended"


def test_a_target_that_does_not_answer_when_read_back_is_not_switched_to(
    any_parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(any_parts, "a", b"bytes")
    keep(any_parts, "b", b"bytes", "database")

    storage = any_parts.backends.use("database")
    opened = storage.open

    def down(key: str, *bounds: Any) -> Any:
        if key == MARKER:
            return opened(key, *bounds)
        raise StorageUnavailable("database", "open", "no answer")

    with monkeypatch.context() as patch:
        patch.setattr(storage, "open", down)
        patch.setattr(running, "PAUSES", (0.0,))
        assert "no answer" in move(any_parts)[digest_of(b"bytes")].why
    assert any_parts.drive.describe(SERVER, "a").storage_backend == "local"
    assert [row.bad_at for row in replicas(any_parts)] == [None, None]
    check(any_parts)


def test_a_target_that_garbles_what_it_is_given_is_never_switched_to(
    any_parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(any_parts, "a", b"bytes")
    storage = any_parts.backends.use("database")
    opened = storage.open

    class Garbled:
        def __init__(self, reader) -> None:
            self._reader = reader

        def read(self, size: int, /) -> bytes:
            return self._reader.read(size).swapcase()

        def close(self) -> None:
            self._reader.close()

    def garbled(key: str, *bounds: Any) -> Any:
        return opened(key, *bounds) if key == MARKER else Garbled(opened(key, *bounds))

    with monkeypatch.context() as patch:
        patch.setattr(storage, "open", garbled)
        assert "reads back wrong" in move(any_parts)[digest_of(b"bytes")].why
    assert fetch(any_parts, "a") == b"bytes"
    assert objects(any_parts, "database") == set()
    check(any_parts)


def test_what_is_deleted_meanwhile_is_no_failure(make_app: Callable[..., Flask]) -> None:
    parts: Parts = make_app(sweep_grace=0, history_days=0).extensions["simpledrive"]
    for seed in range(4):
        keep(parts, f"{seed}", content(1000, seed))
    migration = begin(parts)
    for seed in range(4):
        parts.drive.delete(SERVER, f"{seed}")
    parts.upkeep.sweep()
    assert {told.state for told in run(parts, migration)} == {"gone"}
    assert states(parts, migration) == {"gone": 4}
    parts.upkeep.sweep()
    assert replicas(parts) == []
    assert objects(parts, "database") == set()


def test_what_is_deleted_during_its_own_copy_leaves_nothing_behind(
    make_app: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch
) -> None:
    parts: Parts = make_app(sweep_grace=0, history_days=0).extensions["simpledrive"]
    keep(parts, "a", b"bytes")

    def delete(_copied: object) -> None:
        parts.drive.delete(SERVER, "a")
        parts.upkeep.sweep()

    with after_reading_back(monkeypatch, delete):
        assert move(parts)[digest_of(b"bytes")].state == "gone"
    parts.upkeep.sweep()
    assert replicas(parts) == []
    assert objects(parts, "local") == objects(parts, "database") == set()
    check(parts)


def test_what_is_stored_at_the_source_meanwhile_stays_until_it_is_asked_for_again(any_parts: Parts) -> None:
    for seed in range(4):
        keep(any_parts, f"{seed}", content(1000, seed))
    migration = begin(any_parts)
    keep(any_parts, "new", content(1000, 10), "local")
    assert len([*run(any_parts, migration)]) == 4
    assert plan(any_parts).first == ["new"]
    move(any_parts)
    assert homes(any_parts) == {"database"}
    assert len(any_parts.listing.page(SERVER).blobs) == 5
    check(any_parts)


def test_what_failed_is_tried_again_by_the_same_request_and_not_in_the_same_run(any_parts: Parts) -> None:
    for seed in range(4):
        keep(any_parts, f"{seed}", content(1000, seed))
    lose(any_parts, content(1000, 2), "local")
    migration = begin(any_parts)
    told = [outcome.sha256 for outcome in run(any_parts, migration)]
    assert sorted(told) == sorted(digest_of(content(1000, seed)) for seed in range(4))
    assert states(any_parts, migration) == {"moved": 3, "failed": 1}
    keep(any_parts, "the bytes again", content(1000, 2))
    again = begin(any_parts)
    assert again.id == migration.id
    assert [outcome.state for outcome in run(any_parts, again)] == ["moved"]
    assert states(any_parts, again) == {"moved": 5}
    assert begin(any_parts).id != migration.id
    check(any_parts)


def test_an_interruption_leaves_a_whole_drive(any_parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simpledrive.moving.running.AHEAD", 1)
    contents = {f"{seed}": content(300_000, seed) for seed in range(12)}
    for id, data in contents.items():
        keep(any_parts, id, data)
    migration = begin(any_parts)
    running = run(any_parts, migration)
    next(running)
    running.close()
    moved = states(any_parts, migration)["moved"]
    assert 1 <= moved < 12
    assert len(objects(any_parts, "database")) == moved
    check(any_parts)
    assert sum(told.records for told in run(any_parts, begin(any_parts))) == 12 - moved
    for id, data in contents.items():
        assert fetch(any_parts, id) == data
    check(any_parts)


def test_a_copy_that_somebody_else_made_meanwhile_is_read_back_too(
    any_parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(any_parts, "a", b"bytes")
    read: list[str] = []

    def be_first(copied: Provided) -> None:
        read.append(copied.key)
        if len(read) == 1:
            keep(any_parts, "b", b"bytes", "database")

    with after_reading_back(monkeypatch, be_first):
        assert move(any_parts)[digest_of(b"bytes")].state == "moved"
    there = next(row for row in replicas(any_parts) if row.storage_backend == "database")
    assert read[-1] == there.storage_key != read[0]
    assert objects(any_parts, "database") == {there.storage_key}
    assert homes(any_parts) == {"database"}
    check(any_parts)


def test_a_target_of_another_drive_is_refused(make_app: Callable[..., Flask], tmp_path) -> None:
    elsewhere = tmp_path / "elsewhere"
    backends = {name: {"kind": "local", "path": str(elsewhere)} for name in ("one", "two")}
    parts: Parts = make_app(backends=backends).extensions["simpledrive"]
    keep(parts, "a", b"bytes", "one")
    with pytest.raises(StorageRefused, match="another drive or backend"):
        move(parts, "one", "two")
    assert fetch(parts, "a") == b"bytes"
