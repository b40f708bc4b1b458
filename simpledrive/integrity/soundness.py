"""What is known of the bytes at each backend: told from indexes, whatever lies there."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from simpledrive.integrity.due import BAD, UNVERIFIED, VERIFIED
from simpledrive.models import Replica, Verification
from simpledrive.sql import Database


@dataclass(frozen=True)
class Sound:
    """How sound a backend is known to be.

    `bad` replicas are marked bad now. All others were read in full and right, or stored, at `known_since` or
    later (None: there are none). `verified` and `found_bad` count what verifying has found there, ever.
    """

    bad: int
    known_since: datetime | None
    verified: int
    found_bad: int


class Soundness:
    """Tells how sound backends are known to be."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of(self, backends: Iterable[str]) -> dict[str, Sound]:
        names = list(backends)
        return self._database.read(lambda session: {name: _sound(session, name) for name in names})


def _sound(session: Session, backend: str) -> Sound:
    here = Replica.storage_backend == backend
    oldest = [
        session.scalar(select(column).where(here, *conditions).order_by(column).limit(1))
        for column, conditions in ((Replica.created_at, UNVERIFIED), (Replica.verified_at, VERIFIED))
    ]
    bad = session.scalar(select(func.count()).select_from(Replica).where(here, BAD)) or 0
    ever = session.get(Verification, backend)
    return Sound(
        bad,
        min((moment for moment in oldest if moment is not None), default=None),
        ever.verified if ever else 0,
        ever.bad if ever else 0,
    )
