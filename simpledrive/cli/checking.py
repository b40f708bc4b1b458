"""flask drive check-backend: can a backend be used, and how quick is each step of it?"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial

import click
from flask.cli import with_appcontext

from simpledrive.errors import DriveError
from simpledrive.http.backends import document
from simpledrive.http.current import parts
from simpledrive.logs import printable
from simpledrive.look import Look, ProbeResult, Step


@click.command("check-backend")
@click.argument("name", required=False)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=120,
    show_default=True,
    help="Seconds after which one that hangs is given up, where its own settings are more patient.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document a line, as /v1/backends has it.")
@with_appcontext
def check_backend(name: str | None, timeout: float, as_json: bool) -> None:
    """Look whether the backend NAME can be used; without a name, all of them at once.

    Its marker is looked at, then a small object written, read, compared, listed and deleted. Exit code 0: all
    of it went well; 1: some did not; 2: could not run.
    """
    try:
        names = _chosen(name)
    except DriveError as error:
        click.echo(f"Could not run: {error}", err=True)
        raise SystemExit(2) from error
    failed = 0
    for each, probe in _probed(names, timeout):
        failed += not probe.reachable
        click.echo(json.dumps(document(each, probe)) if as_json else "\n".join(_lines(each, probe)))
    if failed:
        click.echo(f"{failed} of {len(names)} cannot be used.", err=True)
        raise SystemExit(1)


def _chosen(name: str | None) -> list[str]:
    """The backends that are meant. Raises DriveError where there is none, or no marker can be judged."""
    backends = parts().backends
    backends.identity()
    if name is None:
        return sorted(backends, key=lambda each: each != backends.default)
    backends.require(name)
    return [name]


def _probed(names: list[str], timeout: float) -> Iterator[tuple[str, ProbeResult]]:
    """What each look has found, in order. All go on together: it takes as long as the slowest."""
    backends = parts().backends
    looks = {name: Look(f"the backend {name}", partial(backends.probe, name)) for name in names}
    for name, look in looks.items():
        yield name, look.wait(timeout) or look.unanswered()


def _lines(name: str, probe: ProbeResult) -> Iterator[str]:
    backends = parts().backends
    default = ", the default" if name == backends.default else ""
    yield printable(f"{name} ({backends.kind(name)}{default}): {backends.where(name)}".rstrip(" :"))
    for step in probe.steps:
        yield f"  {step.name:<8} {_took(step)}"
    if not probe.reachable:
        yield printable(f"  {probe.why}")


def _took(step: Step) -> str:
    return f"{step.seconds * 1000:10,.1f} ms{'' if step.passed else '  FAILED'}"
