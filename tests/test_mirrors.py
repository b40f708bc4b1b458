"""Mirrors: what has its home at a mirrored backend comes to be at its mirrors too, and goes with it."""

import json
import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from html import unescape
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import update

from simpledrive.drive import NewBlob
from simpledrive.errors import BlobExists, Forbidden, StorageFull, StorageUnavailable
from simpledrive.mirroring import Lag, catching_up, search
from simpledrive.models import MirrorSearch, Replica, now
from simpledrive.parts import Parts
from simpledrive.rights import SERVER, Caller
from simpledrive.storage.s3 import client as s3_client
from tests.apps import BEARER
from tests.drives import (
    check,
    digest_of,
    fetch,
    flip,
    impatient,
    keep,
    lose,
    objects,
    replace,
    replicas,
    trust_no_more,
)
from tests.faulty_proxy import FaultyProxy
from tests.ftp_servers import FtpServer
from tests.mirrored import catch_up, make_due, waiting
from tests.moves import after_reading_back, begin, move, roll_back, run
from tests.sources import content
from tests.strict_s3 import StrictS3
from tests.visitors import Visitor

DATA = content(700_000)


def parts_of(app: Flask) -> Parts:
    parts: Parts = app.extensions["simpledrive"]
    return parts


def held(parts: Parts, *backends: str) -> dict[str, int]:
    """How many objects lie at each of these."""
    return {name: len(objects(parts, name)) for name in backends}


def mirrors_of(parts: Parts, data: bytes) -> set[str]:
    """The backends that have a copy which is not about to go."""
    return {row.storage_backend for row in replicas(parts, data) if row.retired_at is None}


# --- Catching up


def test_the_mirror_catches_up_with_all_that_was_stored(any_mirrored: Parts) -> None:
    contents = {f"{seed}": content(size, seed) for seed, size in enumerate((0, 1, 300_000, 3 << 20))}
    for id, data in contents.items():
        keep(any_mirrored, id, data)
    keep(any_mirrored, "the same", contents["2"])
    replace(any_mirrored, "1", b"a later version")
    assert held(any_mirrored, "local", "archive") == {"local": 5, "archive": 0}
    assert len(waiting(any_mirrored)) == 5
    check(any_mirrored)
    catch_up(any_mirrored)
    assert waiting(any_mirrored) == []
    assert held(any_mirrored, "local", "archive") == {"local": 5, "archive": 5}
    copies = [row for row in replicas(any_mirrored) if row.storage_backend == "archive"]
    assert all(row.verified_at is not None and row.retired_at is None for row in copies)
    check(any_mirrored)


def test_what_has_its_home_elsewhere_is_not_mirrored(mirrored: Parts) -> None:
    keep(mirrored, "a", DATA, "database")
    keep(mirrored, "b", b"bytes", "archive")
    assert waiting(mirrored) == []


def test_a_home_may_have_several_mirrors_and_a_mirror_several_homes(
    make_mirrored: Callable[..., Flask],
) -> None:
    parts = parts_of(
        make_mirrored(mirrors={"local": ["archive", "database"], "database": ["archive"]}),
    )
    keep(parts, "a", b"one", "local")
    keep(parts, "b", b"two", "database")
    catch_up(parts)
    assert mirrors_of(parts, b"one") == {"local", "archive", "database"}
    assert mirrors_of(parts, b"two") == {"database", "archive"}
    check(parts)


def test_two_backends_may_mirror_each_other(make_any_mirrored: Callable[..., Flask]) -> None:
    parts = parts_of(make_any_mirrored(mirrors={"local": ["archive"], "archive": ["local"]}))
    keep(parts, "a", DATA, "local")
    keep(parts, "b", b"bytes", "archive")
    catch_up(parts)
    move(parts, "local", "archive")
    move(parts, "archive", "local")
    catch_up(parts)
    impatient(parts).sweep()
    assert mirrors_of(parts, DATA) == mirrors_of(parts, b"bytes") == {"local", "archive"}
    check(parts)


