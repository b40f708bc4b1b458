"""flask drive migrations, rollback-migration, finalize-migration, pause-migration, resume-migration."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

import click
from flask.cli import with_appcontext

from simpledrive.cli.progress import told
from simpledrive.cli.running import COULD_NOT_RUN, INTERRUPTED, SOME_FAILED
from simpledrive.errors import DriveError
from simpledrive.http.current import parts
from simpledrive.http.migrations import document, item_document
from simpledrive.logs import moment
from simpledrive.models import Migration
from simpledrive.moving.flow import Flow
from simpledrive.rights import SERVER


@click.command("migrations")
@click.argument("migration_id", metavar="[ID]", required=False)
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="The latest.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document a line.")
@with_appcontext
def migrations(migration_id: str | None, limit: int, as_json: bool) -> None:
    """List migrations, the latest first; of one, also what failed and what stays, with reasons."""
    with _said():
        if migration_id is None:
            found, _ = parts().migrations.page(SERVER, None, limit)
        else:
            found = [parts().migrations.get(SERVER, migration_id)]
        for migration in found:
            if as_json:
                click.echo(json.dumps(document(migration)))
            else:
                click.echo(
                    f"{migration.id}  {moment(migration.created_at)}  {migration.source} to "
                    f"{migration.target}  {migration.state}  {migration.moved} of {migration.items} moved, "
                    f"{migration.moved_bytes} bytes, {migration.failed} failed"
                )
        if migration_id is not None:
            if not as_json:
                _tell_more(found[0])
            for batch in parts().migrations.items(SERVER, migration_id, "failed", "stays"):
                for item in batch:
                    if as_json:
                        click.echo(json.dumps(item_document(item)))
                    else:
                        click.echo(f"  {item.state}  {item.blob_id}  version {item.version}  {item.why}")


def _tell_more(migration: Migration) -> None:
    """What is to be known of one beside the line in the list."""
    selected = ", ".join(f"{name}: {value}" for name, value in migration.selection.items())
    ended = f", ended {moment(migration.ended_at)}" if migration.ended_at else ""
    click.echo(f"  asked for by {migration.created_by_name}{ended}; selected: {selected}")
    if migration.why:
        click.echo(f"  waits: {migration.why}")


@click.command("rollback-migration")
@click.argument("migration_id", metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="One JSON document a line.")
@with_appcontext
def rollback_migration(migration_id: str, as_json: bool) -> None:
    """Switch everything that the migration has moved back to its source, without copying a byte.

    Exit code 0: all went back; 1: some could not, each with its reason; 2: could not run.
    """
    with _said():
        work = parts().migration_work
        migration = parts().migrations.roll_back(SERVER, migration_id, exclusive=True)
        with work.exclusively(migration), told(migration, as_json) as tell:
            for outcome in work.go_back(migration, Flow()):
                tell.outcome(outcome)
            migration = parts().migrations.get(SERVER, migration_id)
            tell.end(migration)
    if migration.stays:
        raise SystemExit(SOME_FAILED)


@click.command("finalize-migration")
@click.argument("migration_id", metavar="ID")
@click.option("--yes", is_flag=True, help="Do not ask.")
@with_appcontext
def finalize_migration(migration_id: str, yes: bool) -> None:
    """Give up what is kept at the source to go back to; the next sweep removes it."""
    with _said():
        migration = parts().migrations.get(SERVER, migration_id)
        question = (
            f"{migration.moved} records, {migration.moved_bytes} bytes, could not go back to "
            f"{migration.source} without copying any more. Go on?"
        )
        if not yes and not click.confirm(question):
            raise SystemExit(SOME_FAILED)
        migration = parts().migrations.finalize(SERVER, migration_id, exclusive=True)
        with parts().migration_work.exclusively(migration):
            parts().migration_work.let_go(migration, Flow())
    click.echo(f"What is kept at {migration.source} is swept after the usual grace.")


@click.command("pause-migration")
@click.argument("migration_id", metavar="ID")
@with_appcontext
def pause_migration(migration_id: str) -> None:
    """Let no worker take up anything more of it."""
    with _said():
        parts().migrations.pause(SERVER, migration_id)


@click.command("resume-migration")
@click.argument("migration_id", metavar="ID")
@with_appcontext
def resume_migration(migration_id: str) -> None:
    """Let workers go on with it. `migrate-backend` with the same options goes on by itself."""
    with _said():
        parts().migrations.resume(SERVER, migration_id)


@contextmanager
def _said() -> Iterator[None]:
    """Errors as sentences on the terminal."""
    try:
        yield
    except DriveError as error:
        click.echo(f"Could not run: {error}", err=True)
        raise SystemExit(COULD_NOT_RUN) from error
    except KeyboardInterrupt:
        click.echo("Interrupted. The same command goes on.", err=True)
        raise SystemExit(INTERRUPTED) from None
