"""The options by which a command selects records: the same ones for each that does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from simpledrive.cli.values import COUNT, MediaType, Size
from simpledrive.moving import Selection

F = TypeVar("F", bound=Callable[..., Any])

OPTIONS = (
    click.option("--prefix", default="", help="Only ids that begin like this."),
    click.option("--id", "ids", multiple=True, help="Only this id; may be said several times."),
    click.option("--older-than", help="Only what was stored before: 30d, 12h, 2026-11-20."),
    click.option("--newer-than", help="Only what was stored since."),
    click.option("--min-size", type=Size(), help="Only what is at least so large: 64KiB, 20M."),
    click.option("--max-size", type=Size(), help="Only what is at most so large."),
    click.option("--content-type", type=MediaType(), help="Only this media type, or image/ for all images."),
    click.option("--limit", type=COUNT, help="At most so many records."),
    click.option("--current-only", is_flag=True, help="Leave out earlier versions and the trash."),
)


def selecting(command: F) -> F:
    """Gives a command these options. What they are given as is for `selection`."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


def selection(current_only: bool, **selected: Any) -> Selection:
    """What the options select. Raises Invalid."""
    return Selection(**selected, versions=not current_only)
