"""Requests that may be sent again: what the first one stored is the answer to the second.

The caller names a request by an Idempotency-Key. Key, fingerprint and the record as it was are written in the
transaction that stores the blob: so there is no moment at which one counts and the other does not, whatever
dies in between. What was refused is not remembered: nothing happened, and the caller may try again.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from simpledrive.errors import KeyReused
from simpledrive.models import Blob, Replay, now
from simpledrive.sql import affected, insert

REMEMBERED = timedelta(days=1)
"""How long a request can be sent again."""

_MOMENTS = ("created_at", "updated_at")


@dataclass(frozen=True)
class Once:
    """One request of one caller: `mark` stands for caller, route and key, `fingerprint` for its content."""

    mark: str
    fingerprint: str

    @staticmethod
    def known(session: Session, mark: str) -> bool:
        """Whether a request with this mark has stored something before."""
        found = select(Replay.mark).where(Replay.mark == mark, Replay.created_at > now() - REMEMBERED)
        return session.scalar(found) is not None

    def look(self, session: Session) -> Blob | None:
        """What the same request stored before; None if it is the first. Raises KeyReused."""
        found = select(Replay).where(Replay.mark == self.mark, Replay.created_at > now() - REMEMBERED)
        replay = session.scalars(found).one_or_none()
        return None if replay is None else self._answer(replay)

    def claim(self, session: Session) -> Blob | None:
        """As `look`, but whoever comes second at the same time waits here for the first one's outcome."""
        session.execute(
            delete(Replay).where(Replay.mark == self.mark, Replay.created_at <= now() - REMEMBERED)
        )
        row = {"mark": self.mark, "fingerprint": self.fingerprint, "record": {}, "created_at": now()}
        statement = insert(session, Replay).values(row).on_conflict_do_nothing()
        if session.scalar(statement.returning(Replay.mark)) is not None:
            return None
        return self._answer(session.scalars(select(Replay).where(Replay.mark == self.mark)).one())

    def keep(self, session: Session, blob: Blob) -> None:
        """Remembers what was stored."""
        session.flush()
        record: dict[str, Any] = {"pk": str(blob.pk), **blob.described()}
        record |= {name: record[name].isoformat() for name in _MOMENTS}
        session.execute(update(Replay).where(Replay.mark == self.mark).values(record=record))

    def _answer(self, replay: Replay) -> Blob:
        if replay.fingerprint != self.fingerprint:
            raise KeyReused("This Idempotency-Key was used before, for another request.")
        moments = {name: datetime.fromisoformat(replay.record[name]) for name in _MOMENTS}
        return Blob(**replay.record | moments | {"pk": UUID(replay.record["pk"])})


def fingerprint(*asked: object) -> str:
    """One text for everything that was asked."""
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode(errors="surrogatepass")).hexdigest()


def expire(session: Session) -> int:
    """Forgets what can no longer be sent again; returns how many."""
    return affected(session, delete(Replay).where(Replay.created_at <= now() - REMEMBERED))
