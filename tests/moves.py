"""Migrations as the tests run them: begun, worked at, told."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest

from simpledrive.models import Migration
from simpledrive.moving import Outcome, Selection
from simpledrive.moving.copying import Copies
from simpledrive.moving.flow import Flow
from simpledrive.moving.planning import Plan
from simpledrive.parts import Parts
from simpledrive.rights import SERVER


def plan(parts: Parts, source: str = "local", target: str = "database", **selected: Any) -> Plan:
    return parts.migrations.plan(SERVER, source, target, Selection(**selected))


def begin(
    parts: Parts,
    source: str = "local",
    target: str = "database",
    *,
    grace: timedelta = timedelta(),
    plan: str | None = None,
    **selected: Any,
) -> Migration:
    """One that is planned. Nothing is kept at the source for longer than usual, unless `grace` says so."""
    begun = parts.migrations.begin(SERVER, source, target, Selection(**selected), grace=grace, plan=plan)
    return parts.migration_work.plan(begun, Flow())


def run(parts: Parts, migration: Migration, workers: int = 2) -> Iterator[Outcome]:
    return parts.migration_work.move(migration, workers, Flow())


def move(
    parts: Parts, source: str = "local", target: str = "database", **selected: Any
) -> dict[str, Outcome]:
    """Runs a migration to its end; what became of each content."""
    return {told.sha256: told for told in run(parts, begin(parts, source, target, **selected))}


def roll_back(parts: Parts, id: str) -> list[Outcome]:
    return list(parts.migration_work.go_back(parts.migrations.roll_back(SERVER, id), Flow()))


def states(parts: Parts, migration: Migration) -> dict[str, int]:
    """How many items are in each state, by the counters."""
    found = parts.migrations.get(SERVER, migration.id)
    names = ("pending", "moved", "failed", "gone", "back", "stays")
    return {name: getattr(found, name) for name in names if getattr(found, name)}


@contextmanager
def after_reading_back(monkeypatch: pytest.MonkeyPatch, step: Any) -> Iterator[None]:
    """Has `step(copied)` run in the thread that has just read a copy back, before it is switched to."""
    read_back = Copies._read_back

    def then(self: Copies, provided: Any, flow: Flow) -> None:
        read_back(self, provided, flow)
        step(provided)

    with monkeypatch.context() as patch:
        patch.setattr(Copies, "_read_back", then)
        yield
