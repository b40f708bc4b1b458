"""flask drive migrate-backend: plans, moves, and tells how it goes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import click
from flask.cli import with_appcontext

from simpledrive.cli.progress import told
from simpledrive.cli.receipts import Receipt
from simpledrive.cli.running import COULD_NOT_RUN, INTERRUPTED, SOME_FAILED, interruptible
from simpledrive.cli.selection import selecting, selection
from simpledrive.cli.values import Age, Size
from simpledrive.errors import DriveError
from simpledrive.http.current import parts
from simpledrive.http.migrations import plan_document
from simpledrive.models import Migration
from simpledrive.moving.flow import Flow
from simpledrive.moving.migrations import GRACE
from simpledrive.moving.planning import Plan
from simpledrive.rights import SERVER


@click.command("migrate-backend")
@click.argument("source")
@click.argument("target")
@selecting
@click.option("--dry-run", is_flag=True, help="Say what would move and the hash of that, and move nothing.")
@click.option("--plan", metavar="HASH", help="Refuse if something else would move than a dry run has said.")
@click.option("--workers", type=click.IntRange(1, 64), default=4, show_default=True, help="Threads.")
@click.option("--bandwidth", type=Size(1), help="Bytes a second, read and read back together: 20M.")
@click.option("--grace", type=Age(), help="How long SOURCE keeps what has moved; 7d unless you say.")
@click.option("--receipt", type=click.Path(dir_okay=False, path_type=Path), help="Write what moved here.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document a line.")
@with_appcontext
def migrate_backend(
    source: str,
    target: str,
    dry_run: bool,
    plan: str | None,
    workers: int,
    bandwidth: int | None,
    grace: timedelta | None,
    receipt: Path | None,
    as_json: bool,
    **selected: Any,
) -> None:
    """Move what has its home at SOURCE to TARGET, every byte compared, while everybody goes on working.

    May be interrupted: the same command goes on, tries again what failed, and takes what has come since. What
    has moved is kept at SOURCE for a while, for `flask drive rollback-migration`.

    Exit code 0: all moved; 1: some did not; 2: could not run; 130: interrupted.
    """
    migrations = parts().migrations
    try:
        wanted = selection(**selected)
        if dry_run:
            _tell_plan(migrations.plan(SERVER, source, target, wanted), source, target, as_json)
            return
        kept = GRACE if grace is None else grace
        with Receipt(receipt).opened() if receipt is not None else nullcontext():
            migration = migrations.begin(
                SERVER, source, target, wanted, grace=kept, plan=plan, exclusive=True
            )
            with exclusively(migration):
                migration = parts().migration_work.plan(migration, Flow())
                try:
                    run(migration, workers, Flow(bandwidth), as_json)
                finally:
                    if receipt is not None:
                        Receipt(receipt).write(migration.id)
        migration = migrations.get(SERVER, migration.id)
    except OSError as error:
        click.echo(f"The receipt cannot be written: {error}", err=True)
        raise SystemExit(COULD_NOT_RUN) from error
    except DriveError as error:
        click.echo(f"Could not run: {error}", err=True)
        raise SystemExit(COULD_NOT_RUN) from error
    except KeyboardInterrupt:
        click.echo("Interrupted. What has moved has moved; the same command goes on.", err=True)
        raise SystemExit(INTERRUPTED) from None
    if migration.failed or migration.pending:
        raise SystemExit(SOME_FAILED)


def _tell_plan(plan: Plan, source: str, target: str, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(plan_document(plan)))
        return
    click.echo(f"{plan.items} records of {plan.bytes} bytes would move from {source} to {target}.")
    for id in plan.first:
        click.echo(f"  {id}")
    if plan.items > len(plan.first):
        click.echo(f"  and {plan.items - len(plan.first)} more")
    click.echo(f"This plan is {plan.hash}: with --plan {plan.hash} nothing else moves.")


@contextmanager
def exclusively(migration: Migration) -> Iterator[None]:
    """During the block only commands work at the migration, and nobody does once the last was interrupted."""
    with parts().migration_work.exclusively(migration):
        try:
            yield
        except KeyboardInterrupt:
            with suppress(DriveError):  # it has just come to its end, or the database is busy: as if killed
                if not parts().migration_work.is_worked_at(migration):
                    parts().migrations.pause(SERVER, migration.id)
            raise


def run(migration: Migration, workers: int, flow: Flow, as_json: bool) -> None:
    """Works at it to its end, and tells how it goes."""
    with interruptible(flow), told(migration, as_json) as tell:
        try:
            for outcome in parts().migration_work.move(migration, workers, flow):
                tell.outcome(outcome)
        finally:
            tell.end(parts().migrations.get(SERVER, migration.id))
