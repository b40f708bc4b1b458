"""Which backends mirror which, and what follows from it for the copies of some bytes.

Bytes whose home is mirrored shall have a copy at each of its mirrors. Whoever makes a backend the home of
some bytes says so here, in the same transaction; what is missing is written down as wanted, and copied later
(mirroring/). A copy at a mirror is needed as long as a record has these bytes at a home that it mirrors.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence

from sqlalchemy import ColumnElement, delete, exists, select, update
from sqlalchemy.orm import Session

from simpledrive.models import Blob, BlobHistory, Replica, WantedCopy, now
from simpledrive.sql import affected, insert
from simpledrive.usage import count


class Mirrors:
    """`mirrored` has the mirrors of each home that has any; of those `in_sync` an upload waits for them."""

    def __init__(self, mirrored: Mapping[str, Sequence[str]], in_sync: Collection[str] = ()) -> None:
        self._mirrored = {home: tuple(sorted(mirrors)) for home, mirrors in mirrored.items()}
        self._in_sync = frozenset(in_sync)

    @property
    def every(self) -> list[str]:
        """The backends that mirror any."""
        return sorted({mirror for mirrors in self._mirrored.values() for mirror in mirrors})

    def of(self, home: str) -> tuple[str, ...]:
        """The mirrors of a home."""
        return self._mirrored.get(home, ())

    def in_sync_with(self, home: str) -> tuple[str, ...]:
        """Those of them that an upload waits for."""
        return self.of(home) if home in self._in_sync else ()

    def mirrored_at(self, backend: str) -> list[str]:
        """The homes that a backend mirrors."""
        return sorted(home for home, mirrors in self._mirrored.items() if backend in mirrors)

    def places(self, homes: Collection[str]) -> set[str]:
        """Where bytes with these homes shall be."""
        return {*homes, *(mirror for home in homes for mirror in self.of(home))}

    def said(self) -> str:
        """All of it, to be compared with what was said before; "" for none."""
        return json.dumps(self._mirrored, sort_keys=True) if self._mirrored else ""

    def needs(self, session: Session, sha256: str, backend: str) -> bool:
        """Whether a record has these bytes at home there, or at a home that is mirrored there."""
        return is_named(session, sha256, backend, *self.mirrored_at(backend))

    def idle(self, backend: str) -> list[ColumnElement[bool]]:
        """What holds of a replica there that nothing needs: the opposite of `needs`, to look for many."""
        homes = [backend, *self.mirrored_at(backend)]
        return [
            ~exists().where(table.sha256 == Replica.sha256, table.storage_backend.in_(homes))
            for table in (Blob, BlobHistory)
        ]

    def want(self, session: Session, sha256: str, home: str) -> None:
        """This backend is a home of these bytes now, whose replicas the caller has locked if it has mirrors.

        Copies at its mirrors that were about to be let go are kept, and what is missing there is wanted.
        """
        for mirror in self.of(home):
            sound = (
                Replica.sha256 == sha256,
                Replica.storage_backend == mirror,
                Replica.bad_at.is_(None),
            )
            if not affected(session, update(Replica).where(*sound).values(retired_at=None)):
                _want(session, sha256, mirror)


def is_named(session: Session, sha256: str, *homes: str) -> bool:
    """Whether any record has these bytes, at one of these homes if there are any."""
    for table in (Blob, BlobHistory):
        named = exists().where(table.sha256 == sha256)
        if session.scalar(select(named.where(table.storage_backend.in_(homes)) if homes else named)):
            return True
    return False


def want_no_more(session: Session, sha256: str, mirror: str) -> None:
    """The copy is there, or nobody needs it."""
    there = (WantedCopy.sha256 == sha256, WantedCopy.storage_backend == mirror)
    if affected(session, delete(WantedCopy).where(*there)):
        count(session, mirror, waiting=-1)


def _want(session: Session, sha256: str, mirror: str) -> None:
    """Writes it down, or locks what was written down: who lets go of that looks who needs it, first."""
    moment = now()
    values = {"sha256": sha256, "storage_backend": mirror, "since": moment, "due_at": moment}
    there = (WantedCopy.sha256 == sha256, WantedCopy.storage_backend == mirror)
    found = None
    while found is None:
        statement = insert(session, WantedCopy).values(values).on_conflict_do_nothing()
        if session.scalar(statement.returning(WantedCopy.sha256)) is not None:
            count(session, mirror, waiting=1)
            return
        found = session.scalar(select(WantedCopy.sha256).where(*there).with_for_update())
