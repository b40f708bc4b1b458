"""Bringing back-ups back: into any empty drive, whole or by name what is not; gone on with; adopting."""

import random
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import delete, select

from simpledrive import threads
from simpledrive.backup import BackupError, Folder, restoring
from simpledrive.backup.providing import Provider
from simpledrive.errors import StagingFull, StorageFull, StorageRefused, StorageUnavailable
from simpledrive.keys import NewKey, rights_of
from simpledrive.models import ApiKey, Blob, now
from simpledrive.rights import SERVER
from simpledrive.upkeep import Swept
from tests.backups import MakeDrive, back_up, bring_back, check_sums, fill, homes, records
from tests.drives import check, digest_of, fetch, file_of, impatient, keep, objects, replace, replicas
from tests.sources import content
from tests.strict_s3 import StrictS3


def altered(folder: Path, data: bytes) -> Path:
    """Turns one bit of an object around; where it lies."""
    path = Folder(folder).object(digest_of(data))
    path.write_bytes(bytes([data[0] ^ 1]) + data[1:])
    return path


def archive_of(path: Path) -> dict[str, dict[str, str]]:
    return {"archive": {"kind": "local", "path": str(path)}}


@pytest.mark.parametrize(
    ("source", "target"), [("sqlite", "sqlite"), ("sqlite", "postgres"), ("postgres", "sqlite")]
)
def test_everything_comes_back_as_it_was(
    make_drive: MakeDrive, folder: Path, source: str, target: str
) -> None:
    old, new = make_drive("old", source), make_drive("new", target)
    fill(old)
    back_up(old, folder)
    assert bring_back(new, folder) == []
    assert records(new) == records(old)
    assert homes(new) == homes(old)
    for id in homes(old):
        assert fetch(new, id) == fetch(old, id)
    check(new)
    assert all(row.verified_at is not None for row in replicas(new))
    assert new.backends.identity() != old.backends.identity()
    new.drive.restore(SERVER, "deleted")
    assert fetch(new, "deleted") == content(50, len("deleted"))
    assert new.upkeep.sweep() == Swept()
    back_up(new, folder.with_name("again"))
    assert {path.name for path in folder.with_name("again").glob("objects/*/*")} == {
        path.name for path in folder.glob("objects/*/*")
    }


def test_a_bucket_that_is_not_there_any_more_comes_to_the_default(
    make_drive: MakeDrive, folder: Path, strict_s3: StrictS3
) -> None:
    old, new = make_drive("old", backends={"bucket": strict_s3.config()}), make_drive("new")
    fill(old, ("bucket", "database"))
    back_up(old, folder)
    assert bring_back(new, folder) == []
    assert records(new) == records(old)
    elsewhere = {"bucket": "local", "database": "database", "local": "local"}
    assert homes(new) == {id: elsewhere[home] for id, home in homes(old).items()}
    check(new)


def test_all_of_it_comes_to_the_backend_that_is_named(
    make_drive: MakeDrive, folder: Path, strict_s3: StrictS3
) -> None:
    old, new = make_drive("old"), make_drive("new", backends={"bucket": strict_s3.config(prefix="new")})
    fill(old)
    back_up(old, folder)
    assert bring_back(new, folder, backend="bucket") == []
    assert records(new) == records(old)
    assert {row.storage_backend for row in replicas(new)} == {"bucket"}
    assert len(strict_s3.objects) == len(replicas(new)) + 1, "each content once, and the marker"
    check(new)


def test_a_drive_that_is_not_empty_is_refused_and_stays_as_it_is(make_drive: MakeDrive, folder: Path) -> None:
    old, new = make_drive("old"), make_drive("new")
    keep(old, "a", b"old")
    back_up(old, folder)
    keep(new, "b", b"new")
    for _ in range(2):
        with pytest.raises(BackupError, match="The drive is not empty"):
            bring_back(new, folder)
    new.drive.delete(SERVER, "b")
    with pytest.raises(BackupError, match="The drive is not empty"):
        bring_back(new, folder)
    impatient(new).sweep()
    assert bring_back(new, folder) == []
    assert homes(new) == {"a": "local"}
    with pytest.raises(BackupError, match="The drive is not empty"):
        bring_back(new, folder)
    check(new)


