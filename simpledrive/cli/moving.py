"""flask drive migrate-backend."""

import click
from flask.cli import with_appcontext

from simpledrive.errors import DriveError
from simpledrive.http.current import parts


@click.command("migrate-backend")
@click.argument("source")
@click.argument("target")
@click.option("--dry-run", is_flag=True, help="Say what would move, and move nothing.")
@with_appcontext
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
