"""flask drive fsck: records, objects and counters compared; what is mended, and what is left to people."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from flask import Flask
from flask.testing import FlaskCliRunner
from sqlalchemy import delete, event, insert, update

from simpledrive.errors import StorageUnavailable
from simpledrive.integrity.accounts import CHECKS
from simpledrive.integrity.findings import Finding
from simpledrive.keys import NewKey, rights_of
from simpledrive.models import ApiKey, BackendUsage, Replica
from simpledrive.parts import Parts
from simpledrive.rights import SERVER, Caller
from simpledrive.storage.base import MARKER, new_key
from tests.damage import alter, as_it_is, fsck, remove, replica_of, truncate, verify
from tests.drives import check, digest_of, fetch, impatient, keep, objects, put_orphan, replace, replicas
from tests.mirrored import catch_up, waiting
from tests.moves import move
from tests.sources import content, source_of

FSCK = ("drive", "fsck")
DATA = content(1000)
OLD = timedelta(days=2)


@pytest.fixture
def cli(app: Flask) -> FlaskCliRunner:
    return app.test_cli_runner()


def kinds(found: list[Finding]) -> list[tuple[str, str, bool]]:
    return [(one.backend, one.kind, one.fixed) for one in found]


def test_a_drive_in_order_is_clean(any_parts: Parts) -> None:
    for seed in range(5):
        keep(any_parts, f"{seed}", content(100, seed))
        keep(any_parts, f"{seed}-too", content(100, seed), "database")
    replace(any_parts, "0", b"second")
    any_parts.drive.delete(SERVER, "1")
    any_parts.drive.delete(SERVER, "2", permanent=True)
    move(any_parts, ids=("3",))
    put_orphan(any_parts, "local")
    assert fsck(any_parts) == []
    assert fsck(any_parts, fix=True) == []
    check(any_parts)


def test_what_is_missing_or_cut_short_is_mended_from_a_good_copy(any_parts: Parts) -> None:
    for seed in range(4):
        keep(any_parts, f"{seed}", content(100, seed))
    for seed in (0, 1):
        keep(any_parts, f"{seed}-too", content(100, seed), "database")
    for seed in (0, 2):
        remove(any_parts, replica_of(any_parts, content(100, seed), "local"))
    truncate(any_parts, replica_of(any_parts, content(100, 1), "local"))
    before = as_it_is(any_parts)
    assert sorted(kinds(fsck(any_parts))) == [
        ("local", "missing", False),
        ("local", "missing", False),
        ("local", "size", False),
    ]
    assert as_it_is(any_parts) == before, "without --fix nothing changes"
    mended = fsck(any_parts, fix=True)
    assert sorted(kinds(mended)) == [
        ("local", "missing", False),
        ("local", "missing", True),
        ("local", "size", True),
    ]
    (left,) = fsck(any_parts)
    assert left.kind == "missing"
    assert left.why == "It is not there."
    assert [row.bad_at is not None for row in replicas(any_parts, content(100, 2))] == [True]
    for seed in (0, 1, 3):
        assert fetch(any_parts, f"{seed}") == content(100, seed)


def test_what_was_found_bad_before_is_told_and_mended(any_parts: Parts) -> None:
    keep(any_parts, "a", DATA)
    keep(any_parts, "b", DATA, "database")
    alter(any_parts, replica_of(any_parts, DATA, "local"))
    assert fsck(any_parts) == [], "bytes are verifying's business"
    verify(any_parts)
    assert kinds(fsck(any_parts)) == [("local", "bad", False)]
    assert kinds(fsck(any_parts, fix=True)) == [("local", "bad", True)]
    assert fsck(any_parts) == []
    check(any_parts)


def test_strays_are_removed_when_they_are_old_and_few(parts: Parts) -> None:
    for seed in range(20):
        keep(parts, f"{seed}", content(20, seed))
    young, old = put_orphan(parts, "local", 1), put_orphan(parts, "local", 2, OLD)
    assert [(one.kind, one.what, one.fixed) for one in fsck(parts)] == [("stray", old, False)]
    assert old in objects(parts, "local")
    assert [(one.kind, one.what, one.fixed) for one in fsck(parts, fix=True)] == [("stray", old, True)]
    assert old not in objects(parts, "local")
    assert young in objects(parts, "local")
    check(parts)


def test_more_strays_than_a_tenth_are_left_for_sweep_to_be_forced(parts: Parts) -> None:
    """An older copy of the database knows nothing of what was stored since."""
    keep(parts, "a", DATA)
    strays = {put_orphan(parts, "local", seed, OLD) for seed in range(3)}
    found = fsck(parts, "local", fix=True)
    assert {one.what for one in found} == strays
    assert not any(one.fixed for one in found)
    assert (
        "Not removed: local: 3 of 4 objects are named by no record, which is more than a tenth"
        in found[0].why
    )
    assert objects(parts, "local") >= strays


def test_copies_that_nothing_needs_are_retired(any_parts: Parts) -> None:
    keep(any_parts, "a", DATA)
    any_parts.drive.delete(SERVER, "a", permanent=True)
    any_parts.database.write(lambda session: session.execute(update(Replica).values(retired_at=None)))
    assert kinds(fsck(any_parts)) == [("local", "unneeded", False)]
    assert replicas(any_parts)[0].retired_at is None
    assert kinds(fsck(any_parts, fix=True)) == [("local", "unneeded", True)]
    assert fsck(any_parts) == []
    assert len(objects(any_parts, "local")) == 1, "sweeping removes it, after the usual grace"
    check(any_parts)


def test_what_a_mirror_needs_and_what_a_sweep_will_look_at_is_not_unneeded(any_mirrored: Parts) -> None:
    for id in ("stays", "goes"):
        keep(any_mirrored, id, id.encode())
    assert fsck(any_mirrored) == [], "what waits is the mirror's lag"
    catch_up(any_mirrored)
    any_mirrored.drive.delete(SERVER, "goes", permanent=True)
    assert fsck(any_mirrored) == []
    while impatient(any_mirrored).sweep().replicas:
        pass
    assert len(replicas(any_mirrored)) == 2
    assert fsck(any_mirrored) == []
    move(any_mirrored)
    assert fsck(any_mirrored) == [], "kept for the migration's grace, with all that mirrors it"
    impatient(any_mirrored).sweep()
    assert fsck(any_mirrored) == []


def test_what_a_mirror_lacks_and_nobody_is_about_to_copy_is_wanted(any_mirrored: Parts) -> None:
    for seed in range(3):
        keep(any_mirrored, f"{seed}", content(100, seed))
    any_mirrored.drive.delete(SERVER, "2")
    keep(any_mirrored, "not mirrored", b"elsewhere", "database")
    catch_up(any_mirrored)
    lost = {digest_of(content(100, seed)) for seed in (1, 2)}
    forget = delete(Replica).where(Replica.storage_backend == "archive", Replica.sha256.in_(lost))
    any_mirrored.database.write(lambda session: session.execute(forget))
    found = [one for one in fsck(any_mirrored) if one.kind == "unmirrored"]
    assert {(one.backend, one.what) for one in found} == {("archive", sha256) for sha256 in lost}
    assert waiting(any_mirrored) == []
    fixed = [one for one in fsck(any_mirrored, fix=True) if one.kind == "unmirrored"]
    assert len(fixed) == 2
    assert all(one.fixed for one in fixed)
    catch_up(any_mirrored)
    assert fsck(any_mirrored) == []
    check(any_mirrored)


def test_looking_for_what_is_unneeded_costs_the_same_for_many_as_for_few(mirrored: Parts) -> None:
    asked: list[str] = []
    event.listen(
        mirrored.database.engine,
        "before_cursor_execute",
        lambda _connection, _cursor, statement, *_: asked.append(statement),
    )

    def cost() -> int:
        asked.clear()
        assert [
            found
            for check in CHECKS
            for found in check(mirrored.database, mirrored.mirrors, "archive", False)
        ] == []
        return len(asked)

    keep(mirrored, "few", b"few")
    catch_up(mirrored)
    few = cost()
    for seed in range(30):
        keep(mirrored, f"{seed}", content(10, seed))
    catch_up(mirrored)
    assert cost() == few


@pytest.fixture
def no_foreign_keys(parts: Parts) -> Iterator[None]:
    """As whoever repairs a SQLite file by hand has them."""

    parts.database.engine.dispose()
    event.listen(parts.database.engine, "connect", lambda raw, _: raw.execute("PRAGMA foreign_keys = OFF"))
    yield
    parts.database.engine.dispose()


def test_blobs_and_versions_without_a_copy_are_told(parts: Parts, no_foreign_keys: None) -> None:
    keep(parts, "a", b"first")
    replace(parts, "a", b"second")
    keep(parts, "b", b"third")
    gone = delete(Replica).where(Replica.size.in_([5, 6]))
    parts.database.write(lambda session: session.execute(gone))
    found = [(one.kind, one.what) for one in fsck(parts, "local") if one.kind == "unrecorded"]
    assert {what for _, what in found} == {"a (version 2)", "b (version 1)", "a (version 1)"}
    left = [one for one in fsck(parts, "local", fix=True) if one.kind == "unrecorded"]
    assert not any(one.fixed for one in left), "nobody can guess it"


def test_counters_are_counted_anew_also_while_others_write(any_parts: Parts) -> None:
    for seed in range(3):
        keep(any_parts, f"{seed}", content(100, seed))
    wrong = {"storage_backend": "local", "shard": 99, "replicas": 2, "bytes": -50, "blobs": 7, "waiting": 3}
    any_parts.database.write(lambda session: session.execute(insert(BackendUsage).values(wrong)))
    (found,) = fsck(any_parts)
    assert (found.kind, found.backend) == ("counter", "local")
    assert found.why == "They are off by +2 replicas, -50 bytes, +7 blobs, +3 waiting."
    (fixed,) = fsck(any_parts, fix=True)
    assert fixed.fixed
    keep(any_parts, "later", b"bytes")
    assert fsck(any_parts, fix=True) == []
    check(any_parts)


def test_what_keys_are_charged_is_counted_anew_also_while_they_store(any_parts: Parts) -> None:
    keys = {
        name: any_parts.keys.issue(SERVER, NewKey(name, quota_bytes=quota))[0]
        for name, quota in (("short", 10_000), ("much", 10_000), ("right", 10_000), ("without", None))
    }
    for name, key in keys.items():
        keep(any_parts, name, name.encode() * 10, caller=rights_of(key))
        replace_as(any_parts, name, rights_of(key))
    for name, by in (("short", -7), ("much", 5), ("without", 9)):
        wrong = update(ApiKey).where(ApiKey.id == keys[name].id).values(used_bytes=ApiKey.used_bytes + by)
        any_parts.database.write(lambda session, wrong=wrong: session.execute(wrong))
    found = {one.what: one.why for one in fsck(any_parts)}
    assert found == {
        f"key {keys['short'].id}": "It is charged 7 bytes too little.",
        f"key {keys['much'].id}": "It is charged 5 bytes too much.",
    }
    assert fsck(any_parts, "local") == [], "a key's account is at no backend"
    with ThreadPoolExecutor(2) as pool:
        storing = pool.submit(store_some, any_parts, rights_of(keys["short"]))
        fixed = pool.submit(fsck, any_parts, fix=True).result()
        storing.result()
    assert {(one.kind, one.backend, one.fixed) for one in fixed} == {("quota", "", True)}
    assert fsck(any_parts) == []
    check(any_parts)


def replace_as(parts: Parts, id: str, caller: Caller) -> None:
    keep(parts, id, b"replaced", replaces=lambda current: current is not None, caller=caller)


def store_some(parts: Parts, caller: Caller) -> None:
    for seed in range(20):
        keep(parts, f"of {caller.name} {seed}", content(10, seed), caller=caller)


def test_an_account_without_a_backend_is_told_as_a_line(parts: Parts, cli: FlaskCliRunner) -> None:
    key, _ = parts.keys.issue(SERVER, NewKey("limited", quota_bytes=100))
    parts.database.write(lambda session: session.execute(update(ApiKey).values(used_bytes=3)))
    result = cli.invoke(args=[*FSCK, "--fix"])
    assert result.exit_code == 0
    assert result.output.splitlines()[0] == f"quota: key {key.id}: It is charged 3 bytes too much. Fixed."


# --- When nothing is known


def test_an_unmounted_folder_is_found_as_such_and_nothing_else_is_said_or_done(
    parts: Parts, cli: FlaskCliRunner
) -> None:
    for seed in range(3):
        keep(parts, f"{seed}", content(100, seed))
    base = parts.settings.local_storage_path
    away = base.rename(base.with_name("away"))
    base.mkdir()
    result = cli.invoke(args=[*FSCK, "--fix"])
    assert result.exit_code == 2
    first, summary = result.stdout.splitlines()
    assert first.startswith(
        "local: unread: local: check: its marker is missing though bytes are recorded there"
    )
    assert summary == "Found: 1 unread; 1 left to mend. 0 copies and 0 objects were looked at."
    assert not any(row.bad_at for row in replicas(parts))
    assert list(base.iterdir()) == []
    base.rmdir()
    away.rename(base)
    assert fsck(parts) == []


def test_another_drives_place_is_found_as_such_and_keeps_what_it_has(parts: Parts) -> None:
    for seed in range(3):
        keep(parts, f"{seed}", content(100, seed))
    storage = parts.backends.use("local")
    for row in replicas(parts):
        storage.delete(row.storage_key)
    theirs = {put_orphan(parts, "local", seed, OLD) for seed in range(3)}
    storage.delete(MARKER)
    storage.put(MARKER, source_of(b"another drive's"))
    (found,) = fsck(parts, "local", fix=True)
    assert found.kind == "unread"
    assert "its marker is that of another drive or backend" in found.why
    assert objects(parts, "local") == theirs
    assert not any(row.bad_at for row in replicas(parts))


def test_a_backend_that_goes_away_in_the_middle_is_given_up(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in range(40):
        keep(parts, f"{seed}", content(10, seed))
    storage = parts.backends.use("local")

    def silent(key: str) -> int:
        raise StorageUnavailable("local", "size", "no answer")

    monkeypatch.setattr(storage, "size", silent)
    found = fsck(parts, "local", fix=True)
    assert {one.kind for one in found} == {"unread"}
    assert len(found) == 21
    assert "could not be looked at, one after the other" in found[-1].why
    assert not any(row.bad_at for row in replicas(parts))


def test_what_is_stored_and_swept_meanwhile_is_no_finding(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the page of records and the question for a copy; and between the listing and the records."""
    for seed in range(3):
        keep(parts, f"{seed}", content(10, seed))
    storage = parts.backends.use("local")
    sized, listed = storage.size, storage.keys
    done: list[str] = []

    def swept_before(key: str) -> int:
        if not done:
            done.append(key)
            keep(parts, "new", b"stored meanwhile")
            there = Replica.storage_key == key
            again = new_key(key[:64])
            data = next(content(10, n) for n in range(3) if source_of(content(10, n)).sha256 == key[:64])
            storage.put(again, source_of(data))
            parts.database.write(
                lambda session: session.execute(update(Replica).where(there).values(storage_key=again))
            )
            storage.delete(key)
        return sized(key)

    def with_one_that_goes(after: str | None = None) -> Iterator[str]:
        stray = put_orphan(parts, "local", 9, OLD)
        yield from listed(after)
        storage.delete(stray)

    monkeypatch.setattr(storage, "size", swept_before)
    monkeypatch.setattr(storage, "keys", with_one_that_goes)
    assert fsck(parts, "local") == []
    assert done


