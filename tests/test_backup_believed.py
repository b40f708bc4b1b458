"""Back-ups that somebody has damaged, or made up: nothing is believed before it was looked at."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from simpledrive.backup import BackupError, Folder, runs
from simpledrive.backup.verifying import verify
from simpledrive.parts import Parts
from simpledrive.rights import SERVER
from tests.backups import MakeDrive, back_up, bring_back, check_sums, records
from tests.drives import check, digest_of, fetch, keep
from tests.sources import content

Line = dict[str, Any]


def sealed(folder: Path, change: Callable[[list[Line], Line], object]) -> None:
    """Has the latest run say other records, or another end, with a seal that fits it."""
    path = Folder(folder).run(None).path
    header, *lines, end = map(json.loads, path.read_text().splitlines())
    change(lines, end)
    text = "".join(json.dumps(line) + "\n" for line in (header, *lines))
    end["sha256"] = digest_of(text.encode())
    path.write_text(text + json.dumps(end) + "\n")


def first(**said: object) -> Callable[[list[Line], Line], object]:
    return lambda lines, end: lines[0].update(said)


def tree(folder: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


@pytest.mark.parametrize(
    "names",
    [
        ("runs/monday.txt", "tmp/thesis.txt", "README.txt", "photo.jpg"),
        ("tmp/thesis.txt", "README.txt"),
        ("tmp/thesis.txt",),
        ("README.txt",),
        ("objects/ab/cd/x", "tmp/0123456789abcdef0123456789abcdef.part"),
        ("runs/20260101T000000Z.jsonl", "tmp/thesis.txt"),
    ],
)
def test_files_of_others_stay_as_they_are(parts: Parts, folder: Path, names: tuple[str, ...]) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("mine")
    before = tree(folder)
    with pytest.raises(BackupError, match="The folder holds something else"):
        back_up(parts, folder)
    assert tree(folder) == before


def test_a_folder_of_a_backend_is_not_one_of_back_ups(parts: Parts) -> None:
    keep(parts, "a", b"bytes")
    backend = Path(str(parts.settings.backends["local"]["path"]))
    copy = backend / "tmp" / ("ab" * 16)
    copy.write_bytes(b"of a put under way")
    with pytest.raises(BackupError, match="The folder holds something else"):
        back_up(parts, backend)
    assert copy.exists()


def test_among_parts_that_were_left_what_is_somebodys_stays(parts: Parts, folder: Path) -> None:
    back_up(parts, folder)
    left, mine = folder / "tmp" / f"{'0' * 32}.part", folder / "tmp" / "thesis.txt"
    left.touch()
    mine.touch()
    back_up(parts, folder)
    assert (left.exists(), mine.exists()) == (False, True)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (first(storage_backend="elsewhere"), "its last line tells of other records"),
        (lambda lines, end: end.update(backends=[]), "its last line tells of other records"),
        (lambda lines, end: end.update(bytes=1), "its last line tells of other records"),
        (first(version=10**30), "one of its lines is no record"),
        (first(version=2**40), "one of its lines is no record"),
        (first(version=0), "one of its lines is no record"),
        (first(size=2**70), "one of its lines is no record"),
        (first(state="earlier"), "one of its lines is no record"),
        (first(put_aside_at="2026-01-01T00:00:00Z"), "one of its lines is no record"),
        (first(created_at="0001-01-01T00:00:00+14:00"), "one of its lines is no record"),
        (first(updated_at="9999-12-31T23:59:59-14:00"), "one of its lines is no record"),
        (first(storage_key="ab" * 32 + "." + "0" * 32), "one of its lines is no record"),
        (first(storage_key="../../etc/passwd"), "one of its lines is no record"),
        (lambda lines, end: lines.reverse(), "its records are not in the order of their digests"),
        (lambda lines, end: lines.insert(1, lines[0] | {"size": 4}), "the same bytes have two sizes"),
    ],
)
def test_what_no_drive_writes_is_refused_before_anything_is_changed(
    make_drive: MakeDrive, folder: Path, change: Callable[[list[Line], Line], object], why: str
) -> None:
    old, new = make_drive("old"), make_drive("new")
    for seed in range(3):
        keep(old, f"{seed}", content(10, seed))
    back_up(old, folder)
    sealed(folder, change)
    with pytest.raises(BackupError, match=why):
        bring_back(new, folder)
    assert records(new) == {}
    assert new.audit.page(SERVER).entries == []


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_what_this_drive_would_not_take_stays_out_and_the_rest_comes_back(
    make_drive: MakeDrive, folder: Path, database: str
) -> None:
    old, new = make_drive("old"), make_drive("new", database)
    unacceptable: list[Line] = [
        {"id": "a/../b"},
        {"id": ""},
        {"filename": "nul\0"},
        {"filename": "x" * 5_000_000},
        {"content_type": "text/plain\r\nX-Evil: 1"},
        {"content_type": "text/plain;,text/html"},
        {"metadata": {"nul": "\0"}},
        {"metadata": {"long": "x" * 5000}},
        {"owner": "nul\0"},
    ]
    for seed in range(len(unacceptable) + 2):
        keep(old, f"{seed}", content(10, seed))
    back_up(old, folder)

    def change(lines: list[Line], end: Line) -> None:
        for line, said in zip(lines, unacceptable, strict=False):
            line.update(said)

    sealed(folder, change)
    assert len(bring_back(new, folder)) == len(unacceptable)
    assert len(records(new)) == 2
    check(new)


def test_what_a_run_was_is_still_known_when_others_are_given_up(parts: Parts, folder: Path) -> None:
    """Sealed anew it is whole by itself: only SHA256SUMS tells that it is not what was written."""
    keep(parts, "a", b"bytes")
    back_up(parts, folder)
    name = back_up(parts, folder).name
    sealed(folder, first(owner="somebody else"))
    assert back_up(parts, folder, keep=2).pruned.runs == 1
    assert check_sums(folder) == (1, [f"runs/{name}.jsonl: FAILED"])


def test_a_run_whose_line_does_not_end_is_not_read_into_memory(
    parts: Parts, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "LINE", 10_000)
    back_up(parts, folder)
    with Folder(folder).run(None).path.open("ab") as file:
        file.truncate(1 << 30)  # of zeros, which take no room on the disk
    with pytest.raises(BackupError, match="one of its lines does not end"):
        Folder(folder).run(None).check()


@pytest.mark.parametrize("name", ["objects", "runs", "SHA256SUMS"])
def test_a_pipe_is_not_waited_for(make_drive: MakeDrive, folder: Path, name: str) -> None:
    old, new = make_drive("old"), make_drive("new")
    keep(old, "a", b"bytes")
    first_run = back_up(old, folder).name
    back_up(old, folder)
    path = {
        "objects": Folder(folder).object(digest_of(b"bytes")),
        "runs": Folder(folder).run(None).path,
        "SHA256SUMS": folder / "SHA256SUMS",
    }[name]
    path.unlink()
    os.mkfifo(path)
    if name == "runs":
        assert Folder(folder).run(None).name == first_run
    elif name == "SHA256SUMS":
        with pytest.raises(BackupError, match="it is no regular file"):
            back_up(old, folder)
    why = "was altered" if name == "objects" else ""
    assert all(why in outcome.why for outcome in bring_back(new, folder))
    assert len(records(new)) == (name != "objects")
    if name == "objects":
        back_up(old, folder)
        assert path.is_file(), "it was not there, and is copied again"


def test_of_an_object_that_never_ends_no_more_is_read_than_was_announced(
    make_drive: MakeDrive, folder: Path
) -> None:
    old, new = make_drive("old"), make_drive("new")
    keep(old, "endless", b"0123456789")
    keep(old, "large", content(10))
    back_up(old, folder)
    endless, large = (Folder(folder).object(digest_of(data)) for data in (b"0123456789", content(10)))
    endless.unlink()
    endless.symlink_to("/dev/zero")
    with large.open("ab") as file:
        file.truncate(1 << 30)
    opened = Folder(folder)
    whys = {verified.why for verified in verify(opened, opened.run(None), 2)}
    assert whys == {f"{path.relative_to(folder)} was altered." for path in (endless, large)}
    assert {outcome.why for outcome in bring_back(new, folder)} == whys


def test_a_run_that_cannot_be_read_does_not_stop_the_next_one(parts: Parts, folder: Path) -> None:
    keep(parts, "a", b"bytes")
    name = back_up(parts, folder).name
    (folder / "runs" / "20980101T000000Z.jsonl").mkdir()
    assert Folder(folder).run(None).name == name
    (folder / "runs" / "20990101T000000Z.jsonl").write_text("not one of ours\n")
    written = back_up(parts, folder)
    assert written.problems == ["The run 20990101T000000Z is damaged: it does not begin as one."]
    assert fetch(parts, "a") == b"bytes"
