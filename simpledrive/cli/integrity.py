"""flask drive verify, fsck: whether the bytes are right, and whether everything fits together."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict
from datetime import timedelta

import click
from flask.cli import with_appcontext

from simpledrive.cli.running import COULD_NOT_RUN, JSON, WORKERS, ending
from simpledrive.cli.values import COUNT, Age, Size
from simpledrive.cli.verdicts import Read, told
from simpledrive.errors import DriveError
from simpledrive.http.current import parts
from simpledrive.integrity.due import amount, drawn, due
from simpledrive.integrity.findings import Finding, Looked
from simpledrive.logs import printable
from simpledrive.models import now
from simpledrive.moving.flow import Flow
from simpledrive.rights import SERVER

FOUND, FAILED = 1, COULD_NOT_RUN


@click.command("verify")
@click.argument("backend", required=False)
@click.option("--older-than", type=Age(), help="Only what was not verified for so long: 30d, 12h.")
@click.option("--sample", type=COUNT, help="Only so many of each backend, drawn at random.")
@WORKERS
@click.option("--bandwidth", type=Size(1), help="Bytes a second: 20M.")
@click.option("--repair", is_flag=True, help="Write what is bad again, from a copy that is right.")
@JSON
@with_appcontext
def verify(
    backend: str | None,
    older_than: timedelta | None,
    sample: int | None,
    workers: int,
    bandwidth: int | None,
    repair: bool,
    as_json: bool,
) -> None:
    """Read what is stored at BACKEND, or everywhere, in full, and compare digests.

    First what is known to be bad, then what was verified longest ago. Each result counts at once: when it was
    interrupted, the same command begins with what was left, and --older-than leaves out what was read.

    Exit code 0: all is right, or was repaired; 1: some is bad; 2: some could not be read, or nothing; 130:
    interrupted.
    """
    bad = unread = 0
    with ending("The same command begins with what was left."):
        for name in _chosen(backend):
            read = Read(name)
            try:
                _verify(read, older_than or timedelta(), sample, workers, Flow(bandwidth), repair, as_json)
            finally:
                bad += read.bad
                unread += read.states["unread"] + bool(read.failure)
    _leave(failed=unread, found=bad)


def _verify(
    read: Read,
    older_than: timedelta,
    sample: int | None,
    workers: int,
    flow: Flow,
    repair: bool,
    as_json: bool,
) -> None:
    database, before = parts().database, now() - older_than
    if sample is None:
        replicas = due(database, read.backend, before)
    else:
        replicas = drawn(database, read.backend, before, sample)

    def size() -> int | None:
        return amount(database, read.backend, before).bytes if sample is None else None

    with told(read, size, as_json) as tell:
        try:
            run = parts().verifier.run(read.backend, replicas, flow, threads=workers, repair=repair)
            with closing(run) as verdicts:
                for verdict in verdicts:
                    tell.verdict(verdict)
        except DriveError as error:
            read.failure = str(error)
        finally:
            tell.end()


@click.command("fsck")
@click.argument("backend", required=False)
@click.option("--fix", is_flag=True, help="Mend what can be mended without guessing.")
@JSON
@with_appcontext
def fsck(backend: str | None, fix: bool, as_json: bool) -> None:
    """Compare records, objects and counters of BACKEND, or of all, without reading bytes.

    Of all, what keys with a quota are charged is compared, too. Without --fix nothing is changed.

    Exit code 0: clean, or all was fixed; 1: something was found; 2: some could not be looked at, or nothing;
    130: interrupted.
    """
    looked, found, left = Looked(), Counter[str](), Counter[str]()
    with ending("Nothing is half fixed."):
        for finding in _findings(backend, looked, fix):
            click.echo(json.dumps(asdict(finding)) if as_json else _line(finding))
            found[finding.kind] += 1
            left[finding.kind] += not finding.fixed
    summary = {
        "copies": looked.replicas,
        "objects": looked.objects,
        "found": dict(found),
        "left": left.total(),
    }
    click.echo(json.dumps({"checked": summary}) if as_json else _summary(looked, found, left.total()))
    _leave(failed=left["unread"], found=left.total())


def _findings(backend: str | None, looked: Looked, fix: bool) -> Iterator[Finding]:
    for name in _chosen(backend):
        yield from parts().fsck.findings(name, looked, fix=fix)
    if backend is None:
        yield from parts().fsck.accounts(fix=fix)


def _chosen(backend: str | None) -> list[str]:
    """The backends that are meant, also those that are only recorded any more. Raises DriveError."""
    parts().backends.identity()
    if backend is None:
        return [usage.backend for usage in parts().counters.usage(SERVER)]
    parts().backends.require(backend)
    return [backend]


def _line(finding: Finding) -> str:
    said = (finding.backend, finding.kind, finding.what, finding.why)
    return printable(f"{': '.join(filter(None, said))}{' Fixed.' if finding.fixed else ''}")


def _summary(looked: Looked, found: Counter[str], left: int) -> str:
    checked = f"{looked.replicas} copies and {looked.objects} objects were looked at"
    if not found:
        return f"Clean: {checked}."
    kinds = ", ".join(f"{number} {kind}" for kind, number in sorted(found.items()))
    return f"Found: {kinds}; {left} left to mend. {checked}."


def _leave(*, failed: int, found: int) -> None:
    """As grep and diff do: not to have seen everything outweighs what was seen."""
    if failed or found:
        raise SystemExit(FAILED if failed else FOUND)
