"""flask drive ...: what whoever runs the drive does at its side."""

import click
from flask.cli import AppGroup

from simpledrive.config import effective
from simpledrive.errors import DriveError
from simpledrive.http.current import parts

drive = AppGroup("drive", help="Move blobs between backends, sweep, show settings.")


@drive.command("config")
def config() -> None:
    """Print the effective settings, secrets hidden."""
    rows = effective(parts().settings)
    width = max(len(row.name) for row in rows)
    for row in rows:
        click.echo(f"{row.name:<{width}}  {row.value}  ({row.source})")


@drive.command("sweep")
@click.option("--orphans", is_flag=True, help="Also list every backend for objects that no record names.")
@click.option("--force", is_flag=True, help="Remove orphans even if they are more than a tenth of a backend.")
def sweep(orphans: bool, force: bool) -> None:
    """Remove what nothing needs any more and whose grace is over."""
    try:
        swept = parts().upkeep.sweep(orphans=orphans, force=force)
    except DriveError as error:
        raise click.ClickException(str(error)) from error
    click.echo(
        f"Removed {swept.replicas} copies, {swept.expired} earlier versions, "
        f"{swept.leftovers} left-overs, {swept.orphans} orphans."
    )
    for problem in swept.problems:
        click.echo(problem, err=True)
    if swept.problems:
        raise SystemExit(1)


@drive.command("migrate-backend")
@click.argument("source")
@click.argument("target")
@click.option("--dry-run", is_flag=True, help="Say what would move, and move nothing.")
def migrate_backend(source: str, target: str, dry_run: bool) -> None:
    """Move everything whose home is SOURCE to TARGET, every byte compared.

    May be interrupted and run again. Exit code 0: all moved; 1: some did not; 2: could not run.
    """
    migration = parts().migration
    try:
        plan = migration.plan(source, target)
        click.echo(
            f"{plan.contents} contents of {plan.bytes} bytes, in {plan.records} records, "
            f"from {source} to {target}."
        )
        if dry_run:
            return
        _move_all(source, target, plan.bytes)
        remaining = migration.plan(source, target).records
    except DriveError as error:
        click.echo(f"Could not run: {error}", err=True)
        raise SystemExit(2) from error
    except KeyboardInterrupt:
        click.echo("Interrupted. What has moved has moved; the same command goes on.", err=True)
        raise SystemExit(1) from None
    if remaining:
        why = "what failed, or was stored there meanwhile. The same command goes on."
        click.echo(f"{remaining} records remain at {source}: {why}", err=True)
        raise SystemExit(1)


def _move_all(source: str, target: str, total: int) -> None:
    moved = failed = size = 0
    with click.progressbar(length=max(total, 1), label="Moving") as bar:
        for move in parts().migration.run(source, target):
            bar.update(move.size)
            if move.why is not None:
                failed += 1
                click.echo(f"\nNot moved: {move.sha256}: {move.why}", err=True)
            elif move.records:
                moved, size = moved + 1, size + move.size
    click.echo(f"Moved {moved} contents, {size} bytes. {failed} failed.")
