"""flask drive sweep."""

import click
from flask.cli import with_appcontext

from simpledrive.errors import DriveError
from simpledrive.http.current import parts


@click.command("sweep")
@click.option("--orphans", is_flag=True, help="Also list every backend for objects that no record names.")
@click.option("--force", is_flag=True, help="Remove orphans even if they are more than a tenth of a backend.")
@with_appcontext
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
