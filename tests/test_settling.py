"""What becomes of bytes that were put at a backend when recording them does not go through."""

from collections.abc import Callable
from concurrent.futures import wait
from datetime import timedelta

import pytest

from simpledrive.errors import Busy, DatabaseFull, DatabaseUnavailable, DriveError, StorageUnavailable
from simpledrive.moving.running import Run
from simpledrive.moving.switching import Switch
from simpledrive.parts import Parts
from simpledrive.records import Recording
from simpledrive.storage.base import made_at
from tests.drives import check, keep, lose, objects, replicas
from tests.moves import move


def store(parts: Parts) -> None:
    keep(parts, "b", b"new bytes", "database")


WAYS = {store: (Recording, "record"), move: (Switch, "switch")}
each_way = pytest.mark.parametrize("put", WAYS, ids=["stored", "moved"])


def fail(
    parts: Parts, put: Callable[[Parts], None], error: DriveError, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Puts bytes at the backend `database`; the transaction does its work, and then fails."""
    where, name = WAYS[put]
    work = getattr(where, name)

    def failing(*arguments: object, **named: object) -> None:
        work(*arguments, **named)
        raise error

    keep(parts, "a", b"bytes", "local")
    parts.backends.check("database")
    with monkeypatch.context() as patch:
        patch.setattr(where, name, failing)
        with pytest.raises(type(error)):
            put(parts)
    assert [row.storage_backend for row in replicas(parts)] == ["local"]
    check(parts)


@each_way
@pytest.mark.parametrize("error", [Busy("locked"), DatabaseFull("full")], ids=["busy", "full"])
def test_what_was_refused_is_removed_at_once(
    any_parts: Parts, put: Callable[[Parts], None], error: DriveError, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail(any_parts, put, error, monkeypatch)
    assert objects(any_parts, "database") == set()


@each_way
def test_what_may_have_been_recorded_stays(
    any_parts: Parts, put: Callable[[Parts], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    fail(any_parts, put, DatabaseUnavailable("broke around COMMIT"), monkeypatch)
    assert len(objects(any_parts, "database")) == 1


@each_way
def test_what_took_so_long_that_a_sweep_may_take_it_for_lost_is_refused(
    any_parts: Parts, put: Callable[[Parts], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(any_parts, "a", b"bytes", "local")
    half_of_it = timedelta(seconds=any_parts.settings.orphan_age / 2 + 1)
    with monkeypatch.context() as patch:
        patch.setattr("simpledrive.replicas.made_at", lambda key: made_at(key) - half_of_it)
        if put is move:
            assert [told.state for told in move(any_parts).values()] == ["failed"]
        else:
            with pytest.raises(StorageUnavailable, match="took so long"):
                put(any_parts)
    assert objects(any_parts, "database") == set()
    check(any_parts)


def test_what_fails_first_costs_no_copy_that_ended_with_it(
    any_parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two contents end together, one copied, one failed; writing down that it failed does not go through."""
    keep(any_parts, "a", b"bytes")
    keep(any_parts, "b", b"others")
    lose(any_parts, b"others", "local")

    def both(self: Run) -> set[object]:
        return set(wait(self._under_way)[0])

    def busy(*_: object) -> None:
        raise Busy("locked")

    with monkeypatch.context() as patch:
        patch.setattr(Run, "_copied", both)
        patch.setattr("simpledrive.moving.running.leave", busy)
        with pytest.raises(Busy):
            move(any_parts)
    recorded = {row.storage_key for row in replicas(any_parts) if row.storage_backend == "database"}
    assert objects(any_parts, "database") == recorded
    assert len(recorded) == 1
