"""No transaction on the records is open while a storage is called or a body is read."""

import io
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import event, text
from sqlalchemy.orm import Session

from simpledrive.drive import NewBlob
from simpledrive.errors import BlobExists, StorageFull
from simpledrive.parts import Parts
from simpledrive.rights import SERVER
from simpledrive.storage import registry
from simpledrive.streams.staging import Incoming
from tests.backups import MakeDrive, back_up, bring_back
from tests.damage import fsck, verify
from tests.drives import check, fetch, flip, impatient, keep, lose, put_orphan, replace
from tests.mirrored import catch_up, waiting
from tests.moves import move
from tests.sources import content


class Held:
    """How many connections to the records each thread has checked out."""

    def __init__(self) -> None:
        self._own = threading.local()

    def watch(self, parts: Parts) -> None:
        event.listen(parts.database.engine, "checkout", lambda *_: self._add(1))
        event.listen(parts.database.engine, "checkin", lambda *_: self._add(-1))

    def _add(self, number: int) -> None:
        self._own.count = self.count + number

    @property
    def count(self) -> int:
        return getattr(self._own, "count", 0)


class Watched:
    """A storage, a reader or a listing, each use of which is refused to who holds a connection."""

    def __init__(self, inner: Any, held: Held, calls: list[str]) -> None:
        self._inner, self._held, self._calls = inner, held, calls

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._inner, name)
        if not callable(value):
            return value

        def call(*arguments: Any, **named: Any) -> Any:
            self._look(name)
            result = value(*arguments, **named)
            return Watched(result, self._held, self._calls) if name in ("open", "keys") else result

        return call

    def __iter__(self) -> Iterator[str]:
        for key in self._inner:
            self._look("the next key")
            yield key

    def _look(self, name: str) -> None:
        self._calls.append(name)
        assert self._held.count == 0, f"{name} is called in the middle of a transaction"


@pytest.fixture
def held() -> Held:
    return Held()


@pytest.fixture
def calls() -> list[str]:
    return []


@pytest.fixture
def make_watched(
    any_database: dict[str, Any],
    make_app: Callable[..., Flask],
    monkeypatch: pytest.MonkeyPatch,
    held: Held,
    calls: list[str],
) -> Callable[..., Parts]:
    """Makes drives whose storages are all watched."""
    monkeypatch.setattr(
        "simpledrive.parts.build_storage",
        lambda *described: Watched(registry.build(*described), held, calls),
    )

    def make(**settings: Any) -> Parts:
        parts: Parts = make_app(**any_database, **settings).extensions["simpledrive"]
        held.watch(parts)
        return parts

    return make


@pytest.fixture
def parts(make_watched: Callable[..., Parts]) -> Parts:
    return make_watched()


def test_storing_reading_and_deleting(parts: Parts, held: Held, calls: list[str]) -> None:
    data = content(700_000)
    for id, backend in (("a", "local"), ("b", "local"), ("c", "database")):
        body = Incoming(Watched(io.BytesIO(data), held, calls), len(data))
        parts.drive.store(SERVER, body, NewBlob(id=id, storage_backend=backend))
    replace(parts, "a", b"other", "database")
    with pytest.raises(BlobExists):
        keep(parts, "b", b"bytes")
    flip(parts, data, "local", 300_000)
    assert fetch(parts, "b") == fetch(parts, "c") == data
    lose(parts, data, "local")
    assert fetch(parts, "b", 5, 400_000) == data[5:400_000]
    keep(parts, "d", data)
    parts.drive.delete(SERVER, "d")
    parts.drive.restore(SERVER, "d")
    check(parts)
    assert {"put", "open", "read", "close", "size"} <= set(calls)


def test_moving(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    contents = [content(300_000, seed) for seed in range(5)]
    for seed, data in enumerate(contents):
        keep(parts, f"{seed}", data)
    keep(parts, "there already", contents[0], "database")
    keep(parts, "and wrong", contents[1], "database")
    flip(parts, contents[1], "database", 5)
    flip(parts, contents[2], "local", 5)
    lose(parts, contents[3], "local")
    states = sorted(told.state for told in move(parts).values())
    assert states == ["failed", "failed", "moved", "moved", "moved"]

    def full(*_: object) -> None:
        raise StorageFull("local", "put", "no room")

    monkeypatch.setattr(parts.backends.use("local"), "put", full, raising=False)
    move(parts, "database", "local")


@pytest.mark.parametrize("sync", [False, True])
def test_mirroring(make_watched: Callable[..., Parts], sync: bool, calls: list[str]) -> None:
    parts = make_watched(mirrors={"local": {"to": ["database"], "sync": sync}})
    for seed in range(3):
        keep(parts, f"{seed}", content(300_000, seed))
    keep(parts, "there already", content(300_000, 5), "database")
    keep(parts, "home", content(300_000, 5))
    if not sync:
        flip(parts, content(300_000, 2), "local", 5)
    calls.clear()
    catch_up(parts)
    assert [row.storage_backend for row in waiting(parts)] == ([] if sync else ["database"])
    assert sync or {"put", "open", "read"} <= set(calls)


def test_sweeping(parts: Parts, calls: list[str]) -> None:
    for seed in range(12):
        keep(parts, f"{seed}", content(1000, seed))
    for seed in range(6):
        parts.drive.delete(SERVER, f"{seed}")
    put_orphan(parts, "local")
    swept = impatient(parts).sweep(orphans=True, force=True)
    assert (swept.replicas, swept.orphans, swept.problems) == (6, 1, [])
    assert {"delete", "keys", "the next key", "clean"} <= set(calls)


def test_verifying_repairing_and_comparing(parts: Parts, calls: list[str]) -> None:
    for seed in range(6):
        keep(parts, f"{seed}", content(1000, seed))
        keep(parts, f"{seed}-too", content(1000, seed), "database")
    flip(parts, content(1000, 1), "local", 5)
    lose(parts, content(1000, 2), "local")
    put_orphan(parts, "local")
    assert [verdict.state for verdict in verify(parts, repair=True, threads=2)].count("repaired") == 2
    lose(parts, content(1000, 3), "local")
    assert [found.fixed for found in fsck(parts, fix=True)] == [True]
    check(parts)
    assert {"open", "read", "put", "delete", "size", "keys", "the next key"} <= set(calls)


def test_backing_up_and_restoring(
    parts: Parts, held: Held, calls: list[str], folder: Path, make_drive: MakeDrive
) -> None:
    for seed in range(5):
        keep(parts, f"{seed}", content(300_000, seed), ("local", "database")[seed % 2])
    back_up(parts, folder)
    assert {"open", "read", "close"} <= set(calls)
    calls.clear()
    other = make_drive("other")
    held.watch(other)
    assert bring_back(other, folder) == []
    assert {"put", "open", "read", "close"} <= set(calls)


def test_this_would_notice(parts: Parts) -> None:
    keep(parts, "a", b"bytes")

    def work(session: Session) -> None:
        session.execute(text("SELECT 1"))
        parts.backends.use("local").open("any")

    with pytest.raises(AssertionError, match="in the middle of a transaction"):
        parts.database.read(work)