def test_an_altered_object_is_named_and_the_rest_comes_back_and_later_the_last_one_too(
    make_drive: MakeDrive, folder: Path
) -> None:
    old, new = make_drive("old"), make_drive("new")
    for seed in range(5):
        keep(old, f"{seed}", content(1000, seed))
    keep(old, "same as 1", content(1000, 1))
    back_up(old, folder)
    damaged, lost = altered(folder, content(1000, 1)), Folder(folder).object(digest_of(content(1000, 2)))
    lost.rename(lost.with_name("elsewhere"))
    code, said = check_sums(folder)
    assert code == 1
    assert f"objects/{damaged.parent.name}/{damaged.name}: FAILED" in said
    failed = {outcome.records[0].id: outcome.why for outcome in bring_back(new, folder)}
    assert failed == {
        "1": f"objects/{damaged.parent.name}/{damaged.name} was altered.",
        "2": f"objects/{lost.parent.name}/{lost.name} is missing.",
    }
    assert set(homes(new)) == {"0", "3", "4"}
    check(new)
    damaged.write_bytes(content(1000, 1))
    lost.with_name("elsewhere").rename(lost)
    assert bring_back(new, folder) == []
    assert records(new) == records(old)
    check(new)


def test_many_records_of_the_same_bytes_and_large_ones_come_back_in_portions(
    make_drive: MakeDrive, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restoring, "RECORDS", 3)
    monkeypatch.setattr(restoring, "BYTES", 500_000)
    old, new = make_drive("old"), make_drive("new")
    for number in range(10):
        keep(old, f"same {number}", b"same", "database" if number % 2 else "local")
        keep(old, f"large {number}", content(300_000, number))
    back_up(old, folder)
    assert bring_back(new, folder) == []
    assert (records(new), homes(new)) == (records(old), homes(old))
    assert len(replicas(new)) == 12
    check(new)


def test_an_interrupted_restore_goes_on_and_does_nothing_twice(
    make_drive: MakeDrive, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restoring, "RECORDS", 2)
    old, new = make_drive("old"), make_drive("new")
    for seed in range(8):
        keep(old, f"{seed}", content(1000, seed))
    back_up(old, folder)
    opened = Folder(folder)
    outcomes = new.restores.begin(SERVER, opened, opened.run(None)).outcomes(2)
    next(outcomes)
    outcomes.close()
    began = {row.sha256: row.storage_key for row in replicas(new)}
    assert 2 <= len(began) < 8
    assert objects(new, "local") == set(began.values()), "what nothing names is removed at once"
    assert bring_back(new, folder) == []
    assert records(new) == records(old)
    assert began.items() <= {row.sha256: row.storage_key for row in replicas(new)}.items()
    check(new)


def test_an_id_that_the_new_database_does_not_take_keeps_nothing_else_out(
    make_drive: MakeDrive, folder: Path
) -> None:
    """PostgreSQL indexes no more than a third of a page, SQLite whatever it is given."""
    old, new = make_drive("old"), make_drive("new", "postgres")
    dice = random.Random(1)
    too_long = "".join(chr(dice.randrange(0x4E00, 0x9FFF)) for _ in range(1024))
    for id in ("a", too_long, "z"):
        keep(old, id, id.encode())
    back_up(old, folder)
    (failed,) = bring_back(new, folder)
    assert [record.id for record in failed.records] == [too_long]
    assert "PostgreSQL cannot index an id of so many bytes" in failed.why
    assert set(homes(new)) == {"a", "z"}
    assert len(objects(new, "local")) == 2
    check(new)


