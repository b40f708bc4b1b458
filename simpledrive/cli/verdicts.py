"""How verifying goes, told as it goes: a bar on a terminal, lines elsewhere, JSON for programs."""

from __future__ import annotations

import json
import sys
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from simpledrive.cli.progress import LINE_SECONDS
from simpledrive.integrity.checking import State, Verdict

QUIET: frozenset[State] = frozenset({"right", "gone"})
"""What nobody needs to be told of one copy."""


@dataclass
class Read:
    """What came of one backend: how many copies are in which state, and why it could not be read, if so."""

    backend: str
    states: Counter[State] = field(default_factory=Counter)
    bytes: int = 0
    failure: str = ""

    @property
    def copies(self) -> int:
        return self.states.total() - self.states["gone"]

    @property
    def bad(self) -> int:
        return self.states["wrong"] + self.states["missing"]


class Teller(ABC):
    """Is told each verdict, and counts."""

    def __init__(self, read: Read) -> None:
        self.read = read

    def verdict(self, verdict: Verdict) -> None:
        self.read.states[verdict.state] += 1
        self.read.bytes += verdict.replica.size
        self.tell(verdict)

    @abstractmethod
    def tell(self, verdict: Verdict) -> None:
        """One more was read."""

    @abstractmethod
    def end(self) -> None:
        """It is over."""


@contextmanager
def told(read: Read, size: Callable[[], int | None], as_json: bool) -> Iterator[Teller]:
    """What is to be told of one backend, in the form that suits whoever reads it.

    `size` is asked for a bar only: how many bytes there are to read, if that is known.
    """
    if as_json:
        yield _Json(read)
    elif sys.stderr.isatty():
        with Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(binary_units=True),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[bad]}"),
            console=Console(stderr=True),
        ) as progress:
            yield _Bar(read, size(), progress)
    else:
        yield _Lines(read)


class _Bar(Teller):
    def __init__(self, read: Read, size: int | None, progress: Progress) -> None:
        super().__init__(read)
        self._progress = progress
        self._task = progress.add_task(read.backend, total=size, bad="")

    def tell(self, verdict: Verdict) -> None:
        bad = f"{self.read.bad} bad" if self.read.bad else ""
        self._progress.update(self._task, completed=self.read.bytes, bad=bad)
        if verdict.state not in QUIET:
            self._progress.console.print(_sentence(verdict), markup=False, highlight=False)

    def end(self) -> None:
        self._progress.stop()
        _say_summary(self.read)


class _Lines(Teller):
    def __init__(self, read: Read) -> None:
        super().__init__(read)
        self._began = self._told_at = time.monotonic()

    def tell(self, verdict: Verdict) -> None:
        if verdict.state not in QUIET:
            click.echo(_sentence(verdict), err=True)
        if time.monotonic() - self._told_at >= LINE_SECONDS:
            self._told_at = time.monotonic()
            rate = self.read.bytes / (self._told_at - self._began) / 2**20
            click.echo(f"{self.read.backend}: {self.read.copies} copies read, {rate:.1f} MiB/s")

    def end(self) -> None:
        _say_summary(self.read)


class _Json(Teller):
    def tell(self, verdict: Verdict) -> None:
        if verdict.state not in QUIET:
            replica = verdict.replica
            said = {"backend": replica.storage_backend, "sha256": replica.sha256, "size": replica.size}
            click.echo(json.dumps(said | {"state": verdict.state, "why": verdict.why}))

    def end(self) -> None:
        read = self.read
        said: dict[str, object] = {"backend": read.backend, "copies": read.copies, "bytes": read.bytes}
        states = {state: read.states[state] for state in STATES}
        click.echo(json.dumps({"verified": said | states | {"failure": read.failure or None}}))


STATES: tuple[State, ...] = ("right", "repaired", "wrong", "missing", "unread")


def _sentence(verdict: Verdict) -> str:
    replica = verdict.replica
    return f"{replica.storage_backend}: {verdict.state}: {replica.sha256}: {verdict.why}"


def _say_summary(read: Read) -> None:
    counted = (f"{read.states[state]} {state}" for state in STATES if read.states[state] or state == "right")
    click.echo(f"{read.backend}: {read.copies} copies of {read.bytes} bytes: {', '.join(counted)}.")
    if read.failure:
        click.echo(f"{read.backend} cannot be read: {read.failure}", err=True)
