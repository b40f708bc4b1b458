"""flask drive keys: API keys, made, listed and revoked at the drive's side."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

import click
from flask.cli import with_appcontext
from sqlalchemy.exc import DBAPIError

from simpledrive.cli.values import End, Size
from simpledrive.errors import DriveError, Invalid
from simpledrive.http.current import parts
from simpledrive.keys import NewKey, described
from simpledrive.logs import moment, printable
from simpledrive.models import ApiKey
from simpledrive.rights import SCOPES, SERVER


@click.group("keys")
def keys() -> None:
    """Make, list and revoke API keys."""


@keys.command("create")
@click.argument("name")
@click.option("--scope", "scopes", multiple=True, type=click.Choice(SCOPES), help="What it may; all if none.")
@click.option("--prefix", help="The only ids that it sees begin like this.")
@click.option("--backend", "backends", multiple=True, help="Where it may place bytes; everywhere if none.")
@click.option("--max-bytes", type=Size(), help="Its largest upload: 20M, 1GiB.")
@click.option("--quota", type=Size(), help="All that it may store together: 10G.")
@click.option("--expires", type=End(), help="When it ends: 2027-01-31, or 30d.")
@click.option("--description", default="", help="What it is for.")
@click.option("--quiet", is_flag=True, help="Print the key alone.")
@with_appcontext
def create(
    name: str,
    scopes: tuple[str, ...],
    prefix: str | None,
    backends: tuple[str, ...],
    max_bytes: int | None,
    quota: int | None,
    expires: datetime | None,
    description: str,
    quiet: bool,
) -> None:
    """Make a key called NAME and print it, this once: the drive keeps only its hash."""
    new = NewKey(
        name,
        description,
        scopes or None,
        prefix,
        backends or None,
        max_bytes,
        quota,
        expires,
    )
    with _said():
        made, credential = parts().keys.issue(SERVER, new)
    if not quiet:
        click.echo(f"The key {printable(made.name)} ({made.id}) is shown this once:", err=True)
    click.echo(credential)


@keys.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON document a line.")
@with_appcontext
def every(as_json: bool) -> None:
    """Print all keys, oldest first, revoked ones too. API_TOKEN is not among them."""
    with _said():
        found = parts().keys.all(SERVER)
    if as_json:
        for key in found:
            click.echo(json.dumps(described(key), default=moment))
    elif found:
        rows = [("ID", "NAME", "MAY", "ONLY BELOW", "LAST USED", "ENDS"), *map(_row, found)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
            click.echo("  ".join(cells).rstrip())
    else:
        click.echo("No keys were made. API_TOKEN is the only one.", err=True)


@keys.command("revoke")
@click.argument("key_id", metavar="ID")
@with_appcontext
def revoke(key_id: str) -> None:
    """Revoke the key with this ID, and every session that began with it."""
    with _said():
        before = parts().keys.get(SERVER, key_id).revoked_at
        key = parts().keys.revoke(SERVER, key_id)
    name = printable(key.name)
    if before is not None:
        click.echo(f"The key {name} was revoked already, on {moment(before)}.")
    else:
        click.echo(f"The key {name} is revoked: from now on it lets nobody in. What it stored stays.")


@contextmanager
def _said() -> Iterator[None]:
    """Errors as sentences on the terminal, and exit code 1."""
    try:
        yield
    except Invalid as error:
        raise click.ClickException(" ".join(f"{field}: {why}" for field, why in error.problems)) from error
    except DriveError as error:
        raise click.ClickException(str(error)) from error
    except DBAPIError as error:
        why = "The database has no keys that can be read: run `flask db upgrade`."
        raise click.ClickException(why) from error


def _row(key: ApiKey) -> tuple[str, ...]:
    ends = "revoked" if key.revoked_at else moment(key.expires_at) if key.expires_at else "never"
    used = moment(key.last_used_at) if key.last_used_at else "never"
    below = printable(key.prefix) or "everything"
    return key.id, printable(key.name), ",".join(key.scopes), below, used, ends
