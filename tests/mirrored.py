"""Drives with mirrors, and what their worker does, until there is nothing more to do."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select, update

from simpledrive.models import WantedCopy, now
from simpledrive.parts import Parts


def catch_up(parts: Parts) -> None:
    """Works as a worker does, until nothing is due."""
    while parts.catching_up.work(threading.Event()):
        pass


def waiting(parts: Parts) -> list[WantedCopy]:
    """The copies that mirrors lack, by digest."""
    query = select(WantedCopy).order_by(WantedCopy.sha256, WantedCopy.storage_backend)
    return list(parts.database.read(lambda session: session.scalars(query).all()))


def make_due(parts: Parts) -> None:
    """As if time had passed: what was put off is due, and who has not been heard of for long is given up."""
    due = update(WantedCopy).values(due_at=now(), leased_until=None)
    parts.database.write(lambda session: session.execute(due))
    parts.catching_up._resting.clear()


def _maker(make_app: Callable[..., Flask], folder: Path, database: dict[str, Any]) -> Callable[..., Flask]:
    def make(**settings: Any) -> Flask:
        archive = {"kind": "local", "path": str(folder / "archive")}
        backends = {"archive": archive} | settings.pop("backends", {})
        given = {"mirrors": {"local": ["archive"]}} | settings
        return make_app(**database, backends=backends, **given)

    return make


@pytest.fixture
def make_mirrored(make_app: Callable[..., Flask], tmp_path: Path) -> Callable[..., Flask]:
    """Makes apps on one SQLite and the same places, `archive` a mirror of `local` unless it is said else."""
    return _maker(make_app, tmp_path, {})


@pytest.fixture
def make_any_mirrored(
    make_app: Callable[..., Flask], any_database: dict[str, Any], tmp_path: Path
) -> Callable[..., Flask]:
    """The same on each of the databases that can keep the records."""
    return _maker(make_app, tmp_path, any_database)


@pytest.fixture
def mirrored(make_mirrored: Callable[..., Flask]) -> Parts:
    """The parts of one such app."""
    parts: Parts = make_mirrored().extensions["simpledrive"]
    return parts


@pytest.fixture
def any_mirrored(make_any_mirrored: Callable[..., Flask]) -> Parts:
    """The parts of one on each of these databases."""
    parts: Parts = make_any_mirrored().extensions["simpledrive"]
    return parts
