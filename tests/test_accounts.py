"""What is counted stays right whatever happens at the same moment: quotas, replicas, blobs."""

import threading
from collections.abc import Callable

import pytest
from flask import Flask
from sqlalchemy import event
from sqlalchemy.orm import Session

from simpledrive import upkeep, usage
from simpledrive.errors import PreconditionFailed
from simpledrive.keys import NewKey, rights_of
from simpledrive.parts import Parts
from simpledrive.records import removal
from simpledrive.replicas import release
from simpledrive.rights import SERVER, Caller
from tests.drives import check, fetch, impatient, keep, replace, replicas
from tests.moves import move

Pair = tuple[Parts, Parts]


@pytest.fixture
def pair(make_app: Callable[..., Flask], postgres_database: str) -> Pair:
    """Two processes' parts on one database."""
    first, second = (make_app(database_url=postgres_database).extensions["simpledrive"] for _ in range(2))
    return first, second


@pytest.fixture
def limited(pair: Pair) -> Caller:
    """A caller with a quota."""
    key, _ = pair[0].keys.issue(SERVER, NewKey("limited", quota_bytes=100_000))
    return rights_of(key)


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Callable[[object, Callable[[], object]], None]:
    """Has something happen once, when a module releases its first replica, which is before it deletes."""

    def arm(module: object, act: Callable[[], object]) -> None:
        acts = [act]

        def slow(session: Session, sha256: str, backend: str) -> None:
            if acts:
                acts.pop()()
            release(session, sha256, backend)

        monkeypatch.setattr(module, "release", slow)

    return arm


def used(parts: Parts, caller: Caller) -> int:
    return parts.keys.get(SERVER, caller.key_id).used_bytes


def test_what_is_stored_while_its_id_is_erased_is_let_go_too(
    pair: Pair, meanwhile: Callable[..., None]
) -> None:
    first, second = pair
    keep(first, "a", b"old bytes")
    meanwhile(removal, lambda: replace(second, "a", b"new bytes"))
    first.drive.delete(SERVER, "a", permanent=True)
    check(first)
    impatient(first).sweep()
    assert replicas(first) == []


def test_what_is_stored_while_the_trash_is_emptied_stays(pair: Pair, meanwhile: Callable[..., None]) -> None:
    first, second = pair
    keep(first, "a", b"old bytes")
    first.drive.delete(SERVER, "a")
    meanwhile(removal, lambda: keep(second, "a", b"new bytes"))
    with pytest.raises(PreconditionFailed):
        first.drive.delete(SERVER, "a", lambda blob: blob is None, permanent=True)
    assert fetch(first, "a") == b"new bytes"
    check(first)


def test_two_sweeps_give_back_a_quota_once(
    pair: Pair, limited: Caller, meanwhile: Callable[..., None]
) -> None:
    first, second = pair
    for id in ("a", "b"):
        keep(first, id, b"x" * 100, caller=limited)
    first.drive.delete(limited, "a")
    meanwhile(upkeep, lambda: impatient(second).sweep())
    impatient(first).sweep()
    assert used(first, limited) == 100
    check(first)


def test_what_comes_out_of_the_trash_at_its_last_moment_still_counts(
    pair: Pair, limited: Caller, meanwhile: Callable[..., None]
) -> None:
    first, second = pair
    keep(first, "a", b"x" * 100, caller=limited)
    first.drive.delete(limited, "a")
    meanwhile(upkeep, lambda: second.drive.restore(limited, "a"))
    impatient(first).sweep()
    assert used(first, limited) == 100
    check(first)


def test_what_moves_while_it_expires_is_let_go_where_it_went(
    pair: Pair, meanwhile: Callable[..., None]
) -> None:
    first, second = pair
    keep(first, "a", b"bytes")
    first.drive.delete(SERVER, "a")
    meanwhile(upkeep, lambda: move(second, "local", "database"))
    impatient(first).sweep()
    check(first)
    impatient(first).sweep()
    assert replicas(first) == []


def test_storing_and_erasing_lock_accounts_and_counters_in_one_order(
    pair: Pair, limited: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = pair
    monkeypatch.setattr(usage, "SHARDS", 1)
    states: list[str | None] = []
    for parts in pair:
        event.listen(
            parts.database.engine,
            "handle_error",
            lambda context: states.append(getattr(context.original_exception, "sqlstate", None)),
        )
    for number in range(15):
        keep(first, f"old/{number}", b"o%d" % number, caller=limited)
        start = threading.Barrier(2)

        def erase(number: int = number, start: threading.Barrier = start) -> None:
            start.wait()
            first.drive.delete(limited, f"old/{number}", permanent=True)

        def store(number: int = number, start: threading.Barrier = start) -> None:
            start.wait()
            keep(second, f"new/{number}", b"n%d" % number, caller=limited)

        threads = [threading.Thread(target=act) for act in (erase, store)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert "40P01" not in states
    check(first)
