"""A bad replica, written again from one whose bytes are right. Never the other way round."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from sqlalchemy import select
from sqlalchemy.orm import Session, undefer

from simpledrive.errors import DriveError, IntegrityFault, StorageError
from simpledrive.integrity.checking import Verdict
from simpledrive.integrity.recording import note_bad
from simpledrive.models import Replica
from simpledrive.moving.copying import Copies, Copy
from simpledrive.moving.flow import Flow
from simpledrive.moving.switching import record
from simpledrive.replicas import ReplicaGone, Replicas, lock
from simpledrive.sql import Database


class NotRepaired(DriveError):
    """It is as bad as before; the message says why."""


class Repairs:
    """Marks replicas bad, and repairs them."""

    def __init__(self, database: Database, replicas: Replicas, copies: Copies) -> None:
        self._database, self._replicas, self._copies = database, replicas, copies

    def settle(self, verdict: Verdict, flow: Flow, *, repair: bool) -> Verdict:
        """Records that a replica is wrong or missing, and repairs it if asked to; the verdict after that.

        Raises Stopped.
        """
        replica = verdict.replica
        if not self._database.write(lambda session: note_bad(session, replica)):
            return replace(verdict, state="gone", why="")
        if not repair:
            return verdict
        try:
            if not self.repair(replica, flow):
                return replace(verdict, state="gone", why="")
        except NotRepaired as error:
            return replace(verdict, why=f"{verdict.why} Not repaired: {error}.")
        return replace(verdict, state="repaired")

    def repair(self, bad: Replica, flow: Flow) -> bool:
        """Puts right bytes in place of bad ones; False if others have swept or replaced these meanwhile.

        The bytes come from another replica, are read back in full at their fresh key, and are swapped in by
        one transaction. Then the bad object is removed (Replicas.settled). Raises NotRepaired: then nothing
        has changed, and no object was removed. Raises Stopped.
        """
        reasons = []
        for source in self._database.read(partial(_others, bad)):
            try:
                known = self._replicas.find(bad.sha256, bad.storage_backend)
                copy = self._copies.make(source, bad.storage_backend, known, flow)
            except ReplicaGone:
                continue
            except (IntegrityFault, StorageError) as error:
                reasons.append(str(error))
                continue
            return self._swapped(bad, copy)
        if not self._database.read(partial(_is_bad, bad)):
            return False
        raise NotRepaired("; ".join(reasons) or "there is no other copy")

    def _swapped(self, bad: Replica, copy: Copy) -> bool:
        with self._replicas.settled(copy.provided):
            swapped = self._database.write(partial(self._swap, bad, copy))
        if swapped is None:
            raise NotRepaired("the copy took so long that a sweep may take it for lost")
        return swapped

    def _swap(self, bad: Replica, copy: Copy, session: Session) -> bool | None:
        """Whether the copy is in place of the bad one; None if it is too old to be. May run twice."""
        provided = copy.provided
        provided.used = None
        rows = {row.storage_backend: row for row in lock(session, [bad.sha256])}
        there = rows.get(bad.storage_backend)
        if there is not None and there.storage_key == provided.key:
            provided.used = provided.key
            return True
        if there is None or there.bad_at is None or there.storage_key != bad.storage_key:
            return False
        # What nothing needs any more is swept when its time has come, repaired or not.
        retired_at = there.retired_at
        if not record(session, self._replicas, [copy]):
            return None
        there.retired_at = retired_at
        return True


def _others(bad: Replica, session: Session) -> list[Replica]:
    """The other replicas of the same bytes, those marked bad last: they may be right after all."""
    query = select(Replica).where(
        Replica.sha256 == bad.sha256, Replica.storage_backend != bad.storage_backend
    )
    in_order = query.order_by(Replica.bad_at.is_not(None), Replica.storage_backend)
    return list(session.scalars(in_order.options(undefer(Replica.pieces))))


def _is_bad(bad: Replica, session: Session) -> bool:
    found = session.get(Replica, (bad.sha256, bad.storage_backend))
    return found is not None and found.bad_at is not None and found.storage_key == bad.storage_key
