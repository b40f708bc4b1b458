"""Scrubbing: everything once in so many days, oldest first, at a steady pace, one process at a time."""

import threading
from collections.abc import Callable
from datetime import timedelta

import pytest
from flask import Flask
from sqlalchemy import update

from simpledrive.errors import StorageUnavailable
from simpledrive.integrity import checking, scrubbing
from simpledrive.integrity.scrubbing import Scrubber
from simpledrive.models import Replica, now
from simpledrive.parts import Parts
from tests.damage import alter, replica_of
from tests.drives import fetch, keep, replicas
from tests.sources import content

DAY = timedelta(days=1)
NEVER = threading.Event()


@pytest.fixture
def days(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Lets so many days pass, for whoever scrubs."""
    passed = timedelta()

    def later(number: float) -> None:
        nonlocal passed
        passed += timedelta(days=number)
        monkeypatch.setattr(scrubbing, "now", lambda: now() + passed)

    return later


def scrubber(parts: Parts) -> Scrubber:
    return Scrubber(parts.database, parts.counters, parts.verifier, "local", 10 * DAY)


def verified(parts: Parts) -> int:
    return sum(row.verified_at is not None for row in replicas(parts))


def test_everything_is_read_once_in_the_period(any_parts: Parts, days: Callable[[float], None]) -> None:
    for seed in range(10):
        keep(any_parts, f"{seed}", content(1000, seed))
    scrub, read = scrubber(any_parts), []
    for _ in range(20):
        assert scrub.work(NEVER) is False
        read.append(verified(any_parts))
        days(0.5)
    steps = [after - before for before, after in zip([0, *read], read, strict=False)]
    assert max(steps) == 1, "never two at once: it is steady"
    assert read[-1] == 10


def test_processes_share_it(any_parts: Parts, days: Callable[[float], None]) -> None:
    for seed in range(10):
        keep(any_parts, f"{seed}", content(1000, seed))
    both = scrubber(any_parts), scrubber(any_parts)
    for _ in range(10):
        for scrub in both:
            scrub.work(NEVER)
        days(1)
    assert verified(any_parts) == any_parts.soundness.of(["local"])["local"].verified == 10


def test_what_a_dead_process_had_claimed_is_free_after_a_while(
    parts: Parts, days: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(parts, "a", b"bytes")

    class Killed(BaseException):
        pass

    def die(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Scrubber, "_read", die)
        patch.setattr(scrubbing, "_plan", lambda *_: None)
        with pytest.raises(Killed):
            scrubber(parts).work(NEVER)
    scrubber(parts).work(NEVER)
    assert verified(parts) == 0
    days(0.01)
    scrubber(parts).work(NEVER)
    assert verified(parts) == 1


def test_what_is_bad_is_repaired_and_what_cannot_be_holds_nothing_up(
    parts: Parts, days: Callable[[float], None]
) -> None:
    contents = [content(1000, seed) for seed in range(4)]
    for seed, data in enumerate(contents):
        keep(parts, f"{seed}", data)
    keep(parts, "good", contents[0], "database")
    for data in contents[:2]:
        alter(parts, replica_of(parts, data, "local"))
    scrub = scrubber(parts)
    for _ in range(10):
        scrub.work(NEVER)
        days(5)
    rows = [replica_of(parts, data, "local") for data in contents]
    assert [row.bad_at is not None for row in rows] == [False, True, False, False]
    assert [row.verified_at is not None for row in rows] == [True, False, True, True]
    assert fetch(parts, "0") == contents[0]


def test_one_that_nobody_can_read_holds_nothing_up(
    parts: Parts, days: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in range(4):
        keep(parts, f"{seed}", content(1000, seed))
    monkeypatch.setattr(checking, "PAUSES", ())
    (first, *_), storage = replicas(parts), parts.backends.use("local")
    there = Replica.sha256 == first.sha256
    parts.database.write(
        lambda session: session.execute(update(Replica).where(there).values(created_at=now() - DAY))
    )
    opened = storage.open

    def refuse(key: str, *rest: int) -> object:
        if key == first.storage_key:
            raise StorageUnavailable("local", "open", "Input/output error")
        return opened(key, *rest)

    monkeypatch.setattr(storage, "open", refuse)
    scrub = scrubber(parts)
    for _ in range(8):
        scrub.work(NEVER)
        days(5)
    assert verified(parts) == 3
    assert replica_of(parts, content(1000, 0), "local").bad_at is None


def test_an_unmounted_folder_is_left_alone_for_an_hour(
    parts: Parts, days: Callable[[float], None], caplog: pytest.LogCaptureFixture
) -> None:
    keep(parts, "a", b"bytes")
    base = parts.settings.local_storage_path
    away = base.rename(base.with_name("away"))
    scrub = scrubber(parts)
    scrub.work(NEVER)
    scrub.work(NEVER)
    assert caplog.text.count("scrub: local: check: its marker is missing") == 1
    away.rename(base)
    days(0.05)
    scrub.work(NEVER)
    assert verified(parts) == 1


def test_it_stops_when_it_is_told_to_and_the_turn_is_anothers(parts: Parts) -> None:
    keep(parts, "a", content(1000))
    stop = threading.Event()
    storage = parts.backends.use("local")
    opened = storage.open

    def stopping(key: str, *rest: int) -> object:
        stop.set()
        return opened(key, *rest)

    storage.open = stopping  # type: ignore[method-assign]
    assert scrubber(parts).work(stop) is False
    storage.open = opened  # type: ignore[method-assign]
    assert scrubber(parts).work(NEVER) is False
    assert verified(parts) == 1


def test_a_worker_that_was_away_for_long_does_not_hurry_afterwards(
    parts: Parts, days: Callable[[float], None], caplog: pytest.LogCaptureFixture
) -> None:
    for seed in range(10):
        keep(parts, f"{seed}", content(1000, seed))
    scrub = scrubber(parts)
    scrub.work(NEVER)
    assert "behind" not in caplog.text
    days(100)
    while scrub.work(NEVER):
        pass
    scrub.work(NEVER)
    assert verified(parts) == 2
    assert caplog.text.count("hours behind, which are not made up for: not all is read in 10 days") == 1


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, ["database", "local"]),
        ({"scrub_backends": "archive"}, ["archive"]),
        ({"scrub_backends": "*"}, ["archive", "bucket", "database", "local"]),
        ({"scrub_days": 0}, []),
    ],
)
def test_settings_say_what_is_scrubbed(
    make_app: Callable[..., Flask],
    settings: dict[str, object],
    expected: list[str],
) -> None:
    """Unless they say so, nothing that somebody might have to pay for."""
    bucket = {
        "kind": "s3", "endpoint_url": "http://127.0.0.1:1", "bucket_name": "bucket",
        "access_key_id": "access", "secret_access_key": "secret",
    }  # fmt: skip
    archive = {"kind": "ftp", "host": "127.0.0.1", "port": "1", "username": "u", "password": "p"}
    app = make_app(backends={"bucket": bucket, "archive": archive}, **settings)
    parts: Parts = app.extensions["simpledrive"]
    assert sorted(scrubber.backend for scrubber in parts.scrubbers) == expected
    jobs = {job.name for job in parts.worker._jobs}
    assert jobs >= {f"scrubbing {name}" for name in expected}, "a slow one holds up no other"
