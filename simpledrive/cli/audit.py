"""flask drive audit: who did what, when, from where."""

import json
from collections.abc import Iterator
from typing import get_args

import click
from flask.cli import with_appcontext
from sqlalchemy.exc import DBAPIError

from simpledrive.audit import Action
from simpledrive.errors import DriveError
from simpledrive.http.current import parts
from simpledrive.logs import moment, printable
from simpledrive.models import AuditEntry
from simpledrive.rights import SERVER

PAGE = 1000


@click.command("audit")
@click.option("--action", type=click.Choice(get_args(Action)), help="Only what was done in this way.")
@click.option("--key", "key_id", help="Only what the key with this id did.")
@click.option("--prefix", default="", help="Only what was done to ids that begin like this.")
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True, help="So many at most.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document a line.")
@with_appcontext
def audit(action: str | None, key_id: str | None, prefix: str, limit: int, as_json: bool) -> None:
    """Print the audit log, the latest entry first."""
    try:
        for entry in _latest(limit, action, key_id, prefix):
            click.echo(json.dumps(_document(entry)) if as_json else _line(entry))
    except DBAPIError as error:
        raise click.ClickException(
            "The database has no audit log that can be read: run `flask db upgrade`."
        ) from error
    except DriveError as error:
        raise click.ClickException(str(error)) from error


def _latest(limit: int, action: str | None, key_id: str | None, prefix: str) -> Iterator[AuditEntry]:
    cursor = None
    while limit:
        page = parts().audit.page(
            SERVER,
            action=action,
            key_id=key_id,
            target_prefix=prefix,
            cursor=cursor,
            limit=min(limit, PAGE),
        )
        yield from page.entries
        limit -= len(page.entries)
        cursor = page.next
        if cursor is None:
            return


def _document(entry: AuditEntry) -> dict[str, object]:
    return {
        "time": moment(entry.at),
        "action": entry.action,
        "target": entry.target,
        "key": entry.key_name,
        "key_id": entry.key_id,
        "address": entry.address,
        "request_id": entry.request_id,
        "details": entry.details,
    }


def _line(entry: AuditEntry) -> str:
    by = f"{entry.key_name} ({entry.key_id})"
    details = " ".join(f"{name}={value}" for name, value in entry.details.items())
    what = f"{moment(entry.at)}  {entry.action}  {entry.target or '-'}"
    return printable(f"{what}  by {by} from {entry.address or '-'}  {details}".rstrip())
