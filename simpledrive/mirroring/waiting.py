"""The list of copies that mirrors want: which worker is at work on which, and what became of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from simpledrive.leasing import Lease
from simpledrive.mirrors import Mirrors, want_no_more
from simpledrive.models import WantedCopy, now
from simpledrive.replicas import lock
from simpledrive.sql import Database

LONGEST_PAUSE = 300
"""Seconds after which a copy that keeps failing is tried again at the latest."""


@dataclass(frozen=True, order=True)
class Wanted:
    """Bytes that a mirror is to have."""

    sha256: str
    mirror: str


class Waiting(Lease):
    """What one worker has leased of the list."""

    def __init__(self, database: Database, mirrors: Mirrors) -> None:
        super().__init__(database, WantedCopy)
        self._mirrors = mirrors

    def take(self, most: int, mirrors: Collection[str]) -> list[Wanted]:
        """Up to so many that are due and that nobody is at work on; one of each of these mirrors, or more."""
        each = max(1, most // max(1, len(mirrors)))
        found = self._database.read(partial(self._due, each=each, mirrors=sorted(mirrors)))
        return self._database.write(partial(self._take, found=found)) if found else []

    def _due(self, session: Session, *, each: int, mirrors: Collection[str]) -> dict[str, list[str]]:
        found = {}
        for mirror in mirrors:
            due = (WantedCopy.storage_backend == mirror, WantedCopy.due_at <= now(), *self.is_free)
            query = select(WantedCopy.sha256).where(*due).order_by(WantedCopy.due_at).limit(each)
            if digests := list(session.scalars(query)):
                found[mirror] = digests
        return found

    def _take(self, session: Session, *, found: Mapping[str, Sequence[str]]) -> list[Wanted]:
        taken: list[Wanted] = []
        for mirror, digests in sorted(found.items()):
            there = (WantedCopy.sha256.in_(digests), WantedCopy.storage_backend == mirror)
            take = update(WantedCopy).where(*there, *self.is_free).values(self.taken())
            # Others may have been faster with some of them.
            mine = session.scalars(take.returning(WantedCopy.sha256), execution_options=UNSYNCHRONIZED)
            taken += [Wanted(sha256, mirror) for sha256 in mine]
        return taken

    def put_off(self, wanted: Wanted, why: str) -> None:
        """It failed, and is tried again, each time after twice as long; unless nobody needs it by now."""
        self._database.write(partial(self._put_off, wanted=wanted, why=why))

    def _put_off(self, session: Session, *, wanted: Wanted, why: str) -> None:
        if not self.is_needed(session, wanted):
            want_no_more(session, wanted.sha256, wanted.mirror)
            return
        row = session.get(WantedCopy, (wanted.sha256, wanted.mirror), with_for_update=True)
        if row is None or row.leased != self.worker:
            return
        row.attempts, row.why, row.leased_until = row.attempts + 1, why, None
        row.due_at = now() + timedelta(seconds=min(2**row.attempts, LONGEST_PAUSE))

    def is_needed(self, session: Session, wanted: Wanted) -> bool:
        """Whether anybody needs it still. Nobody comes to, or stops, until the transaction ends."""
        lock(session, [wanted.sha256])
        there = (WantedCopy.sha256 == wanted.sha256, WantedCopy.storage_backend == wanted.mirror)
        session.execute(select(WantedCopy.sha256).where(*there).with_for_update())
        return self._mirrors.needs(session, wanted.sha256, wanted.mirror)


UNSYNCHRONIZED = {"synchronize_session": False}