def test_whoever_takes_an_id_meanwhile_keeps_it(make_drive: MakeDrive, folder: Path) -> None:
    old, new = make_drive("old"), make_drive("new")
    for id in ("a", "b"):
        keep(old, id, b"old" + id.encode())
    back_up(old, folder)
    opened = Folder(folder)
    under_way = new.restores.begin(SERVER, opened, opened.run(None))
    keep(new, "a", b"new")
    failed = [outcome for outcome in under_way.outcomes(2) if outcome.why]
    assert [(outcome.records[0].id, outcome.why) for outcome in failed] == [
        ("a", "its id was taken meanwhile")
    ]
    assert (fetch(new, "a"), fetch(new, "b")) == (b"new", b"oldb")
    check(new)
    impatient(new).sweep()
    assert {row.sha256 for row in replicas(new)} == {digest_of(b"new"), digest_of(b"oldb")}


def test_what_is_deleted_while_a_restore_is_interrupted_does_not_come_back(
    make_drive: MakeDrive, folder: Path
) -> None:
    old, new = make_drive("old"), make_drive("new")
    for seed in range(3):
        keep(old, f"{seed}", content(10, seed))
    back_up(old, folder)
    path = altered(folder, content(10, 2))
    assert len(bring_back(new, folder)) == 1
    new.drive.delete(SERVER, "0")
    path.write_bytes(content(10, 2))
    assert bring_back(new, folder) == []
    assert set(homes(new)) == {"1", "2"}
    check(new)


def test_what_is_erased_while_a_restore_is_interrupted_does_not_come_back(
    make_drive: MakeDrive, folder: Path
) -> None:
    old, new = make_drive("old"), make_drive("new", "postgres")
    for seed in range(4):
        keep(old, f"{seed}", content(10, seed))
    replace(old, "0", content(10, 4))
    back_up(old, folder)
    path = altered(folder, content(10, 2))
    assert len(bring_back(new, folder)) == 1
    new.drive.delete(SERVER, "0", permanent=True)
    new.drive.delete(SERVER, "1", permanent=True)
    keep(new, "1", b"anew")
    assert len(bring_back(new, folder)) == 1
    path.write_bytes(content(10, 2))
    assert bring_back(new, folder) == []
    assert (set(homes(new)), fetch(new, "1")) == ({"1", "2", "3"}, b"anew")
    assert len(records(new)) == 3
    assert new.audit.page(SERVER).entries[0].action == "restore.ended"
    check(new)


