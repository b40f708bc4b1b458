"""How much a key may still store: reserved when an upload begins, charged when it is recorded.

What counts is everything that a key made and that is kept, earlier versions and the trash too: each row of
blob and history that names it as owner. Keys without a quota are not counted at all, so that they do not
wait for one another.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from uuid import UUID

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from simpledrive.errors import DriveError, NotSignedIn, QuotaExceeded, TooLarge
from simpledrive.ids import uuid7
from simpledrive.models import ApiKey, Reservation, now
from simpledrive.rights import Caller
from simpledrive.sql import Database, affected, lastly

log = logging.getLogger(__name__)

LIFETIME = timedelta(days=1)
"""How long a reservation holds that nobody ended: its process died, or its database was away."""


class Quotas:
    """Reserves room for uploads. Of callers without a quota it asks nothing."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def left(self, caller: Caller) -> int | None:
        """Bytes that the caller may still begin to store; None for no limit."""
        if caller.quota_bytes is None:
            return None
        return self._database.read(lambda session: _left(session, caller))

    @contextmanager
    def reserved(self, caller: Caller, size: int | None) -> Iterator[UUID | None]:
        """Holds `size` bytes of the caller's quota for the block. Raises QuotaExceeded, TooLarge.

        A size that is not known yet (None) reserves nothing; `charge` has the last word in any case.
        """
        if caller.quota_bytes is None or size is None:
            yield None
            return
        if size > caller.quota_bytes:
            raise refusal(caller, caller.quota_bytes)
        mark = uuid7()
        self._database.write(lambda session: _reserve(session, caller, mark, size))
        try:
            yield mark
        finally:
            self._end(mark)

    def _end(self, mark: UUID) -> None:
        try:
            self._database.write(lambda session: _delete(session, mark))
        except DriveError as error:
            log.warning("a reservation stays until it expires: %s", error)


def refusal(caller: Caller, left: int) -> TooLarge | QuotaExceeded:
    """Why more than what is left of a quota is not stored: it never fits, or not beside what there is."""
    if left >= (caller.quota_bytes or 0):
        return TooLarge(f"The quota of the key {caller.name} is {caller.quota_bytes} bytes in all.")
    return QuotaExceeded(
        f"Of {caller.quota_bytes} bytes that the key {caller.name} may store, {max(left, 0)} are left."
    )


def expire(session: Session) -> None:
    """Forgets reservations that nobody ended, and that no longer hold anything."""
    session.execute(delete(Reservation).where(Reservation.expires_at < now()))


def charge(session: Session, caller: Caller, size: int, reservation: UUID | None = None) -> None:
    """Counts what the caller stores in this transaction, in its last statements. Raises QuotaExceeded."""
    if caller.quota_bytes is not None:
        lastly(session, lambda session: _charge(session, caller, size, reservation))


def refund(session: Session, owner: str, size: int) -> None:
    """Counts what no longer exists of an owner's, in the last statements of this transaction."""
    there = (ApiKey.id == owner, ApiKey.quota_bytes.is_not(None))
    statement = update(ApiKey).where(*there).values(used_bytes=ApiKey.used_bytes - size)
    lastly(session, lambda session: _execute(session, statement))


def _reserve(session: Session, caller: Caller, mark: UUID, size: int) -> None:
    _lock(session, caller)
    session.execute(
        delete(Reservation).where(Reservation.key_id == caller.key_id, Reservation.expires_at < now())
    )
    if session.get(Reservation, mark) is not None:
        return
    if size > (left := _left(session, caller)):
        raise refusal(caller, left)
    session.add(Reservation(id=mark, key_id=caller.key_id, bytes=size, expires_at=now() + LIFETIME))


def _charge(session: Session, caller: Caller, size: int, reservation: UUID | None) -> None:
    _lock(session, caller)
    if reservation is not None:
        _delete(session, reservation)
    if size > (left := _left(session, caller)):
        raise refusal(caller, left)
    there = ApiKey.id == caller.key_id
    session.execute(update(ApiKey).where(there).values(used_bytes=ApiKey.used_bytes + size))


def _lock(session: Session, caller: Caller) -> None:
    """The key's row, until the transaction ends. Raises NotSignedIn if it was deleted meanwhile."""
    query = select(ApiKey.id).where(ApiKey.id == caller.key_id).with_for_update()
    if session.scalar(query) is None:
        raise NotSignedIn("This key is no longer valid.")


def _left(session: Session, caller: Caller) -> int:
    used = session.scalar(select(ApiKey.used_bytes).where(ApiKey.id == caller.key_id)) or 0
    live = (Reservation.key_id == caller.key_id, Reservation.expires_at >= now())
    reserved = session.scalar(select(func.coalesce(func.sum(Reservation.bytes), 0)).where(*live)) or 0
    return (caller.quota_bytes or 0) - used - int(reserved)


def _delete(session: Session, mark: UUID) -> int:
    return affected(session, delete(Reservation).where(Reservation.id == mark))


def _execute(session: Session, statement: object) -> None:
    session.execute(statement)  # type: ignore[call-overload]
