"""What commands that take long share: their exit codes, how they end, and some options."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import click

from simpledrive.errors import DriveError

SOME_FAILED, COULD_NOT_RUN, INTERRUPTED = 1, 2, 130
"""Exit codes. A command with others says so in its help."""

WORKERS = click.option("--workers", type=click.IntRange(1, 64), default=4, show_default=True, help="Threads.")
JSON = click.option("--json", "as_json", is_flag=True, help="One JSON document a line.")


@contextmanager
def ending(interrupted: str) -> Iterator[None]:
    """Errors as sentences on the terminal, and what holds after Ctrl-C, each with its exit code."""
    try:
        yield
    except DriveError as error:
        click.echo(f"Could not run: {error}", err=True)
        raise SystemExit(COULD_NOT_RUN) from error
    except KeyboardInterrupt:
        click.echo(f"Interrupted. {interrupted}", err=True)
        raise SystemExit(INTERRUPTED) from None
