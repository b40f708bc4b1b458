"""flask drive backup and restore: a folder that outlives the drive, and the way back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from flask.cli import with_appcontext

from simpledrive.backup import Folder, Record, Run, Writing, Written
from simpledrive.backup.verifying import verify
from simpledrive.cli.counting import counting
from simpledrive.cli.running import JSON, SOME_FAILED, WORKERS, ending
from simpledrive.cli.selection import selecting, selection
from simpledrive.cli.values import COUNT, Size
from simpledrive.http.current import parts
from simpledrive.logs import printable
from simpledrive.moving.flow import Flow
from simpledrive.rights import SERVER

FOLDER = click.Path(file_okay=False, path_type=Path)


@click.command("backup")
@click.argument("folder", metavar="DIR", type=FOLDER)
@selecting
@click.option("--keep", type=COUNT, help="Give up all runs of the same selection but so many.")
@WORKERS
@click.option("--bandwidth", type=Size(1), help="Bytes a second, read from the backends: 20M.")
@JSON
@with_appcontext
def backup(
    folder: Path, keep: int | None, workers: int, bandwidth: int | None, as_json: bool, **selected: Any
) -> None:
    """Write the drive's records and bytes into DIR, while everybody goes on working.

    Bytes that are in DIR are not copied again, and the runs before this one stay as they are. Not included:
    API keys, the audit log, migrations, what PutPlace's machines announced, settings and secrets.

    Exit code 0: all is in DIR; 1: some bytes could not be read; 2: could not run; 130: interrupted.
    """
    with (
        ending("The same command copies what is left."),
        parts().backups.begin(SERVER, folder, selection(**selected)) as writing,
    ):
        copied = _copied(writing, workers, bandwidth, as_json)
        written = writing.publish(lambda record: _tell_unread(record, as_json), keep)
    _tell_written(written, copied, as_json)
    if written.end.unread or written.problems:
        raise SystemExit(SOME_FAILED)


@click.command("restore")
@click.argument("folder", metavar="DIR", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--run", "when", metavar="WHEN", help="The latest run that begins so: 20261120. Else the latest."
)
@click.option(
    "--backend", metavar="NAME", help="Put all bytes there. Else where they were, or at the default."
)
@click.option("--adopt", metavar="NAME", multiple=True, help="Take this backend over from the old drive.")
@click.option("--verify-only", is_flag=True, help="Read the back-up, and change nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@WORKERS
@JSON
@with_appcontext
def restore(
    folder: Path,
    when: str | None,
    backend: str | None,
    adopt: tuple[str, ...],
    verify_only: bool,
    yes: bool,
    workers: int,
    as_json: bool,
) -> None:
    """Bring the back-up in DIR into this drive, which has to be empty: ids, versions, trash, times, owners.

    Every byte is compared with its digest, in DIR and again at its backend. May be interrupted: the same
    command goes on. --adopt uses what lies at a backend of the old drive instead of storing it again; the old
    drive must be gone.

    Exit code 0: all is there; 1: some is not; 2: could not run; 130: interrupted.
    """
    with ending("What is there is there; the same command goes on."):
        opened = Folder(folder)
        run = opened.run(when)
        failed = (
            _verify(opened, run, workers, as_json)
            if verify_only
            else _restore(opened, run, backend, adopt, yes, workers, as_json)
        )
    if failed:
        raise SystemExit(SOME_FAILED)


def _copied(writing: Writing, workers: int, bandwidth: int | None, as_json: bool) -> tuple[int, int]:
    """How many contents and bytes were copied."""
    contents = size = 0
    with (
        counting(writing.selected.contents, "contents", as_json) as count,
        closing(writing.copied(workers, Flow(bandwidth))) as outcomes,
    ):
        for kept in outcomes:
            if kept.state == "copied":
                contents, size = contents + 1, size + kept.content.size
            count(1)
    return contents, size


def _tell_unread(record: Record, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"unread": _described(record) | {"why": record.unread}}))
    else:
        click.echo(f"Not backed up: {_named(record)}: {record.unread}", err=True)


def _tell_written(written: Written, copied: tuple[int, int], as_json: bool) -> None:
    end, pruned = written.end, written.pruned
    if as_json:
        counts = {name: getattr(end, name) for name in ("records", "unread", "contents", "bytes")}
        document = {"name": written.name, **counts, "copied": copied[0], "copied_bytes": copied[1]}
        click.echo(json.dumps({"run": document | {"given_up": asdict(pruned), "problems": written.problems}}))
        return
    what = f"{end.records} records, {end.contents} contents of {end.bytes} bytes"
    click.echo(f"Run {written.name}: {what}; {copied[0]} contents of {copied[1]} bytes were copied.")
    if end.unread:
        click.echo(f"{end.unread} records are without their bytes.")
    if pruned.runs or pruned.objects:
        click.echo(f"Given up: {pruned.runs} runs, {pruned.objects} contents of {pruned.bytes} bytes.")
    for problem in written.problems:
        click.echo(problem, err=True)


def _verify(folder: Folder, run: Run, workers: int, as_json: bool) -> int:
    end, failed = run.check(), 0
    with counting(end.contents, "contents", as_json) as count:
        for verified in verify(folder, run, workers):
            count(1)
            if verified.why:
                failed += 1
                _tell_failed([], verified.content.sha256, verified.why, as_json)
    if as_json:
        summary = {"contents": end.contents, "failed": failed, "unread": end.unread}
        click.echo(json.dumps({"verified": {"name": run.name, **summary}}))
    else:
        click.echo(f"Run {run.name}: {end.contents - failed} of {end.contents} contents are whole.")
        _tell_lacking(end.unread)
    return failed + end.unread


def _restore(
    folder: Folder,
    run: Run,
    backend: str | None,
    adopt: tuple[str, ...],
    yes: bool,
    workers: int,
    as_json: bool,
) -> int:
    if adopt and not yes:
        question = (
            f"{', '.join(adopt)} will be this drive's, and the old drive (run {run.name} is its) will refuse "
            "to use it. Is the old drive gone for good?"
        )
        if not click.confirm(question, err=True):
            return 1
    restoring = parts().restores.begin(SERVER, folder, run, backend, adopt)
    end, restored, failed = restoring.end, 0, 0
    with (
        counting(end.records - end.unread, "records", as_json) as count,
        closing(restoring.outcomes(workers)) as outcomes,
    ):
        for outcome in outcomes:
            count(len(outcome.records))
            if outcome.why:
                failed += len(outcome.records)
                _tell_failed(outcome.records, outcome.records[0].sha256, outcome.why, as_json)
            else:
                restored += len(outcome.records)
    erased = end.records - end.unread - restored - failed
    if as_json:
        counts = {"records": restored, "failed": failed, "erased": erased, "unread": end.unread}
        click.echo(json.dumps({"restored": {"name": run.name, **counts}}))
    else:
        click.echo(f"Run {run.name}: {restored} of {end.records} records are in the drive.")
        if erased:
            click.echo(f"{erased} records were erased for good since the restore began, and stay so.")
        _tell_lacking(end.unread)
    return failed + end.unread


def _tell_failed(records: Sequence[Record], sha256: str, why: str, as_json: bool) -> None:
    if as_json:
        said = {"sha256": sha256, "why": why, "records": [_described(record) for record in records]}
        click.echo(json.dumps({"failed": said}))
        return
    click.echo(why, err=True)
    for record in records:
        click.echo(f"  Not restored: {_named(record)}", err=True)


def _tell_lacking(unread: int) -> None:
    if unread:
        click.echo(f"{unread} records were without their bytes when the back-up was written.")


def _described(record: Record) -> dict[str, object]:
    return {"id": record.id, "version": record.version, "state": record.state, "sha256": record.sha256}


def _named(record: Record) -> str:
    return printable(f"{record.id} (version {record.version}, {record.state})")