@pytest.mark.parametrize("error", [StorageFull("local", "put", "no space is left"), StagingFull("No room.")])
def test_without_room_it_stops_at_once(
    make_drive: MakeDrive, folder: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    old, new = make_drive("old"), make_drive("new")
    for seed in range(5):
        keep(old, f"{seed}", content(10, seed))
    back_up(old, folder)

    def full(*_: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(Provider, "_stored", full)
        with pytest.raises(type(error)):
            bring_back(new, folder)
    assert homes(new) == {}
    assert bring_back(new, folder) == []
    assert len(homes(new)) == 5


def test_a_backend_that_fails_again_and_again_stops_it(
    make_drive: MakeDrive, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restoring, "HOPELESS", 3)
    monkeypatch.setattr(threads, "AHEAD", 2)
    monkeypatch.setattr("simpledrive.backup.providing.PAUSES", (0, 0))
    old, new = make_drive("old"), make_drive("new")
    for seed in range(30):
        keep(old, f"{seed}", content(10, seed))
    back_up(old, folder)
    tried: list[object] = []

    def silent(_provider: Provider, content: object, _backend: str) -> None:
        tried.append(content)
        raise StorageUnavailable("local", "put", "connection refused")

    monkeypatch.setattr(Provider, "_stored", silent)
    with pytest.raises(StorageUnavailable):
        bring_back(new, folder)
    assert 9 <= len(tried) < 60, "each is tried three times, and not all of them are tried"


def test_what_reads_back_wrong_is_not_recorded(
    make_drive: MakeDrive, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = make_drive("old"), make_drive("new")
    keep(old, "a", content(1000, 1))
    keep(old, "b", content(1000, 2))
    back_up(old, folder)
    local = new.backends.use("local")
    put = local.put

    def altering(key: str, source: object) -> None:
        put(key, source)  # type: ignore[arg-type]
        if key.startswith(digest_of(content(1000, 1))):
            base = Path(str(new.settings.backends["local"]["path"]))
            (path,) = base.rglob(key)
            path.write_bytes(b"x" * 1000)

    monkeypatch.setattr(local, "put", altering)
    (failed,) = bring_back(new, folder)
    assert failed.why == "local: what was just put there reads back wrong"
    assert homes(new) == {"b": "local"}
    assert len(objects(new, "local")) == 1
    check(new)


def test_what_comes_back_counts_for_the_keys_that_own_it(make_drive: MakeDrive, folder: Path) -> None:
    """Where the keys are still there: in a drive whose blobs alone were lost."""
    old, new = make_drive("old"), make_drive("new")
    key, _ = old.keys.issue(SERVER, NewKey("a key", quota_bytes=10_000))
    caller = rights_of(key)
    keep(old, "a", content(1000), caller=caller)
    keep(old, "a", content(2000), caller=caller, replaces=lambda current: True)
    keep(old, "b", content(500), caller=caller)
    old.drive.delete(SERVER, "b")
    columns = {column.name: getattr(key, column.name) for column in ApiKey.__table__.columns}
    new.database.write(lambda session: session.add(ApiKey(**columns | {"used_bytes": 0})))
    back_up(old, folder)
    assert bring_back(new, folder) == []
    used = new.database.read(lambda session: session.scalar(select(ApiKey.used_bytes)))
    assert used == 3500
    check(new)


def test_the_audit_log_says_what_came_back(make_drive: MakeDrive, folder: Path) -> None:
    old, new = make_drive("old"), make_drive("new")
    keep(old, "a", b"bytes")
    name = back_up(old, folder).name
    bring_back(new, folder)
    entries = new.audit.page(SERVER).entries[::-1]
    assert [(entry.action, entry.details) for entry in entries] == [
        (action, {"run": name}) for action in ("restore.begun", "blob.restored", "restore.ended")
    ]
    assert entries[1].target == "a"


def test_a_backend_of_the_old_drive_is_not_touched_unless_it_is_adopted(
    make_drive: MakeDrive, folder: Path, tmp_path: Path
) -> None:
    place = archive_of(tmp_path / "archive")
    old, new = make_drive("old", backends=place), make_drive("new", backends=place)
    keep(old, "a", b"bytes", "archive")
    back_up(old, folder)
    before = objects(old, "archive")
    with pytest.raises(StorageRefused, match="its marker is that of another drive"):
        bring_back(new, folder)
    assert homes(new) == {}
    old.backends.check("archive")
    assert objects(old, "archive") == before


def test_an_adopted_backend_keeps_its_objects_and_leaves_the_old_drive(
    make_drive: MakeDrive, folder: Path, tmp_path: Path
) -> None:
    place = archive_of(tmp_path / "archive")
    old, new = make_drive("old", backends=place), make_drive("new", "postgres", backends=place)
    fill(old, ("archive", "database"))
    damaged, lost = content(300_000), content(1_500_000, len("archive"))
    back_up(old, folder)
    path = file_of(old, damaged, "archive")
    path.write_bytes(b"x" + damaged[1:])
    file_of(old, lost, "archive").unlink()
    before = objects(old, "archive")
    years = now().replace(year=2001)  # a key may be older than any upload takes
    aged = {key: f"{key[:65]}{int(years.timestamp() * 1000):012x}{key[77:]}" for key in before}
    for key, name in aged.items():
        (found,) = (tmp_path / "archive" / "objects").rglob(key)
        found.rename(found.with_name(name))
    rename_keys(folder, aged)

    assert bring_back(new, folder, adopted=["archive"]) == []
    assert records(new) == records(old)
    check(new)
    after = {row.storage_key for row in replicas(new) if row.storage_backend == "archive"}
    stored_again = {key[:64] for key in after - set(aged.values())}
    assert stored_again == {digest_of(damaged), digest_of(lost)}
    assert objects(new, "archive") >= after
    new.backends.check("archive")
    with pytest.raises(StorageRefused, match="its marker is that of another drive"):
        old.backends.check("archive")
    assert any("archive" in problem for problem in old.upkeep.sweep(orphans=True, force=True).problems)
    check(new)


def test_an_adopted_bucket_is_read_and_nothing_is_stored_there_again(
    make_drive: MakeDrive, folder: Path, strict_s3: StrictS3
) -> None:
    place = {"bucket": strict_s3.config()}
    old, new = make_drive("old", backends=place), make_drive("new", backends=place)
    for seed in range(3):
        keep(old, f"{seed}", content(300_000, seed), "bucket")
    back_up(old, folder)
    before = set(strict_s3.objects)
    assert bring_back(new, folder, adopted=["bucket"]) == []
    assert set(strict_s3.objects) == before
    assert records(new) == records(old)
    check(new)


def rename_keys(folder: Path, names: dict[str, str]) -> None:
    """Has the latest run say other storage keys, sealed anew."""
    run = Folder(folder).run(None)
    *lines, last = run.path.read_text().splitlines(keepends=True)
    text = "".join(lines)
    for key, name in names.items():
        text = text.replace(key, name)
    seal = last.rpartition('"sha256":"')[0] + f'"sha256":"{digest_of(text.encode())}"}}\n'
    run.path.write_text(text + seal)


def test_an_interrupted_adoption_goes_on(
    make_drive: MakeDrive, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restoring, "RECORDS", 2)
    place = archive_of(tmp_path / "archive")
    old, new = make_drive("old", backends=place), make_drive("new", backends=place)
    for seed in range(6):
        keep(old, f"{seed}", content(1000, seed), "archive")
    back_up(old, folder)
    before, opened = objects(old, "archive"), Folder(folder)
    outcomes = new.restores.begin(SERVER, opened, opened.run(None), adopted=["archive"]).outcomes(2)
    next(outcomes)
    outcomes.close()
    assert objects(old, "archive") == before, "what was adopted and not recorded is not removed"
    assert bring_back(new, folder, adopted=["archive"]) == []
    assert objects(new, "archive") == before
    check(new)


@pytest.mark.parametrize(
    ("marker", "how"),
    [
        (f"{UUID(int=7)} archive\n", {"adopted": ["archive"]}),
        ("something else", {"adopted": ["archive"]}),
    ],
)
def test_nobody_elses_backend_is_adopted(
    make_drive: MakeDrive, folder: Path, tmp_path: Path, marker: str, how: dict[str, list[str]]
) -> None:
    place = archive_of(tmp_path / "archive")
    old, new = make_drive("old", backends=place), make_drive("new", backends=place)
    keep(old, "a", b"bytes", "archive")
    back_up(old, folder)
    (path,) = (tmp_path / "archive").rglob("simpledrive-marker")
    path.write_text(marker)
    with pytest.raises(StorageRefused, match="its marker is that of another drive"):
        bring_back(new, folder, **how)
    assert path.read_text() == marker


def test_a_backend_of_which_the_run_has_nothing_is_not_adopted(make_drive: MakeDrive, folder: Path) -> None:
    old, new = make_drive("old"), make_drive("new")
    keep(old, "a", b"bytes")
    back_up(old, folder)
    with pytest.raises(BackupError, match="there is nothing to adopt"):
        bring_back(new, folder, adopted=["database"])
    with pytest.raises(BackupError, match="there is nothing to adopt"):
        bring_back(new, folder, adopted=["local"], backend="database")


def test_a_record_that_is_lost_in_the_end_is_told(
    make_drive: MakeDrive, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = make_drive("old"), make_drive("new")
    keep(old, "a", b"one")
    keep(old, "b", b"two")
    back_up(old, folder)
    opened = Folder(folder)
    outcomes = new.restores.begin(SERVER, opened, opened.run(None)).outcomes(1)
    assert len(next(outcomes).records) == 2
    new.database.write(lambda session: session.execute(delete(Blob).where(Blob.id == "a")) and None)
    assert [(outcome.records[0].id, outcome.why) for outcome in outcomes] == [
        ("a", "it was there, and is not any more")
    ]
    assert "restore.ended" not in {entry.action for entry in new.audit.page(SERVER).entries}