# --- The command


def test_the_exit_code_tells_clean_from_found_and_fixed(parts: Parts, cli: FlaskCliRunner) -> None:
    for seed in range(3):
        keep(parts, f"{seed}", content(100, seed))
    result = cli.invoke(args=[*FSCK])
    assert (result.exit_code, result.output) == (0, "Clean: 3 copies and 3 objects were looked at.\n")
    keep(parts, "too", content(100, 0), "database")
    row = replica_of(parts, content(100, 0), "local")
    remove(parts, row)
    result = cli.invoke(args=[*FSCK, "local"])
    assert result.exit_code == 1
    line = f"local: missing: {row.storage_key}: It is not there."
    assert result.output.splitlines()[0] == line
    result = cli.invoke(args=[*FSCK, "--fix"])
    assert result.exit_code == 0
    assert result.output.splitlines() == [
        f"{line} Fixed.",
        "Found: 1 missing; 0 left to mend. 4 copies and 4 objects were looked at.",
    ]
    check(parts)


def test_programs_are_told_each_finding_and_the_end(parts: Parts, cli: FlaskCliRunner) -> None:
    keep(parts, "a", DATA)
    row = replica_of(parts, DATA, "local")
    remove(parts, row)
    result = cli.invoke(args=[*FSCK, "--json"])
    assert result.exit_code == 1
    found, end = map(json.loads, result.stdout.splitlines())
    assert found == {
        "kind": "missing",
        "backend": "local",
        "what": row.storage_key,
        "why": "It is not there.",
        "fixed": False,
    }
    assert end == {"checked": {"copies": 1, "objects": 0, "found": {"missing": 1}, "left": 1}}
