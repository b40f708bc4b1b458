"""flask drive config: the settings in force, and what is unsafe about them."""

import click
from flask.cli import with_appcontext

from simpledrive.config import effective, unsafe
from simpledrive.http.current import parts


@click.group("config", invoke_without_command=True)
@click.pass_context
@with_appcontext
def config(context: click.Context) -> None:
    """Print the effective settings, secrets hidden."""
    if context.invoked_subcommand is not None:
        return
    rows = effective(parts().settings)
    width = max(len(row.name) for row in rows)
    for row in rows:
        click.echo(f"{row.name:<{width}}  {row.value}  ({row.source})")


@config.command("check")
@with_appcontext
def check() -> None:
    """Say what is unsafe about the settings, and what to do. Exit code 1 if anything is; warnings are 0."""
    findings = unsafe(parts().settings)
    for finding in findings:
        click.echo(str(finding))
    if not all(finding.is_warning for finding in findings):
        raise SystemExit(1)
    if not findings:
        click.echo("Nothing unsafe was found.")
