"""How a migration goes, told as it goes: a bar on a terminal, lines elsewhere, JSON for programs."""

from __future__ import annotations

import json
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from simpledrive.http.migrations import document
from simpledrive.models import Migration
from simpledrive.moving import Outcome

LINE_SECONDS = 10.0
"""Between the lines that tell how far it is."""


class Teller(ABC):
    """Is told what becomes of each content, and counts records and their bytes.

    `bytes` are those that are settled now, moved or not; a content's bytes count once for each record, as
    everywhere in a migration.
    """

    def __init__(self, migration: Migration) -> None:
        self._of = migration
        self.settled = migration.items - migration.pending
        self.bytes = self.failed = self.moved = 0

    def outcome(self, outcome: Outcome) -> None:
        self.settled += outcome.records
        self.bytes += outcome.records * outcome.size
        if outcome.state == "failed":
            self.failed += outcome.records
        if outcome.state in ("moved", "back"):
            self.moved += outcome.records
        self.tell(outcome)

    @abstractmethod
    def tell(self, outcome: Outcome) -> None:
        """One content is settled."""

    @abstractmethod
    def end(self, migration: Migration) -> None:
        """The run has ended, and this is how the migration is now."""


@contextmanager
def told(migration: Migration, as_json: bool) -> Iterator[Teller]:
    """What is to be told of a run, in the form that suits whoever reads it."""
    if as_json:
        yield _Json(migration)
    elif sys.stderr.isatty():
        with Progress(
            TextColumn("{task.fields[settled]} of {task.fields[items]} records"),
            BarColumn(),
            DownloadColumn(binary_units=True),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[failures]}"),
            console=Console(stderr=True),
        ) as progress:
            yield _Bar(migration, progress)
    else:
        yield _Lines(migration)


class _Bar(Teller):
    def __init__(self, migration: Migration, progress: Progress) -> None:
        super().__init__(migration)
        self._progress = progress
        left = migration.bytes - migration.moved_bytes
        self._task: TaskID = progress.add_task(
            "", total=left, settled=self.settled, items=migration.items, failures=""
        )

    def tell(self, outcome: Outcome) -> None:
        failures = f"{self.failed} failed" if self.failed else ""
        self._progress.update(self._task, completed=self.bytes, settled=self.settled, failures=failures)
        if outcome.state in ("failed", "stays"):
            self._progress.console.print(_sentence(outcome), markup=False, highlight=False)

    def end(self, migration: Migration) -> None:
        self._progress.stop()
        click.echo(_summary(migration))


class _Lines(Teller):
    def __init__(self, migration: Migration) -> None:
        super().__init__(migration)
        self._began = self._told_at = time.monotonic()

    def tell(self, outcome: Outcome) -> None:
        if outcome.state in ("failed", "stays"):
            click.echo(_sentence(outcome), err=True)
        if time.monotonic() - self._told_at >= LINE_SECONDS:
            self._told_at = time.monotonic()
            rate = self.bytes / (self._told_at - self._began) / 2**20
            click.echo(f"{self.settled} of {self._of.items} records, {rate:.1f} MiB/s, {self.failed} failed")

    def end(self, migration: Migration) -> None:
        click.echo(_summary(migration))


class _Json(Teller):
    def tell(self, outcome: Outcome) -> None:
        said = {"sha256": outcome.sha256, "size": outcome.size, "state": outcome.state}
        click.echo(json.dumps(said | {"records": outcome.records, "why": outcome.why}))

    def end(self, migration: Migration) -> None:
        click.echo(json.dumps({"migration": document(migration)}))


def _sentence(outcome: Outcome) -> str:
    what = "Stays" if outcome.state == "stays" else "Not moved"
    return f"{what}: {outcome.sha256} ({outcome.records} records): {outcome.why}"


def _summary(migration: Migration) -> str:
    parts = [f"{migration.moved} of {migration.items} records moved, {migration.moved_bytes} bytes"]
    if migration.back or migration.stays:
        parts = [f"{migration.back} records went back, {migration.stays} stay at {migration.target}"]
    if migration.failed:
        parts.append(f"{migration.failed} failed")
    if migration.gone:
        parts.append(f"{migration.gone} were deleted or moved by others meanwhile")
    if migration.pending:
        parts.append(f"{migration.pending} are left, the same command goes on")
    return f"Migration {migration.id}: {'; '.join(parts)}."
