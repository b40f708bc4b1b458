"""What commands that take long share: their exit codes, how they end, and some options."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

import click

from simpledrive.errors import DriveError
from simpledrive.moving.flow import Flow, Stopped

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


@contextmanager
def interruptible(flow: Flow) -> Iterator[None]:
    """Ctrl-C stops the flow, and is raised when the block has ended in order; a second one is raised at once.

    Raised anywhere it would come in the middle of a transaction, or between taking a lock and noting that.
    """
    said = []

    def stop(number: int, _: object) -> None:
        said.append(number)
        signal.signal(signal.SIGINT, before)
        flow.stop()

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield
    except Stopped:
        if said:
            raise KeyboardInterrupt from None
        raise
    finally:
        signal.signal(signal.SIGINT, before)
