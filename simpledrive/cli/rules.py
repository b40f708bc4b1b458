"""flask drive apply-rules: moves what is elsewhere than the rules for new blobs say."""

from __future__ import annotations

import json

import click
from flask.cli import with_appcontext

from simpledrive.cli.moving import exclusively, run
from simpledrive.cli.running import JSON, SOME_FAILED, WORKERS, ending
from simpledrive.cli.values import Size
from simpledrive.http.current import parts
from simpledrive.moving.elsewhere import Correction, corrections
from simpledrive.moving.flow import Flow
from simpledrive.moving.planning import Plan
from simpledrive.rights import SERVER


@click.command("apply-rules")
@click.option("--dry-run", is_flag=True, help="Say what would move, and move nothing.")
@WORKERS
@click.option("--bandwidth", type=Size(1), help="Bytes a second, read and read back together: 20M.")
@JSON
@with_appcontext
def apply_rules(dry_run: bool, workers: int, bandwidth: int | None, as_json: bool) -> None:
    """Move what is elsewhere than the first of the [[rules]] says that fits it, earlier versions too.

    What was put elsewhere on purpose moves as well; what no rule fits stays. Each move is a migration: it may
    be interrupted, and rolled back. Exit codes are those of `migrate-backend`.
    """
    left = 0
    with ending("What has moved has moved; the same command goes on."):
        for correction in corrections(parts().placement.rules, parts().backends):
            left += _apply(correction, dry_run, workers, bandwidth, as_json)
    if left:
        raise SystemExit(SOME_FAILED)


def _apply(correction: Correction, dry_run: bool, workers: int, bandwidth: int | None, as_json: bool) -> int:
    """How many records could not be moved."""
    where = (correction.source, correction.target, correction.selection)
    plan = parts().migrations.plan(SERVER, *where)
    if not plan.items:
        return 0
    _tell(correction, plan, as_json)
    if dry_run:
        return 0
    migration = parts().migrations.begin(SERVER, *where, exclusive=True)
    with exclusively(migration):
        migration = parts().migration_work.plan(migration, Flow())
        run(migration, workers, Flow(bandwidth), as_json)
    migration = parts().migrations.get(SERVER, migration.id)
    return migration.failed + migration.pending


def _tell(correction: Correction, plan: Plan, as_json: bool) -> None:
    source, target = correction.source, correction.target
    if as_json:
        said = {"rule": correction.number, "source": source, "target": target}
        click.echo(json.dumps(said | {"items": plan.items, "bytes": plan.bytes, "first": plan.first}))
        return
    click.echo(
        f"Rule {correction.number}: {plan.items} records of {plan.bytes} bytes from {source} to {target}"
    )
