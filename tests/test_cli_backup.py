"""flask drive backup and restore, as an operator types them."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from flask import Flask

from simpledrive.backup import Folder, Writing
from simpledrive.backup.restoring import Restoring
from simpledrive.parts import Parts
from tests.backups import check_sums, homes, put, records
from tests.drives import check, digest_of, fetch, keep, lose
from tests.sources import content
from tests.test_restore import archive_of


@pytest.fixture
def drives(make_app: Callable[..., Flask], tmp_path: Path, make_drive: object) -> tuple[Flask, Flask]:
    """A drive with an archive, and another one, with the same archive in its settings."""
    place = archive_of(tmp_path / "archive")
    apps = []
    for name in ("old", "new"):
        make_drive(name, backends=place)  # type: ignore[operator]
        apps.append(make_app(instance_path=str(tmp_path / name), backends=place))
    return apps[0], apps[1]


def run(app: Flask, *arguments: object, **how: Any) -> Result:
    return app.test_cli_runner().invoke(args=["drive", *map(str, arguments)], **how)


def parts_of(app: Flask) -> Parts:
    parts: Parts = app.extensions["simpledrive"]
    return parts


def lines(output: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines()]


def test_there_and_back(drives: tuple[Flask, Flask], folder: Path) -> None:
    old, new = drives
    for seed in range(4):
        keep(parts_of(old), f"{seed}", content(1000, seed % 3), ("local", "database")[seed % 2])
    written = run(old, "backup", folder)
    name = Folder(folder).run(None).name
    assert (written.exit_code, written.stderr) == (0, "")
    assert written.output == (
        f"Run {name}: 4 records, 3 contents of 3000 bytes; 3 contents of 3000 bytes were copied.\n"
    )
    assert check_sums(folder) == (0, [])
    looked = run(new, "restore", folder, "--verify-only")
    assert (looked.exit_code, looked.output) == (0, f"Run {name}: 3 of 3 contents are whole.\n")
    assert records(parts_of(new)) == {}
    back = run(new, "restore", folder, "--run", name[:8])
    assert (back.exit_code, back.output) == (0, f"Run {name}: 4 of 4 records are in the drive.\n")
    assert records(parts_of(new)) == records(parts_of(old))
    again = run(new, "restore", folder)
    assert again.exit_code == 2
    assert again.stderr == (
        "Could not run: The drive is not empty: a back-up is restored into an empty one.\n"
    )


def test_what_failed_is_named_and_the_exit_code_says_so(drives: tuple[Flask, Flask], folder: Path) -> None:
    old, new = drives
    for seed in range(3):
        keep(parts_of(old), f"{seed}\u2028", content(1000, seed))
    lose(parts_of(old), content(1000, 0), "local")
    written = run(old, "backup", folder)
    assert written.exit_code == 1
    assert "1 records are without their bytes.\n" in written.output
    why = "its bytes are gone or altered at every backend"
    assert f"Not backed up: 0\\u2028 (version 1, current): {why}\n" in written.stderr
    (unread, ended) = lines(run(old, "backup", folder, "--json").stdout)
    assert unread["unread"] == {
        "id": "0\u2028",
        "version": 1,
        "state": "current",
        "sha256": digest_of(content(1000, 0)),
        "why": why,
    }
    assert (ended["run"]["records"], ended["run"]["unread"], ended["run"]["copied"]) == (3, 1, 0)

    altered = digest_of(content(1000, 1))
    Folder(folder).object(altered).write_bytes(content(1000, 9))
    looked = run(new, "restore", folder, "--verify-only")
    said = f"objects/{altered[:2]}/{altered} was altered."
    assert (looked.exit_code, looked.stderr) == (1, f"{said}\n")
    assert "1 of 2 contents are whole.\n" in looked.output
    assert lines(run(new, "restore", folder, "--verify-only", "--json").stdout) == [
        {"failed": {"sha256": altered, "why": said, "records": []}},
        {"verified": {"name": ended["run"]["name"], "contents": 2, "failed": 1, "unread": 1}},
    ]
    back = run(new, "restore", folder)
    assert back.exit_code == 1
    assert "1 of 3 records are in the drive." in back.output
    assert "1 records were without their bytes when the back-up was written." in back.output
    assert back.stderr == f"{said}\n  Not restored: 1\\u2028 (version 1, current)\n"
    failed, restored = lines(run(new, "restore", folder, "--json").stdout)
    assert [record["id"] for record in failed["failed"]["records"]] == ["1\u2028"]
    assert restored["restored"] == {
        "name": ended["run"]["name"],
        "records": 1,
        "failed": 1,
        "erased": 0,
        "unread": 1,
    }
    assert list(homes(parts_of(new))) == ["2\u2028"]


def test_a_selection_and_runs_that_are_given_up(drives: tuple[Flask, Flask], folder: Path) -> None:
    old, _ = drives
    for seed in range(3):
        put(parts_of(old), "a/b", content(1000, seed))
        keep(parts_of(old), f"c/{seed}", content(10, seed))
        options = ("--prefix", "a/", "--current-only", "--keep", 2, "--workers", 1, "--bandwidth", "10M")
        result = run(old, "backup", folder, *options)
        assert result.exit_code == 0, result.output
    assert "1 records, 1 contents of 1000 bytes" in result.output
    assert "Given up: 1 runs, 1 contents of 1000 bytes.\n" in result.output
    assert len(Folder(folder).runs()) == 2
    (document,) = lines(run(old, "backup", folder, *options, "--json").stdout)
    assert document["run"]["given_up"] == {"runs": 1, "objects": 1, "bytes": 1000}
    assert document["run"]["problems"] == []


def test_a_problem_of_the_folder_is_told_and_is_1(drives: tuple[Flask, Flask], folder: Path) -> None:
    old, _ = drives
    run(old, "backup", folder)
    (folder / "SHA256SUMS").write_text("nonsense")
    result = run(old, "backup", folder)
    assert result.exit_code == 1
    assert result.stderr == "SHA256SUMS was damaged, and was written anew from the runs.\n"


def test_adopting_asks_first(drives: tuple[Flask, Flask], folder: Path) -> None:
    old, new = drives
    keep(parts_of(old), "a", b"bytes", "archive")
    run(old, "backup", folder)
    refused = run(new, "restore", folder)
    assert refused.exit_code == 2
    assert "archive: check: its marker is that of another drive or backend" in refused.stderr
    asked = run(new, "restore", folder, "--adopt", "archive", input="n\n")
    assert asked.exit_code == 1
    assert "Is the old drive gone for good? [y/N]" in asked.stderr
    assert homes(parts_of(new)) == {}
    parts_of(old).backends.check("archive")
    assert run(new, "restore", folder, "--adopt", "archive", "--yes").exit_code == 0
    assert fetch(parts_of(new), "a") == b"bytes"
    check(parts_of(new))


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("backup", "--older-than", "never"), "older_than: 'never' is neither an age such as 30d nor a date"),
        (("restore",), "The folder holds no back-ups."),
        (("restore", "--verify-only"), "The folder holds no back-ups."),
    ],
)
def test_what_cannot_run_says_why_and_is_2(
    app: Flask, folder: Path, arguments: tuple[str, ...], why: str
) -> None:
    folder.mkdir()
    command, *options = arguments
    result = run(app, command, folder, *options)
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"Could not run: {why}" in result.stderr


def test_interrupted_is_130(
    drives: tuple[Flask, Flask], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> Iterator[object]:
        yield from ()
        raise KeyboardInterrupt

    old, new = drives
    run(old, "backup", folder)
    monkeypatch.setattr(Writing, "copied", interrupt)
    monkeypatch.setattr(Restoring, "outcomes", interrupt)
    written, back = run(old, "backup", folder), run(new, "restore", folder)
    assert (written.exit_code, written.stderr) == (
        130,
        "Interrupted. The same command copies what is left.\n",
    )
    assert back.exit_code == 130
    assert back.stderr == "Interrupted. What is there is there; the same command goes on.\n"
    assert len(Folder(folder).runs()) == 1
