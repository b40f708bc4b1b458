"""How much a key may still store: reserved when an upload begins, charged when it is recorded.

What counts is everything that a key made and that is kept, earlier versions and the trash too: each row of
blob and history that names it as owner. Keys without a quota are not counted at all, so that they do not
wait for one another.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from sqlalchemy import delete, func, select, union_all, update
from sqlalchemy.orm import Session

from simpledrive import standing
from simpledrive.errors import DriveError, QuotaExceeded, TooLarge
from simpledrive.ids import uuid7
from simpledrive.models import ApiKey, Blob, BlobHistory, Reservation, now
from simpledrive.rights import Caller
from simpledrive.sql import Database, affected, lastly

log = logging.getLogger(__name__)

REFUNDS = "refunds"

RANK = 0
"""Before the counters of backends (usage.py)."""

LEAST_LIFETIME = timedelta(minutes=5)
SLOWEST = 100_000
"""Bytes a second. A reservation holds for as long as such an upload takes, and then for nothing: its process
has died, or its database was away. Who is slower is judged by what is left when he has come to the end."""


@dataclass
class Reserved:
    """Bytes of a quota that an upload under way has spoken for, under a mark."""

    mark: UUID
    is_charged: bool = False


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
    def reserved(self, caller: Caller, size: int | None) -> Iterator[Reserved | None]:
        """Holds `size` bytes of the caller's quota for the block, or until they are charged.

        A size that is not known yet (None) reserves nothing; `charge` has the last word in any case. Raises
        QuotaExceeded, TooLarge.
        """
        if caller.quota_bytes is None or size is None:
            yield None
            return
        if size > caller.quota_bytes:
            raise refusal(caller, caller.quota_bytes)
        reserved = Reserved(uuid7())
        self._database.write(lambda session: _reserve(session, caller, reserved.mark, size))
        try:
            yield reserved
        except BaseException:
            self._end(reserved.mark)
            raise
        if not reserved.is_charged:
            self._end(reserved.mark)

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


def charge(session: Session, caller: Caller, size: int, reserved: Reserved | None = None) -> None:
    """Counts what the caller stores in this transaction, in its last statements. Raises QuotaExceeded."""
    if caller.quota_bytes is not None:
        lastly(session, RANK, lambda session: _charge(session, caller, size, reserved))


def reclaim(session: Session, owner: str, size: int) -> None:
    """Counts what came back of an owner's, whether there is room for it or not: it was there before."""
    refund(session, owner, -size)


def refund(session: Session, owner: str, size: int) -> None:
    """Counts what no longer exists of an owner's, in the last statements of this transaction.

    Only for rows that this very transaction has deleted: nobody else may give them back too.
    """
    refunds: dict[str, int] | None = session.info.get(REFUNDS)
    if refunds is None:
        refunds = session.info[REFUNDS] = {}
        lastly(session, RANK, _refund)
    refunds[owner] = refunds.get(owner, 0) + size


def missed(session: Session) -> dict[str, int]:
    """By id of a key with a quota, how much more it has made than it is charged for; negative for less.

    Keys that are charged right are not in it. Looks at every record, in one statement: so it is exact while
    others write.
    """
    made = union_all(*(select(table.owner, table.size) for table in (Blob, BlobHistory))).subquery()
    summed = select(made.c.owner, func.sum(made.c.size).label("bytes")).group_by(made.c.owner).subquery()
    lacks = func.coalesce(summed.c.bytes, 0) - ApiKey.used_bytes
    query = select(ApiKey.id, lacks).outerjoin(summed, summed.c.owner == ApiKey.id)
    wrong = query.where(ApiKey.quota_bytes.is_not(None), lacks != 0).order_by(ApiKey.id)
    return {id: int(size) for id, size in session.execute(wrong)}


def recount(session: Session, key_id: str) -> int | None:
    """Charges a key for what it has made; by how much that is more than before, None if it was right.

    Others may store with it meanwhile: they are charged in the end, and wait until then.
    """
    session.execute(select(ApiKey.id).where(ApiKey.id == key_id).with_for_update()).all()
    lacks = missed(session).get(key_id)
    if lacks is not None:
        refund(session, key_id, -lacks)
    return lacks


def _reserve(session: Session, caller: Caller, mark: UUID, size: int) -> None:
    standing.require(session, caller)
    _lock(session, caller)
    if session.get(Reservation, mark) is not None:
        return
    if size > (left := _left(session, caller)):
        raise refusal(caller, left)
    expires_at = now() + LEAST_LIFETIME + timedelta(seconds=size / SLOWEST)
    session.add(Reservation(id=mark, key_id=caller.key_id, bytes=size, expires_at=expires_at))


def _refund(session: Session) -> None:
    for owner, size in sorted(session.info[REFUNDS].items()):
        there = (ApiKey.id == owner, ApiKey.quota_bytes.is_not(None))
        session.execute(update(ApiKey).where(*there).values(used_bytes=ApiKey.used_bytes - size))


def _charge(session: Session, caller: Caller, size: int, reserved: Reserved | None) -> None:
    _lock(session, caller)
    if reserved is not None:
        _delete(session, reserved.mark)
        reserved.is_charged = True
    if size > (left := _left(session, caller)):
        raise refusal(caller, left)
    there = ApiKey.id == caller.key_id
    session.execute(update(ApiKey).where(there).values(used_bytes=ApiKey.used_bytes + size))


def _lock(session: Session, caller: Caller) -> None:
    """The key's row, until the transaction ends: others who store with it wait."""
    session.execute(select(ApiKey.id).where(ApiKey.id == caller.key_id).with_for_update()).all()


def _left(session: Session, caller: Caller) -> int:
    used = session.scalar(select(ApiKey.used_bytes).where(ApiKey.id == caller.key_id)) or 0
    live = (Reservation.key_id == caller.key_id, Reservation.expires_at >= now())
    reserved = session.scalar(select(func.coalesce(func.sum(Reservation.bytes), 0)).where(*live)) or 0
    return (caller.quota_bytes or 0) - used - int(reserved)


def _delete(session: Session, mark: UUID) -> int:
    return affected(session, delete(Reservation).where(Reservation.id == mark))