def test_two_workers_make_each_copy_once(
    make_any_mirrored: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = parts_of(make_any_mirrored()), parts_of(make_any_mirrored())
    puts: list[str] = []
    for parts in (first, second):
        storage = parts.backends.use("archive")
        put = storage.put
        monkeypatch.setattr(
            storage, "put", lambda key, source, put=put: (puts.append(source.sha256), put(key, source))
        )
    for seed in range(16):
        keep(first, f"{seed}", content(1000, seed))
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(catch_up, (first, second)))
    assert len(puts) == len(set(puts)) == 16
    check(first)


def test_what_a_dead_worker_had_leased_is_done_by_another_one(
    make_any_mirrored: Callable[..., Flask],
) -> None:
    dead, alive = parts_of(make_any_mirrored()), parts_of(make_any_mirrored())
    keep(dead, "a", DATA)
    asleep = catching_up.Waiting(dead.database, dead.mirrors)
    assert len(asleep.take(10, ["archive"])) == 1
    catch_up(alive)
    assert len(waiting(alive)) == 1
    make_due(alive)
    catch_up(alive)
    assert waiting(alive) == []
    check(alive)


def test_a_worker_that_is_stopped_leaves_the_rest_to_others_at_once(
    mirrored: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in range(12):
        keep(mirrored, f"{seed}", content(1000, seed))
    stop = threading.Event()
    with after_reading_back(monkeypatch, lambda copied: stop.set()):
        mirrored.catching_up.work(stop)
    left = waiting(mirrored)
    assert len(left) >= 12 - 2 * catching_up.THREADS
    assert all(row.leased_until is None and row.attempts == 0 for row in left)
    check(mirrored)
    catch_up(mirrored)
    assert waiting(mirrored) == []


# --- Failing and trying again


@pytest.fixture
def bucket_at(strict_s3: StrictS3, s3_proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A bucket behind the proxy."""
    monkeypatch.setattr(s3_client, "PAUSES", (0.001,) * 4)
    return strict_s3.config(endpoint_url=f"http://127.0.0.1:{s3_proxy.port}", timeout="5")


def test_a_mirror_that_was_down_for_a_while_catches_up(
    make_mirrored: Callable[..., Flask], bucket_at: dict[str, Any], s3_proxy: FaultyProxy
) -> None:
    parts = parts_of(make_mirrored(backends={"bucket": bucket_at}, mirrors={"local": ["bucket", "archive"]}))
    keep(parts, "before", b"before")
    catch_up(parts)
    s3_proxy.refuse()
    s3_proxy.close_all()
    contents = {f"{seed}": content(1000, seed) for seed in range(20)}
    for id, data in contents.items():
        keep(parts, id, data)
    catch_up(parts)
    assert held(parts, "archive") == {"archive": 21}, "the other mirror has nothing to do with it"
    left = waiting(parts)
    assert len(left) == 20
    tried = [row for row in left if row.attempts]
    assert 0 < len(tried) <= 2 * catching_up.THREADS, "not each of them finds out that it is down"
    assert all("bucket" in row.why and row.due_at > row.since for row in tried)
    lags = parts.lags.by_mirror(SERVER)
    assert lags["archive"] == Lag(("local",))
    bucket = lags["bucket"]
    assert (bucket.waiting, bucket.homes) == (20, ("local",))
    assert "refused" in bucket.why
    s3_proxy.accept_again()
    make_due(parts)
    catch_up(parts)
    assert waiting(parts) == []
    assert held(parts, "bucket", "local") == {"bucket": 21, "local": 21}
    check(parts)


def test_one_copy_that_fails_does_not_stop_the_others(
    any_mirrored: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catching_up, "REST", 0.0)
    storage = any_mirrored.backends.use("archive")
    put = storage.put

    def small_only(key, source) -> None:
        if source.size > 5000:
            raise StorageFull("archive", "put", "no room")
        put(key, source)

    monkeypatch.setattr(storage, "put", small_only)
    for seed in range(10):
        keep(any_mirrored, f"{seed}", content(1000 * (seed + 1), seed))
    catch_up(any_mirrored)
    left = waiting(any_mirrored)
    assert len(left) == 5
    assert {row.why for row in left} == {"archive: put: no room"}
    pauses = [row.due_at - now() for row in left]
    make_due(any_mirrored)
    catch_up(any_mirrored)
    again = waiting(any_mirrored)
    assert {row.attempts for row in again} == {2}
    assert max(row.due_at - now() for row in again) > max(pauses)
    check(any_mirrored)


def test_bytes_that_are_wrong_in_one_place_are_copied_from_where_they_are_right(
    make_mirrored: Callable[..., Flask],
) -> None:
    parts = parts_of(make_mirrored(mirrors={"local": ["archive", "database"]}))
    keep(parts, "a", DATA)
    keep(parts, "b", DATA, "database")
    flip(parts, DATA, "database", 5)  # which is asked before `local`
    catch_up(parts)
    make_due(parts)
    catch_up(parts)
    assert waiting(parts) == []
    assert [row.bad_at for row in replicas(parts, DATA)] == [None] * 3
    check(parts)


def test_bytes_that_are_right_nowhere_are_copied_nowhere(mirrored: Parts) -> None:
    keep(mirrored, "a", DATA)
    flip(mirrored, DATA, "local", 5)
    catch_up(mirrored)
    (row,) = waiting(mirrored)
    assert "not what was stored" in row.why
    make_due(mirrored)
    catch_up(mirrored)
    (row,) = waiting(mirrored)
    assert row.why == "No good copy of these bytes is left."
    assert held(mirrored, "archive") == {"archive": 0}
    keep(mirrored, "b", DATA)  # which mends the home
    make_due(mirrored)
    catch_up(mirrored)
    assert waiting(mirrored) == []
    check(mirrored)


def test_bytes_that_were_altered_on_their_way_are_not_recorded(
    mirrored: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(mirrored, "a", DATA)
    storage = mirrored.backends.use("archive")
    put = storage.put

    def alter(key, source) -> None:
        put(key, source)
        folder = mirrored.settings.backends["archive"]["path"]
        path = f"{folder}/objects/{key[:2]}/{key[2:4]}/{key}"
        with open(path, "r+b") as file:
            file.write(bytes([DATA[0] ^ 1]))

    with monkeypatch.context() as patch:
        patch.setattr(storage, "put", alter)
        catch_up(mirrored)
    (row,) = waiting(mirrored)
    assert "reads back wrong" in row.why
    assert held(mirrored, "archive") == {"archive": 0}
    make_due(mirrored)
    catch_up(mirrored)
    check(mirrored)
    assert waiting(mirrored) == []


# --- Deleting


def test_when_the_last_record_goes_the_copies_go(any_mirrored: Parts) -> None:
    keep(any_mirrored, "a", DATA)
    keep(any_mirrored, "b", DATA)
    catch_up(any_mirrored)
    any_mirrored.drive.delete(SERVER, "a", permanent=True)
    for _ in range(2):
        impatient(any_mirrored).sweep()
    assert held(any_mirrored, "local", "archive") == {"local": 1, "archive": 1}
    any_mirrored.drive.delete(SERVER, "b", permanent=True)
    for _ in range(2):
        impatient(any_mirrored).sweep()
    assert held(any_mirrored, "local", "archive") == {"local": 0, "archive": 0}
    assert replicas(any_mirrored) == []
    check(any_mirrored)


def test_a_copy_at_a_mirror_is_kept_for_a_grace_of_its_own(make_mirrored: Callable[..., Flask]) -> None:
    parts = parts_of(make_mirrored(sweep_grace=600))
    keep(parts, "a", DATA)
    catch_up(parts)
    parts.drive.delete(SERVER, "a", permanent=True)
    retired = update(Replica).where(Replica.storage_backend == "local")
    past = retired.values(retired_at=now() - timedelta(days=1))
    parts.database.write(lambda session: session.execute(past))
    parts.upkeep.sweep()
    assert held(parts, "local", "archive") == {"local": 0, "archive": 1}
    (left,) = replicas(parts)
    assert left.retired_at is not None
    keep(parts, "b", DATA)  # which needs it again
    assert mirrors_of(parts, DATA) == {"local", "archive"}
    assert waiting(parts) == []
    check(parts)


def test_what_is_in_the_trash_or_an_earlier_version_stays_mirrored(
    make_mirrored: Callable[..., Flask],
) -> None:
    parts = parts_of(make_mirrored(sweep_grace=0))
    keep(parts, "a", b"first")
    replace(parts, "a", b"second")
    keep(parts, "b", b"third")
    parts.drive.delete(SERVER, "b")
    catch_up(parts)
    for _ in range(2):
        parts.upkeep.sweep()
    assert held(parts, "local", "archive") == {"local": 3, "archive": 3}
    check(parts)


def test_a_copy_that_is_a_home_or_a_mirror_is_not_swept_when_it_stops_being_the_other(
    any_mirrored: Parts,
) -> None:
    keep(any_mirrored, "here", DATA, "local")
    keep(any_mirrored, "there", DATA, "archive")
    catch_up(any_mirrored)
    assert held(any_mirrored, "archive") == {"archive": 1}
    any_mirrored.drive.delete(SERVER, "there", permanent=True)
    for _ in range(2):
        impatient(any_mirrored).sweep()
    assert mirrors_of(any_mirrored, DATA) == {"local", "archive"}
    keep(any_mirrored, "there", DATA, "archive")
    any_mirrored.drive.delete(SERVER, "here", permanent=True)
    for _ in range(2):
        impatient(any_mirrored).sweep()
    assert mirrors_of(any_mirrored, DATA) == {"archive"}
    check(any_mirrored)


def test_what_was_deleted_before_it_was_copied_is_not_copied(mirrored: Parts) -> None:
    keep(mirrored, "a", DATA)
    mirrored.drive.delete(SERVER, "a", permanent=True)
    catch_up(mirrored)
    assert waiting(mirrored) == []
    assert held(mirrored, "archive") == {"archive": 0}
    for _ in range(2):
        impatient(mirrored).sweep()
    assert replicas(mirrored) == []


def test_what_is_deleted_while_it_is_copied_leaves_nothing(
    any_mirrored: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(any_mirrored, "a", DATA)
    with after_reading_back(
        monkeypatch, lambda copied: any_mirrored.drive.delete(SERVER, "a", permanent=True)
    ):
        catch_up(any_mirrored)
    assert waiting(any_mirrored) == []
    assert held(any_mirrored, "archive") == {"archive": 0}
    for _ in range(2):
        impatient(any_mirrored).sweep()
    check(any_mirrored)


def test_what_is_swept_and_stored_again_while_it_is_copied_is_mirrored(
    any_mirrored: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(any_mirrored, "a", DATA)
    done = []

    def again(copied: object) -> None:
        if not done:
            done.append(any_mirrored.drive.delete(SERVER, "a", permanent=True))
            impatient(any_mirrored).sweep()
            keep(any_mirrored, "a", DATA)

    with after_reading_back(monkeypatch, again):
        catch_up(any_mirrored)
    assert mirrors_of(any_mirrored, DATA) == {"local", "archive"}
    assert waiting(any_mirrored) == []
    check(any_mirrored)


def test_writing_deleting_sweeping_and_mirroring_all_at_once(make_any_mirrored: Callable[..., Flask]) -> None:
    """A few contents under many ids, so that everybody is at the same copies."""
    parts = parts_of(make_any_mirrored(sweep_grace=0, history_days=0))
    worker = parts_of(make_any_mirrored())
    contents = [content(2000, seed) for seed in range(4)]
    over = threading.Event()

    def write(number: int) -> None:
        for turn in range(25):
            try:
                keep(parts, f"{number}", contents[(number + turn) % 4])
            except BlobExists:
                parts.drive.delete(SERVER, f"{number}", permanent=turn % 3 > 0)

    def mirror() -> None:
        while not over.is_set():
            worker.catching_up.work(over)

    def sweep() -> None:
        while not over.is_set():
            parts.upkeep.sweep()

    with ThreadPoolExecutor(6) as pool:
        others = [pool.submit(mirror), pool.submit(sweep)]
        writers = [pool.submit(write, number) for number in range(4)]
        try:
            for future in writers:
                future.result()
        finally:
            over.set()
        for future in others:
            future.result()
    check(parts)
    make_due(parts)
    catch_up(parts)
    for _ in range(2):
        parts.upkeep.sweep()
    assert waiting(parts) == []
    assert all(
        mirrors_of(parts, fetch(parts, blob.id)) == {"local", "archive"}
        for blob in parts.listing.page(SERVER).blobs
    )
    check(parts)


# --- Moving


def test_what_moves_to_a_mirrored_home_is_mirrored_and_what_moves_away_is_not_any_more(
    any_mirrored: Parts,
) -> None:
    keep(any_mirrored, "a", DATA, "database")
    move(any_mirrored, "database", "local")
    assert len(waiting(any_mirrored)) == 1
    catch_up(any_mirrored)
    assert mirrors_of(any_mirrored, DATA) == {"local", "archive"}
    move(any_mirrored, "local", "database")
    for _ in range(2):
        impatient(any_mirrored).sweep()
    assert {row.storage_backend for row in replicas(any_mirrored)} == {"database"}
    check(any_mirrored)


def test_one_blob_that_is_moved_to_a_mirrored_home_is_mirrored(any_mirrored: Parts) -> None:
    keep(any_mirrored, "a", DATA, "database")
    any_mirrored.mover.move(SERVER, "a", "local")
    catch_up(any_mirrored)
    assert mirrors_of(any_mirrored, DATA) == {"local", "archive"}
    check(any_mirrored)


def test_moving_to_the_mirror_copies_nothing(mirrored: Parts) -> None:
    keep(mirrored, "a", DATA)
    catch_up(mirrored)
    there = objects(mirrored, "archive")
    move(mirrored, "local", "archive")
    assert objects(mirrored, "archive") == there
    for _ in range(2):
        impatient(mirrored).sweep()
    assert {row.storage_backend for row in replicas(mirrored)} == {"archive"}
    assert fetch(mirrored, "a") == DATA


def test_rolling_back_to_a_mirrored_home_mirrors_again(any_mirrored: Parts) -> None:
    keep(any_mirrored, "a", DATA)
    migration = begin(any_mirrored, "local", "database", grace=timedelta(days=7))
    list(run(any_mirrored, migration))
    catch_up(any_mirrored)
    assert waiting(any_mirrored) == [], "nobody needs it now"
    roll_back(any_mirrored, migration.id)
    catch_up(any_mirrored)
    assert mirrors_of(any_mirrored, DATA) == {"local", "archive"}
    check(any_mirrored)


# --- The configuration changes


def test_a_new_mirror_gets_what_was_there_before(
    make_any_mirrored: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "BATCH", 3)
    before = parts_of(make_any_mirrored(mirrors={}))
    for seed in range(10):
        keep(before, f"{seed}", content(1000, seed), "database" if seed % 5 == 0 else "local")
    catch_up(before)
    assert held(before, "archive") == {"archive": 0}
    parts = parts_of(make_any_mirrored())
    steps = 0
    while not parts.lags.by_mirror(SERVER)["archive"].is_searched:
        parts.catching_up.work(threading.Event())
        steps += 1
    assert steps > 3, "batch by batch"
    catch_up(parts)
    assert waiting(parts) == []
    assert held(parts, "archive") == {"archive": 8}
    check(parts)


def test_a_mirror_that_is_one_no_longer_is_let_go_of(make_any_mirrored: Callable[..., Flask]) -> None:
    before = parts_of(make_any_mirrored(mirrors={"local": ["archive", "database"]}))
    keep(before, "a", DATA)
    keep(before, "b", b"bytes", "archive")
    catch_up(before)
    keep(before, "c", b"not copied yet")
    after = parts_of(make_any_mirrored(mirrors={"local": ["database"]}))
    catch_up(after)
    for _ in range(2):
        impatient(after).sweep()
    assert held(after, "local", "archive", "database") == {"local": 2, "archive": 1, "database": 2}
    assert waiting(after) == []
    check(after)
    none = parts_of(make_any_mirrored(mirrors={}))
    catch_up(none)
    for _ in range(2):
        impatient(none).sweep()
    assert held(none, "local", "archive", "database") == {"local": 2, "archive": 1, "database": 0}
    check(none)


def test_nothing_is_searched_twice_but_after_a_day(
    make_mirrored: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = parts_of(make_mirrored())
    keep(parts, "a", DATA)
    catch_up(parts)
    trust_no_more(parts, DATA, "archive")
    catch_up(parts)
    assert [row.bad_at is None for row in replicas(parts, DATA)] == [False, True]
    long_ago = update(MirrorSearch).values(ended_at=now() - timedelta(days=2))
    parts.database.write(lambda session: session.execute(long_ago))
    parts.catching_up.work(threading.Event())
    assert parts.lags.by_mirror(SERVER)["archive"].is_searched, "as it was before"
    catch_up(parts)
    assert [row.bad_at is None for row in replicas(parts, DATA)] == [True, True]
    assert mirrors_of(parts, DATA) == {"archive", "local"}
    check(parts)


def test_a_drive_without_mirrors_searches_nothing(make_mirrored: Callable[..., Flask]) -> None:
    parts = parts_of(make_mirrored(mirrors={}))
    keep(parts, "a", DATA)
    assert not parts.catching_up.work(threading.Event())
    assert parts.database.read(lambda session: session.get(MirrorSearch, 1)) is None


# --- With `sync`

SYNC = {"local": {"to": ["archive", "database"], "sync": True}}


def test_an_upload_waits_until_all_have_it(make_any_mirrored: Callable[..., Flask]) -> None:
    parts = parts_of(make_any_mirrored(mirrors=SYNC))
    keep(parts, "a", DATA)
    keep(parts, "the same", DATA)
    assert mirrors_of(parts, DATA) == {"local", "archive", "database"}
    assert held(parts, "local", "archive", "database") == {"local": 1, "archive": 1, "database": 1}
    assert waiting(parts) == []
    check(parts)


def test_an_upload_that_a_mirror_does_not_take_is_refused_and_leaves_nothing(
    make_mirrored: Callable[..., Flask], bucket_at: dict[str, Any], s3_proxy: FaultyProxy
) -> None:
    mirrors = {"local": {"to": ["archive", "bucket"], "sync": True}}
    app = make_mirrored(backends={"bucket": bucket_at}, mirrors=mirrors)
    parts = parts_of(app)
    keep(parts, "a", DATA)
    s3_proxy.refuse()
    s3_proxy.close_all()
    client = app.test_client()
    answer = client.put(
        "/v1/content/b",
        data=b"other bytes",
        headers={"Authorization": f"Bearer {parts.settings.secret('api_token')}"},
    )
    assert answer.status_code == 503
    assert "bucket" in answer.json["detail"]
    with pytest.raises(StorageUnavailable):
        keep(parts, "b", b"other bytes")
    assert held(parts, "local", "archive") == {"local": 1, "archive": 1}
    assert [blob.id for blob in parts.listing.page(SERVER).blobs] == ["a"]
    s3_proxy.accept_again()
    keep(parts, "b", b"other bytes")
    check(parts)


def test_a_known_digest_has_to_be_sent_where_a_mirror_that_is_waited_for_lacks_it(
    make_mirrored: Callable[..., Flask],
) -> None:
    keep(parts_of(make_mirrored(mirrors={})), "a", DATA)
    parts = parts_of(make_mirrored(mirrors=SYNC))
    known = (SERVER, digest_of(DATA), len(DATA))
    assert parts.drive.store_known(*known, NewBlob(id="b")) is None
    keep(parts, "b", DATA)
    assert parts.drive.store_known(*known, NewBlob(id="c")) is not None
    lose(parts, DATA, "archive")
    assert parts.drive.store_known(*known, NewBlob(id="d")) is None
    assert parts.drive.describe(SERVER, "c").sha256 == digest_of(DATA)


# --- On real servers


def test_a_bucket_and_an_ftp_server_as_mirrors(
    make_mirrored: Callable[..., Flask], bucket_at: dict[str, Any], pyftpdlib: FtpServer
) -> None:
    parts = parts_of(
        make_mirrored(
            backends={"bucket": bucket_at, "nas": pyftpdlib.config()}, mirrors={"local": ["bucket", "nas"]}
        )
    )
    for seed in range(3):
        keep(parts, f"{seed}", content(400_000, seed))
    catch_up(parts)
    assert held(parts, "local", "bucket", "nas") == {"local": 3, "bucket": 3, "nas": 3}
    check(parts)
    parts.drive.delete(SERVER, "0", permanent=True)
    for _ in range(2):
        impatient(parts).sweep()
    assert held(parts, "local", "bucket", "nas") == {"local": 2, "bucket": 2, "nas": 2}
    check(parts)


# --- What is told of it


def test_how_far_behind_a_mirror_is_can_be_seen_everywhere(
    make_mirrored: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_mirrored()
    parts, cli, client = parts_of(app), app.test_cli_runner(), app.test_client()
    visitor = Visitor(app)
    visitor.sign_in()

    def archive() -> dict[str, Any]:
        items = client.get("/v1/backends", headers=BEARER).json["items"]
        found = {item["name"]: item for item in items}
        assert (found["local"]["mirror_of"], found["local"]["waiting"]) == ([], 0)
        return found["archive"]

    def gauges() -> dict[str, float]:
        text = client.get("/metrics", headers=BEARER, buffered=True).text
        lines = (line.split() for line in text.splitlines() if line.startswith("simpledrive_mirror_"))
        return {name.partition("{")[0]: float(value) for name, value in lines}

    def page() -> str:
        text = unescape(re.sub(r"<[^>]*>", " ", visitor.get("/drive/backends").text))
        return " ".join(text.split())

    told = cli.invoke(args=["drive", "mirrors"])
    assert (told.exit_code, told.output) == (1, "archive, mirror of local: still being looked through\n")
    assert archive()["mirror_searched"] is False
    assert set(gauges().values()) == {0.0}
    assert "Waiting not known yet" in page()

    catch_up(parts)
    told = cli.invoke(args=["drive", "mirrors"])
    assert (told.exit_code, told.output) == (0, "archive, mirror of local: complete\n")
    assert (archive()["waiting_since"], archive()["mirror_searched"]) == (None, True)
    assert gauges() == {
        "simpledrive_mirror_waiting_copies": 0.0,
        "simpledrive_mirror_lag_seconds": 0.0,
        "simpledrive_mirror_searched": 1.0,
    }
    assert "Mirror of local Waiting nothing" in page()

    keep(parts, "a", DATA)
    keep(parts, "b", b"bytes")
    told = cli.invoke(args=["drive", "mirrors"])
    assert (told.exit_code, told.output[:47]) == (1, "archive, mirror of local: 2 wait, the oldest si")

    def full(*_: object) -> None:
        raise StorageFull("archive", "put", "no room")

    with monkeypatch.context() as patch:
        patch.setattr(parts.backends.use("archive"), "put", full)
        catch_up(parts)
    told = cli.invoke(args=["drive", "mirrors"])
    assert told.exit_code == 1
    assert told.output.endswith("(archive: put: no room)\n")
    (said,) = [
        json.loads(line) for line in cli.invoke(args=["drive", "mirrors", "--json"]).output.splitlines()
    ]
    assert (said["mirror"], said["of"], said["waiting"]) == ("archive", ["local"], 2)
    item = archive()
    assert (item["mirror_of"], item["waiting"], item["waiting_detail"]) == (
        ["local"],
        2,
        "archive: put: no room",
    )
    assert item["waiting_since"] == said["since"]
    assert gauges()["simpledrive_mirror_waiting_copies"] == 2
    assert gauges()["simpledrive_mirror_lag_seconds"] > 0
    assert "Waiting 2 copies, the oldest since" in page()
    assert "archive: put: no room" in page()


def test_what_mirrors_lack_is_for_whoever_runs_the_drive(app: Flask, parts: Parts) -> None:
    told = app.test_cli_runner().invoke(args=["drive", "mirrors"])
    assert (told.exit_code, told.output) == (
        0,
        "No backend mirrors another: simpledrive.toml has no [mirrors].\n",
    )
    confined = Caller("of a prefix", "2", SERVER.scopes, prefix="a")
    with pytest.raises(Forbidden):
        parts.lags.by_mirror(confined)
