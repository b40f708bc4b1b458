"""Planted damage on each storage: found exactly, mended from what is right, and nothing else touched."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import update

from simpledrive.errors import IntegrityFault, StorageFull, StorageRefused
from simpledrive.integrity.due import due
from simpledrive.integrity.repairing import Repairs
from simpledrive.models import Replica, now
from simpledrive.moving.copying import Copies
from simpledrive.moving.flow import Flow
from simpledrive.parts import Parts
from simpledrive.rights import SERVER
from simpledrive.storage.base import MARKER
from tests.damage import alter, as_it_is, fsck, keys_of, plant, remove, replica_of, verify
from tests.drives import check, digest_of, fetch, impatient, keep, objects, replicas
from tests.ftp_servers import FtpServer
from tests.moves import begin, move, roll_back
from tests.servers import ROOT
from tests.sources import content, read_whole, source_of
from tests.strict_s3 import StrictS3
from tests.verifier_child import STEPS

DATA = content(1000)
each_storage = pytest.mark.parametrize("place", ["local", "database", "bucket", "nas"])


@pytest.fixture
def every_kind(make_app: Callable[..., Flask], strict_s3: StrictS3, pyftpdlib: FtpServer) -> Parts:
    """A drive with a backend of each kind."""
    backends = {"bucket": strict_s3.config(), "nas": pyftpdlib.config()}
    parts: Parts = make_app(backends=backends).extensions["simpledrive"]
    return parts


def kept_twice(parts: Parts, *contents: bytes) -> None:
    """At home on `local`, and by another blob on `database` too."""
    for seed, data in enumerate(contents):
        keep(parts, f"{seed}", data)
        keep(parts, f"{seed}-too", data, "database")


def found_and_mended(parts: Parts, place: str, damaged: int, sound: int, strays: int) -> None:
    """Every other one of the damaged has a good copy elsewhere."""
    elsewhere = "database" if place == "local" else "local"
    contents = {digest_of(data): data for data in (content(50 + n, n) for n in range(damaged + sound))}
    for number, data in enumerate(contents.values()):
        keep(parts, f"{number}", data, place)
        if number < damaged and number % 2 == 0:
            keep(parts, f"{number}-too", data, elsewhere)
    rows = [replica_of(parts, data, place) for data in contents.values()]
    planted = plant(parts, rows[:damaged], place, strays)
    bad = planted.of("altered", "truncated", "deleted")
    savable = {row.storage_key for row in rows[:damaged:2]}
    before = as_it_is(parts)

    expected = {("missing", key) for key in planted.of("deleted")}
    expected |= {("size", key) for key in planted.of("truncated")}
    expected |= {("stray", key) for key in planted.strays}
    assert {(found.kind, found.what) for found in fsck(parts)} == expected
    assert as_it_is(parts) == before

    verdicts = verify(parts, place, threads=4)
    assert keys_of(verdicts, "wrong") == planted.of("altered", "truncated")
    assert keys_of(verdicts, "missing") == planted.of("deleted")
    assert len(keys_of(verdicts, "right")) == sound
    assert {row.storage_key for row in replicas(parts) if row.bad_at} == bad

    verdicts = verify(parts, place, threads=4, repair=True)
    assert keys_of(verdicts, "repaired") == savable
    assert keys_of(verdicts, "wrong", "missing") == bad - savable
    after = as_it_is(parts)
    for (sha256, backend), (key, _, data) in before.items():
        now_key, is_bad, now_data = after[sha256, backend]
        if key in savable:
            assert (now_key != key, is_bad, now_data) == (True, False, contents[sha256])
        else:
            assert (now_key, is_bad, now_data) == (key, key in bad, data)
    named = {row.storage_key for row in replicas(parts) if row.storage_backend == place}
    assert objects(parts, place) == (named - planted.of("deleted")) | planted.strays
    assert keys_of(verify(parts, place, repair=True), "repaired") == set()


@each_storage
def test_planted_damage_is_found_exactly_and_mended(every_kind: Parts, place: str) -> None:
    found_and_mended(every_kind, place, damaged=12, sound=5, strays=3)


@pytest.mark.soak
@each_storage
def test_much_planted_damage_is_found_exactly_and_mended(every_kind: Parts, place: str) -> None:
    found_and_mended(every_kind, place, damaged=300, sound=200, strays=100)


@pytest.mark.parametrize("marker", [b"another drive's", None], ids=["foreign", "not mounted"])
@each_storage
def test_a_place_that_is_not_this_drives_keeps_all_that_it_has(
    every_kind: Parts, place: str, marker: bytes | None
) -> None:
    """However much looks damaged, stray or no longer needed there."""
    parts, elsewhere = every_kind, "database" if place == "local" else "local"
    for seed in range(8):
        keep(parts, f"{seed}", content(50, seed), place)
        keep(parts, f"{seed}-too", content(50, seed), elsewhere)
    parts.drive.delete(SERVER, "7", permanent=True)
    rows = [replica_of(parts, content(50, seed), place) for seed in range(6)]
    plant(parts, rows, place, strays=5)
    storage = parts.backends.use(place)
    own = read_whole(storage.open(MARKER))
    storage.delete(MARKER)
    if marker is not None:
        storage.put(MARKER, source_of(marker))
    before, lying = as_it_is(parts), objects(parts, place)

    with pytest.raises(StorageRefused):
        verify(parts, place, repair=True)
    (found,) = [one for one in fsck(parts, fix=True) if one.backend == place]
    assert (found.kind, found.what) == ("unread", "")
    swept = impatient(parts).sweep(orphans=True, force=True)
    assert [place in problem for problem in swept.problems] == [True]
    assert objects(parts, place) == lying
    after = as_it_is(parts)
    assert {at: what for at, what in after.items() if at[1] == place} == {
        at: what for at, what in before.items() if at[1] == place
    }

    storage.delete(MARKER)
    storage.put(MARKER, source_of(own))
    assert len(keys_of(verify(parts, place, repair=True), "repaired")) == 6
    check(parts)


def test_what_has_no_good_copy_stays_as_it_is(any_parts: Parts) -> None:
    kept_twice(any_parts, DATA)
    alter(any_parts, replica_of(any_parts, DATA, "local"))
    alter(any_parts, replica_of(any_parts, DATA, "database"))
    before = {row.storage_key for row in replicas(any_parts)}
    (verdict,) = verify(any_parts, repair=True)
    assert verdict.state == "wrong"
    assert "Not repaired: database: The bytes of" in verdict.why
    assert {row.storage_key for row in replicas(any_parts)} == before
    assert all(row.bad_at for row in replicas(any_parts)), "the other one was read, too"
    assert [len(objects(any_parts, backend)) for backend in ("local", "database")] == [1, 1]


def test_a_copy_that_was_marked_bad_by_mistake_is_good_enough_once_it_was_read(parts: Parts) -> None:
    kept_twice(parts, DATA)
    parts.database.write(lambda session: session.execute(update(Replica).values(bad_at=now())))
    remove(parts, replica_of(parts, DATA, "local"))
    (verdict,) = verify(parts, repair=True)
    assert verdict.state == "repaired"
    assert fetch(parts, "0") == DATA


def test_a_copy_that_reads_back_wrong_replaces_nothing(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    kept_twice(parts, DATA)
    row = replica_of(parts, DATA, "local")
    alter(parts, row)

    def wrong(self: Copies, provided: Any, flow: Flow) -> None:
        raise IntegrityFault("local: what was just copied there reads back wrong")

    with monkeypatch.context() as patch:
        patch.setattr(Copies, "_read_back", wrong)
        (verdict,) = verify(parts, repair=True)
    assert verdict.why.endswith("Not repaired: local: what was just copied there reads back wrong.")
    assert replica_of(parts, DATA, "local").storage_key == row.storage_key
    assert objects(parts, "local") == {row.storage_key}


def test_a_full_backend_is_told_and_keeps_what_it_has(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    kept_twice(parts, DATA)
    row = replica_of(parts, DATA, "local")
    alter(parts, row)

    def full(*_: object) -> None:
        raise StorageFull("local", "put", "no space is left")

    monkeypatch.setattr(parts.backends.use("local"), "put", full)
    (verdict,) = verify(parts, repair=True)
    assert verdict.why.endswith("Not repaired: local: put: no space is left.")
    assert objects(parts, "local") == {row.storage_key}


def test_a_repaired_copy_that_nothing_needs_is_swept_when_its_time_has_come(any_parts: Parts) -> None:
    kept_twice(any_parts, DATA)
    any_parts.drive.delete(SERVER, "0", permanent=True)
    retired_at = replica_of(any_parts, DATA, "local").retired_at
    assert retired_at is not None
    alter(any_parts, replica_of(any_parts, DATA, "local"))
    assert [verdict.state for verdict in verify(any_parts, repair=True)] == ["repaired"]
    assert replica_of(any_parts, DATA, "local").retired_at == retired_at
    assert impatient(any_parts).sweep().replicas == 1
    assert objects(any_parts, "local") == set()
    check(any_parts)


def test_what_a_migration_keeps_is_repaired_and_can_be_gone_back_to(any_parts: Parts) -> None:
    keep(any_parts, "a", DATA)
    migration = begin(any_parts, grace=timedelta(days=7))
    move(any_parts)
    alter(any_parts, replica_of(any_parts, DATA, "local"))
    assert [verdict.state for verdict in verify(any_parts, repair=True)] == ["repaired"]
    assert [told.state for told in roll_back(any_parts, migration.id)] == ["back"]
    assert fetch(any_parts, "a") == DATA
    check(any_parts)


# --- Meanwhile


MEANWHILE: dict[str, Callable[[Parts], object]] = {
    "the same bytes are stored again": lambda parts: keep(parts, "again", DATA),
    "the blob is deleted and swept": lambda parts: (
        parts.drive.delete(SERVER, "0", permanent=True),
        impatient(parts).sweep(),
    ),
    "the blob is deleted": lambda parts: parts.drive.delete(SERVER, "0", permanent=True),
    "the blob is moved away": lambda parts: move(parts, ids=("0",)),
    "another blob is moved there": lambda parts: move(parts, "database", "local"),
    "somebody else repairs it": lambda parts: verify(parts, repair=True),
    "it is verified": verify,
}


@pytest.mark.parametrize("moment", ["copied", "read"])
@pytest.mark.parametrize("event", MEANWHILE)
def test_what_others_do_during_a_repair_counts(
    parts: Parts, monkeypatch: pytest.MonkeyPatch, event: str, moment: str
) -> None:
    """When the copy was made but not swapped in, and when nothing was done but to read the bad one."""
    kept_twice(parts, DATA)
    alter(parts, replica_of(parts, DATA, "local"))
    owner, name = (Repairs, "_swapped") if moment == "copied" else (Repairs, "settle")
    method, before = getattr(owner, name), []

    def first_others(*arguments: Any, **named: Any) -> Any:
        if not before:
            before.append(event)
            MEANWHILE[event](parts)
        return method(*arguments, **named)

    monkeypatch.setattr(owner, name, first_others)
    states = {verdict.state for verdict in verify(parts, repair=True)}
    assert before
    assert states <= {"repaired", "gone"}
    for blob in parts.listing.page(SERVER, limit=10).blobs:
        assert fetch(parts, blob.id) == DATA
    impatient(parts).sweep(orphans=True, force=True)
    check(parts)
    for backend in ("local", "database"):
        assert objects(parts, backend) == {
            row.storage_key for row in replicas(parts) if row.storage_backend == backend
        }


def test_the_last_good_copy_is_not_swept_before_what_is_needed_is_repaired(any_parts: Parts) -> None:
    kept_twice(any_parts, DATA)
    alter(any_parts, replica_of(any_parts, DATA, "local"))
    any_parts.drive.delete(SERVER, "0-too", permanent=True)
    verify(any_parts)
    assert impatient(any_parts).sweep().replicas == 0
    assert [verdict.state for verdict in verify(any_parts, repair=True)] == ["repaired"]
    assert impatient(any_parts).sweep().replicas == 1
    assert fetch(any_parts, "0") == DATA
    check(any_parts)


def test_readers_notice_nothing_of_a_repair(parts: Parts) -> None:
    data = content(3 << 20)
    kept_twice(parts, data)
    alter(parts, replica_of(parts, data, "local"))
    with closing(parts.drive.read(SERVER, parts.drive.describe(SERVER, "0"))) as reading:
        got = next(reading)
        assert [verdict.state for verdict in verify(parts, repair=True)] == ["repaired"]
        got += b"".join(reading)
    assert got == data


# --- Killed


SOME_STEPS = [
    pytest.param(step, marks=() if number % 2 else pytest.mark.soak) for number, step in enumerate(STEPS)
]
"""Each costs a process: those in between are for `make soak`."""


@pytest.mark.parametrize("step", SOME_STEPS)
def test_killed_at_each_step_nothing_is_lost_and_the_same_command_mends_the_rest(
    parts: Parts, step: str
) -> None:
    contents = [content(2000 + n, n) for n in range(8)]
    kept_twice(parts, *contents)
    for number, data in enumerate(contents):
        if number % 2:
            alter(parts, replica_of(parts, data, "local"))
    environ = {name: os.environ[name] for name in ("PATH", "COVERAGE_PROCESS_CONFIG") if name in os.environ}
    command = [sys.executable, "-m", "tests.verifier_child", str(parts.settings.folder), step]
    ended = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, timeout=120, check=False)
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()
    for number, data in enumerate(contents):
        assert fetch(parts, f"{number}") == data
    verdicts = verify(parts, repair=True)
    assert {verdict.state for verdict in verdicts} <= {"right", "repaired"}
    assert len(verdicts) == 8
    impatient(parts).sweep(orphans=True, force=True)
    check(parts)
    assert list(due(parts.database, "local", now() - timedelta(hours=1))) == []
    assert len(objects(parts, "local")) == 8
