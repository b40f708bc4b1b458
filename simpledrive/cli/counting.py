"""How far some long work is: a bar on a terminal, a line now and then elsewhere, nothing for programs."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from simpledrive.cli.progress import LINE_SECONDS

Count = Callable[[int], None]
"""Told of how many more are done."""


@contextmanager
def counting(total: int, what: str, as_json: bool) -> Iterator[Count]:
    """Tells how many of `total` are done. `what` they are is a noun."""
    if as_json:
        yield lambda _: None
    elif sys.stderr.isatty():
        with Progress(
            TextColumn("{task.completed:,.0f} of {task.total:,.0f} {task.description}"),
            BarColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        ) as progress:
            task = progress.add_task(what, total=total)
            yield lambda more: progress.advance(task, more)
    else:
        yield _Lines(total, what)


class _Lines:
    def __init__(self, total: int, what: str) -> None:
        self._total, self._what = total, what
        self._done, self._told_at = 0, time.monotonic()

    def __call__(self, more: int) -> None:
        self._done += more
        if time.monotonic() - self._told_at >= LINE_SECONDS:
            self._told_at = time.monotonic()
            click.echo(f"{self._done} of {self._total} {self._what}")
