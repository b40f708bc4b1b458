"""flask drive mirrors: which backends mirror which, and how far behind they are."""

from __future__ import annotations

import json

import click
from flask.cli import with_appcontext

from simpledrive.cli.running import JSON, ending
from simpledrive.http.current import parts
from simpledrive.logs import moment
from simpledrive.mirroring import Lag
from simpledrive.rights import SERVER

SOME_WAIT = 1


@click.command("mirrors")
@JSON
@with_appcontext
def mirrors(as_json: bool) -> None:
    """Say of each mirror what it lacks, since when, and why.

    Exit code 0: no mirror lacks anything; 1: one does, or may, as no worker has looked through all yet; 2:
    could not run.
    """
    with ending("Nothing was changed."):
        lags = parts().lags.by_mirror(SERVER)
    for mirror, lag in lags.items():
        click.echo(json.dumps(_document(mirror, lag)) if as_json else _line(mirror, lag))
    if not lags and not as_json:
        click.echo("No backend mirrors another: simpledrive.toml has no [mirrors].")
    if any(lag.waiting or not lag.is_searched for lag in lags.values()):
        raise SystemExit(SOME_WAIT)


def _line(mirror: str, lag: Lag) -> str:
    said = f"{mirror}, mirror of {', '.join(lag.homes)}: "
    searching = "" if lag.is_searched else "still being looked through"
    if lag.since is None:
        return said + (searching or "complete")
    said += f"{lag.waiting} wait, the oldest since {moment(lag.since)}"
    said += f" ({lag.why})" if lag.why else ""
    return f"{said}; {searching}" if searching else said


def _document(mirror: str, lag: Lag) -> dict[str, object]:
    return {
        "mirror": mirror,
        "of": lag.homes,
        "waiting": lag.waiting,
        "since": None if lag.since is None else moment(lag.since),
        "detail": lag.why,
        "searched": lag.is_searched,
    }
