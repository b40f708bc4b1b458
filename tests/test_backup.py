"""Writing back-ups: each content once, runs beside runs, whole or not at all, while the drive is in use."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from simpledrive.backup import BackupError, Folder, Record
from simpledrive.backup import writing as backup_writing
from simpledrive.backup.verifying import verify
from simpledrive.errors import BackendNotFound, Forbidden, StorageUnavailable
from simpledrive.moving import Selection
from simpledrive.moving.flow import Flow
from simpledrive.parts import Parts
from simpledrive.rights import SERVER, Caller
from tests.apps import TOKEN
from tests.backups import MakeDrive, back_up, bring_back, check_sums, fill, put, records
from tests.drives import check, digest_of, fetch, flip, impatient, keep, lose, replace
from tests.moves import move
from tests.needs import PRIVATE_MOUNTS, need
from tests.servers import ROOT
from tests.sources import content


def objects(folder: Path) -> set[str]:
    return set(Folder(folder).digests())


def run_names(folder: Path) -> list[str]:
    return [run.name for run in Folder(folder).runs()]


def listed(folder: Path, when: str | None = None) -> list[Record]:
    return list(Folder(folder).run(when).records())


def wrong(folder: Path, when: str | None = None) -> list[str]:
    """Why the objects of a run are not what they have to be."""
    opened = Folder(folder)
    return [verified.why for verified in verify(opened, opened.run(when), 2) if verified.why]


def test_each_content_is_there_once_and_an_outsider_can_check_all_of_it(
    any_parts: Parts, folder: Path
) -> None:
    fill(any_parts)
    end = back_up(any_parts, folder).end
    assert {(record.id, record.version, record.sha256) for record in listed(folder)} == {
        (said["id"], said["version"], said["sha256"]) for said in records(any_parts).values()
    }
    assert objects(folder) == {record.sha256 for record in listed(folder)}
    assert (end.records, end.unread) == (len(records(any_parts)), 0)
    assert end.contents == len(objects(folder))
    assert end.bytes == sum(path.stat().st_size for path in folder.glob("objects/*/*"))
    assert check_sums(folder) == (0, [])
    assert len((folder / "SHA256SUMS").read_text().splitlines()) == end.contents + 1
    assert [*(folder / "tmp").iterdir()] == []
    assert {path.stat().st_mode & 0o077 for path in folder.rglob("*")} == {0}, "it is for nobody else's eyes"


def test_every_line_of_a_run_is_json_and_the_last_one_seals_it(parts: Parts, folder: Path) -> None:
    fill(parts)
    name = back_up(parts, folder).name
    *before, last = (folder / "runs" / f"{name}.jsonl").read_bytes().split(b"\n")[:-1]
    header, *lines = map(json.loads, before)
    assert (header["format"], header["version"]) == ("simpledrive backup", 1)
    assert header["drive"] == parts.backends.identity()
    assert [line["sha256"] for line in lines] == sorted(line["sha256"] for line in lines)
    assert json.loads(last)["sha256"] == digest_of(b"".join(line + b"\n" for line in before))


def test_a_second_run_copies_only_what_is_new_and_the_first_stays_as_it_was(
    parts: Parts, folder: Path, make_drive: MakeDrive
) -> None:
    keep(parts, "a", content(1000, 1))
    keep(parts, "b", content(1000, 2))
    before = records(parts)
    first = back_up(parts, folder).name
    inodes = {path: path.stat().st_ino for path in folder.glob("objects/*/*")}
    replace(parts, "a", content(1000, 3))
    parts.drive.delete(SERVER, "b", permanent=True)
    with parts.backups.begin(SERVER, folder, Selection()) as writing:
        states = sorted(kept.state for kept in writing.copied(2, Flow()))
        second = writing.publish(lambda record: None).name
    assert states == ["copied", "there"]
    assert run_names(folder) == [first, second]
    assert {path: path.stat().st_ino for path in inodes} == inodes, "what is there is not written again"
    assert len(objects(folder)) == 3
    assert check_sums(folder) == (0, [])
    earlier, later = make_drive("earlier"), make_drive("later")
    assert bring_back(earlier, folder, first) == bring_back(later, folder) == []
    assert records(earlier) == before
    assert records(later) == records(parts)


def test_a_damaged_replica_is_read_from_another_one(parts: Parts, folder: Path) -> None:
    data = content(700_000)
    keep(parts, "a", data)
    move(parts)
    flip(parts, data, "database", 300_000)
    assert back_up(parts, folder).end.unread == 0
    assert wrong(folder) == []


@pytest.mark.parametrize("damage", [lambda *at: flip(*at, 5), lose])
def test_what_cannot_be_read_is_listed_and_the_rest_is_there(
    parts: Parts, folder: Path, make_drive: MakeDrive, damage: Callable[..., None]
) -> None:
    for seed in range(3):
        keep(parts, f"{seed}", content(1000, seed))
    damage(parts, content(1000, 1), "local")
    with parts.backups.begin(SERVER, folder, Selection()) as writing:
        assert sorted(kept.state for kept in writing.copied(2, Flow())) == ["copied", "copied", "unread"]
        told: list[Record] = []
        written = writing.publish(told.append)
    assert [(record.id, record.unread) for record in told] == [
        ("1", "its bytes are gone or altered at every backend")
    ]
    assert (written.end.records, written.end.unread, written.end.contents) == (3, 1, 2)
    assert check_sums(folder) == (0, [])
    other = make_drive("other")
    assert bring_back(other, folder) == []
    assert {said["id"] for said in records(other).values()} == {"0", "2"}


def test_what_was_backed_up_before_it_was_damaged_is_not_missed(parts: Parts, folder: Path) -> None:
    keep(parts, "a", b"bytes")
    back_up(parts, folder)
    lose(parts, b"bytes", "local")
    assert back_up(parts, folder).end.unread == 0


def test_a_backend_that_does_not_answer_is_asked_only_so_often(
    parts: Parts, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def silent(key: str, *_: object) -> None:
        asked.append(key)
        raise StorageUnavailable("local", "open", "connection refused")

    monkeypatch.setattr(backup_writing, "PAUSES", ())
    for seed in range(40):
        keep(parts, f"{seed}", content(10, seed))
        keep(parts, f"{seed} elsewhere", content(10, 100 + seed), "database")
    monkeypatch.setattr(parts.backends.use("local"), "open", silent)
    end = back_up(parts, folder, workers=1).end
    assert (end.records, end.unread) == (80, 40)
    assert len(asked) == backup_writing.HOPELESS
    assert {record.unread for record in listed(folder) if record.unread} == {
        "local: open: connection refused",
        "local: 20 contents failed there one after the other",
    }


def test_what_is_replaced_or_deleted_meanwhile_is_as_it_was(
    any_parts: Parts, folder: Path, make_drive: MakeDrive
) -> None:
    for id in ("replaced", "deleted", "erased"):
        keep(any_parts, id, content(1000, len(id)))
    before = records(any_parts)
    with any_parts.backups.begin(SERVER, folder, Selection()) as writing:
        replace(any_parts, "replaced", b"later")
        any_parts.drive.delete(SERVER, "deleted")
        any_parts.drive.delete(SERVER, "erased", permanent=True)
        keep(any_parts, "new", b"new")
        assert {kept.state for kept in writing.copied(2, Flow())} == {"copied"}
        writing.publish(lambda record: None)
    other = make_drive("other")
    assert bring_back(other, folder) == []
    assert records(other) == before


def test_what_is_swept_meanwhile_is_left_out_and_is_no_failure(parts: Parts, folder: Path) -> None:
    for id in ("stays", "erased"):
        keep(parts, id, content(1000, len(id)))
    with parts.backups.begin(SERVER, folder, Selection()) as writing:
        parts.drive.delete(SERVER, "erased", permanent=True)
        impatient(parts).sweep()
        assert {kept.state for kept in writing.copied(2, Flow())} == {"copied", "gone"}
        end = writing.publish(lambda record: None).end
    assert (end.records, end.unread) == (1, 0)
    assert [record.id for record in listed(folder)] == ["stays"]


SELECTIONS: list[tuple[dict[str, Any], list[str]]] = [
    ({"prefix": "a/"}, ["a/1", "a/1", "a/2"]),
    ({"prefix": "a/", "versions": False}, ["a/1", "a/2"]),
    ({"ids": ("b", "nothing")}, ["b"]),
    ({"min_size": 20}, ["a/2"]),
    ({"max_size": 5, "newer_than": "1d"}, ["b"]),
    ({"older_than": "1d"}, []),
    ({"limit": 1}, ["a/1"]),
    ({"limit": 4}, ["a/1", "a/1", "a/2", "b"]),
]


def test_a_selection_is_all_that_is_in_the_run(any_parts: Parts, folder: Path) -> None:
    for id, size in (("a/1", 8), ("a/1", 9), ("a/2", 20), ("b", 5)):
        put(any_parts, id, content(size))
    for selected, found in SELECTIONS:
        back_up(any_parts, folder, **selected)
        assert sorted(record.id for record in listed(folder)) == found, selected


def test_only_so_many_runs_are_kept_and_what_they_need(parts: Parts, folder: Path) -> None:
    names = []
    for seed in range(4):
        put(parts, "a", content(10, seed))
        names.append(back_up(parts, folder, versions=False).name)
    keep(parts, "other", b"other")
    other = back_up(parts, folder, prefix="other").name
    stray = folder / "objects" / "ab" / ("ab" * 32)
    stray.parent.mkdir(exist_ok=True)
    stray.write_bytes(b"of a run that was killed")
    assert objects(folder) > {stray.name}
    written = back_up(parts, folder, keep=2, versions=False)
    assert run_names(folder) == [names[3], other, written.name]
    assert (written.pruned.runs, written.pruned.objects) == (3, 4)
    assert objects(folder) == {digest_of(content(10, 3)), digest_of(b"other")}
    assert check_sums(folder) == (0, [])
    assert [wrong(folder, name) for name in run_names(folder)] == [[], [], []]


def test_nothing_is_given_up_beside_a_damaged_run(parts: Parts, folder: Path) -> None:
    """Nobody knows what it needs."""
    keep(parts, "a", b"one")
    names = [back_up(parts, folder).name for _ in range(3)]
    damaged = folder / "runs" / f"{names[2]}.jsonl"
    damaged.write_bytes(damaged.read_bytes().replace(b'"a"', b'"b"'))
    replace(parts, "a", b"two")
    written = back_up(parts, folder, keep=2)
    assert len(run_names(folder)) == 4
    assert "Nothing was given up" in written.problems[0]
    assert f"The run {names[2]} is damaged" in written.problems[0]
    assert check_sums(folder)[1] == [f"runs/{names[2]}.jsonl: FAILED"], "what it was is still known"


@pytest.mark.parametrize(
    "damage", [lambda text: text.replace("objects/", "objetcs/", 1), lambda text: text[:-9]]
)
def test_damaged_sums_are_written_anew(parts: Parts, folder: Path, damage: Callable[[str], str]) -> None:
    fill(parts)
    back_up(parts, folder)
    sums = folder / "SHA256SUMS"
    whole = sums.read_text()
    sums.write_text(damage(whole))
    assert back_up(parts, folder).problems == ["SHA256SUMS was damaged, and was written anew from the runs."]
    assert set(sums.read_text().splitlines()) > set(whole.splitlines())
    assert check_sums(folder) == (0, [])


def test_lost_sums_are_written_anew(parts: Parts, folder: Path) -> None:
    fill(parts)
    back_up(parts, folder)
    (folder / "SHA256SUMS").unlink()
    assert back_up(parts, folder).problems == []
    assert check_sums(folder) == (0, [])


def test_runs_follow_one_another_also_when_the_clock_was_set_back(parts: Parts, folder: Path) -> None:
    first = back_up(parts, folder).name
    future = folder / "runs" / "20990101T000000Z.jsonl"
    (folder / "runs" / f"{first}.jsonl").rename(future)
    assert back_up(parts, folder).name == "20990101T000001Z"


def test_a_run_that_was_not_copied_to_its_end_gets_no_name(parts: Parts, folder: Path) -> None:
    for seed in range(3):
        keep(parts, f"{seed}", content(10, seed))
    with parts.backups.begin(SERVER, folder, Selection()) as writing:
        with pytest.raises(BackupError, match="Not everything was copied"):
            writing.publish(lambda record: None)
        copied = writing.copied(1, Flow())
        next(copied)
        copied.close()
        with pytest.raises(BackupError, match="Not everything was copied"):
            writing.publish(lambda record: None)
    assert run_names(folder) == []


def test_another_run_under_way_is_not_disturbed(parts: Parts, folder: Path) -> None:
    with (
        parts.backups.begin(SERVER, folder, Selection()),
        pytest.raises(BackupError, match="Another run into this folder is under way"),
    ):
        back_up(parts, folder)


def test_a_folder_that_holds_something_else_is_left_alone(parts: Parts, folder: Path) -> None:
    folder.mkdir()
    (folder / "photo.jpg").touch()
    with pytest.raises(BackupError, match="The folder holds something else"):
        back_up(parts, folder)
    assert [path.name for path in folder.iterdir()] == ["photo.jpg"]


def test_a_folder_of_another_drive_is_left_alone(parts: Parts, folder: Path, make_drive: MakeDrive) -> None:
    """Else an empty drive, by a slip in its settings, would have its runs take the place of others."""
    back_up(parts, folder)
    with pytest.raises(BackupError, match="The folder holds back-ups of another drive"):
        back_up(make_drive("other"), folder, keep=1)
    assert len(run_names(folder)) == 1


def test_only_who_may_do_everything_may_do_this(parts: Parts, folder: Path) -> None:
    somebody = Caller("somebody", "x", frozenset({"read", "write", "delete"}))
    with pytest.raises(Forbidden), parts.backups.begin(somebody, folder, Selection()):
        pass
    assert not folder.exists()
    back_up(parts, folder)
    opened = Folder(folder)
    with pytest.raises(Forbidden):
        parts.restores.begin(somebody, opened, opened.run(None))


def test_bandwidth_is_kept_to(parts: Parts, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr("simpledrive.moving.flow.Flow.wait", lambda _self, seconds: waited.append(seconds))
    monkeypatch.setattr("simpledrive.moving.flow.time.monotonic", lambda: 0.0)
    keep(parts, "a", content(100_000))
    with parts.backups.begin(SERVER, folder, Selection()) as writing:
        list(writing.copied(1, Flow(50_000)))
    assert max(waited) == pytest.approx(2.0)


def test_a_full_disk_stops_with_a_sentence_and_keeps_the_runs_before(
    make_app: Callable[..., Flask], tmp_path: Path
) -> None:
    need("tmpfs")
    parts: Parts = make_app().extensions["simpledrive"]
    keep(parts, "fits", content(1_000_000))
    before = back_up(parts, tmp_path / "before").name
    keep(parts, "too large", content(4_000_000))
    disk = tmp_path / "disk"
    disk.mkdir()
    script = f"""
        mount -t tmpfs -o size=3m tmpfs {disk} && cp -a {tmp_path}/before/. {disk}
        {sys.executable} -m flask --app wsgi drive backup {disk}; echo "ended with $?"
        cd {disk} && sha256sum --check --quiet SHA256SUMS && ls runs tmp
    """
    environ = {"INSTANCE_PATH": str(parts.settings.instance_path), "API_TOKEN": TOKEN}
    ended = subprocess.run(
        [*PRIVATE_MOUNTS, "sh", "-c", script],
        cwd=ROOT,
        env=environ | {"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.stderr == (
        "Could not run: There is no room left in the folder of the back-up. What was copied stays there.\n"
    )
    assert ended.stdout == f"ended with 2\nruns:\n{before}.jsonl\n\ntmp:\n"


def test_the_run_that_is_meant_is_named_by_its_beginning(parts: Parts, folder: Path) -> None:
    with pytest.raises(BackupError, match="The folder holds no back-ups"):
        Folder(folder).run(None)
    first, second = (back_up(parts, folder).name for _ in range(2))
    assert Folder(folder).run(first[:8]).name == Folder(folder).run(None).name == second
    assert Folder(folder).run(first).name == first
    with pytest.raises(BackupError, match=f"There is no run 1999. The latest are: {first}, {second}."):
        Folder(folder).run("1999")


def damage_middle(data: bytes) -> bytes:
    return data.replace(b'"version":1,"filename":"a"', b'"version":2,"filename":"a"')


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (damage_middle, "its digest is not the one in its last line"),
        (lambda data: data[: data.rindex(b"\n", 0, -1) + 1], "its end is missing"),
        (lambda data: data[:-40], "its end is missing"),
        (lambda data: b"", "it does not begin as one"),
        (lambda data: data.replace(b'"simpledrive backup"', b'"another"'), "it does not begin as one"),
        (
            lambda data: data.replace(b'"version":1', b'"version":2,"more":3', 1),
            "a later version of Simple Drive",
        ),
    ],
)
def test_a_run_that_is_not_whole_is_refused_and_changes_nothing(
    parts: Parts, folder: Path, make_drive: MakeDrive, change: Callable[[bytes], bytes], why: str
) -> None:
    keep(parts, "a", b"bytes")
    path = folder / "runs" / f"{back_up(parts, folder).name}.jsonl"
    path.write_bytes(change(path.read_bytes()))
    other = make_drive("other")
    with pytest.raises(BackupError, match=why):
        bring_back(other, folder)
    assert records(other) == {}


def test_unknown_backends_are_refused_by_name(parts: Parts, folder: Path, make_drive: MakeDrive) -> None:
    back_up(parts, folder)
    for how in ({"backend": "nowhere"}, {"adopted": ["nowhere"]}):
        with pytest.raises(BackendNotFound, match="There is no backend 'nowhere'"):
            bring_back(make_drive("other"), folder, **how)


def test_nothing_of_the_drive_is_changed_by_it(parts: Parts, folder: Path) -> None:
    fill(parts)
    before = records(parts)
    back_up(parts, folder)
    assert records(parts) == before
    assert fetch(parts, "plain")
    check(parts)
