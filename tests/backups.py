"""Back-ups as the tests write them and bring them back, between drives of their own."""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from flask import Flask
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from simpledrive.backup import Folder, Restored, Written
from simpledrive.drive import NewBlob
from simpledrive.models import Blob, BlobHistory, DriveRow
from simpledrive.moving import Selection
from simpledrive.moving.flow import Flow
from simpledrive.parts import Parts
from simpledrive.rights import SERVER
from simpledrive.storage.base import MARKER
from simpledrive.storage.registry import build
from simpledrive.streams.staging import Incoming
from tests.drives import keep
from tests.postgres import fresh_database
from tests.sources import content, source_of

MakeDrive = Callable[..., Parts]

NAMES = [
    "plain",
    "a/b//c.txt",
    "/lead",
    "/",
    " ",
    "ü/日本.txt",
    "line\u2028here",
    "x" * 1024,
    "a\\b'c\"d",
    "%2F?&",
]
"""Ids that a file system or a line of text would stumble over."""


@pytest.fixture
def make_drive(
    request: pytest.FixtureRequest, make_app: Callable[..., Flask], tmp_path: Path
) -> Iterator[MakeDrive]:
    """Makes empty drives, each with a UUID and a folder of its own, on either database."""
    with ExitStack() as stack:

        def make(name: str, database: str = "sqlite", **settings: object) -> Parts:
            if database == "postgres":
                server, template = (
                    request.getfixturevalue(each) for each in ("postgres_url", "migrated_postgres")
                )
                url = stack.enter_context(fresh_database(server, template))
                settings |= {"is_migrated": True, "database_url": url}
            app = make_app(instance_path=str(tmp_path / name), **settings)
            parts: Parts = app.extensions["simpledrive"]
            own = update(DriveRow).values(uuid=uuid4())
            parts.database.write(lambda session: session.execute(own) and None)
            storage = build("database", parts.settings.backends["database"])
            storage.delete(MARKER)  # of the drive that all databases of the tests are copies of
            storage.close()
            return parts

        yield make


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where back-ups go."""
    return tmp_path / "backup"


def back_up(
    parts: Parts, folder: Path, keep: int | None = None, workers: int = 2, **selected: Any
) -> Written:
    with parts.backups.begin(SERVER, folder, Selection(**selected)) as writing:
        for _ in writing.copied(workers, Flow()):
            pass
        return writing.publish(lambda record: None, keep)


def bring_back(parts: Parts, folder: Path, when: str | None = None, **how: Any) -> list[Restored]:
    """What could not be brought back."""
    opened = Folder(folder)
    restoring = parts.restores.begin(SERVER, opened, opened.run(when), **how)
    return [outcome for outcome in restoring.outcomes(2) if outcome.why]


def check_sums(folder: Path) -> tuple[int, list[str]]:
    """What an outsider's `sha256sum --check` ends with, and what it finds wrong."""
    command = ["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"]
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return ended.returncode, ended.stdout.splitlines()


def put(parts: Parts, id: str, data: bytes, backend: str | None = None) -> None:
    """Stores a blob, in the place of the one that may be there."""
    keep(parts, id, data, backend, lambda current: True)


def fill(parts: Parts, homes: tuple[str, ...] = ("local", "database")) -> None:
    """Everything that a drive may hold of blobs."""
    for number, name in enumerate(NAMES):
        keep(parts, name, content(10 + number % 3), homes[number % len(homes)])
    keep(parts, "empty", b"")
    for home in homes:
        keep(parts, f"same/{home}", content(300_000), home)
        keep(parts, f"pieces/{home}", content(1_500_000, len(home)), home)
    new = NewBlob("described", "naïve \u2028.bin", "text/x-odd; charset=utf-8", {"kéy": "válue", "": "empty"})
    with parts.staging.receive(Incoming(source_of(b"described").open(), 9)) as staged:
        parts.drive.store(SERVER, staged, new)
    for seed in range(3):
        put(parts, "versions", content(1000, seed), homes[seed % len(homes)])
    parts.drive.change(SERVER, "versions", metadata={"changed": "twice"})
    for id in ("deleted", "deleted and again"):
        keep(parts, id, content(50, len(id)))
        parts.drive.delete(SERVER, id)
    keep(parts, "deleted and again", b"anew")


def records(parts: Parts) -> dict[Any, dict[str, Any]]:
    """All that is recorded of blobs and versions, but where their bytes are, by surrogate key."""

    def work(session: Session) -> dict[Any, dict[str, Any]]:
        found = {}
        for table in (Blob, BlobHistory):
            for row in session.scalars(select(table)):
                aside = (row.put_aside_at, row.deleted) if isinstance(row, BlobHistory) else None
                said = row.described() | {"aside": aside}
                del said["storage_backend"]
                found[row.pk] = said
        return found

    return parts.database.read(work)


def homes(parts: Parts) -> dict[str, str]:
    """Where each blob is at home."""
    query = select(Blob.id, Blob.storage_backend)
    return dict(parts.database.read(lambda session: [tuple(row) for row in session.execute(query)]))
