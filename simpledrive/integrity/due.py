"""Which replicas are to be read, in which order, however many there are."""

from __future__ import annotations

import heapq
import secrets
from collections.abc import Iterator
from datetime import datetime
from functools import partial
from itertools import chain, islice
from typing import NamedTuple

from sqlalchemy import ColumnElement, Select, bindparam, func, or_, select
from sqlalchemy.orm import Session

from simpledrive.integrity.pages import paged
from simpledrive.models import Replica, UTCDateTime, now
from simpledrive.sql import Database

DIGEST_BYTES = 32

PRESENT = bindparam("present", callable_=now, type_=UTCDateTime)
"""The moment at which a query runs, not the one at which it was written: what is verified while the pages of
it are read is behind that."""

BAD = Replica.bad_at.is_not(None)
UNVERIFIED = (Replica.bad_at.is_(None), Replica.verified_at.is_(None))
VERIFIED = (Replica.bad_at.is_(None), Replica.verified_at.is_not(None))
"""In the words of the indexes: those marked bad; of the others, those never verified, and the rest."""


class Amount(NamedTuple):
    replicas: int
    bytes: int


def due(database: Database, backend: str, before: datetime) -> Iterator[Replica]:
    """The replicas to read at a backend: those marked bad, then those not verified since `before`."""
    marked = select(Replica).where(Replica.storage_backend == backend, BAD)
    yield from paged(database, marked, Replica.sha256)
    yield from oldest(database, backend, before)


def oldest(database: Database, backend: str, before: datetime) -> Iterator[Replica]:
    """The replicas at a backend not verified, nor stored, since `before`; what is longest ago comes first.

    Before these come those that a clock which was wrong has put into the future: nobody knows since when.
    """
    here = select(Replica).where(Replica.storage_backend == backend)

    def both(unverified: ColumnElement[bool], verified: ColumnElement[bool]) -> Iterator[Replica]:
        return heapq.merge(
            paged(database, here.where(*UNVERIFIED, unverified), Replica.created_at, Replica.sha256),
            paged(database, here.where(*VERIFIED, verified), Replica.verified_at, Replica.sha256),
            key=known_since,
        )

    return chain(
        both(Replica.created_at > PRESENT, Replica.verified_at > PRESENT),
        both(Replica.created_at < before, Replica.verified_at < before),
    )


def known_since(replica: Replica) -> datetime:
    """When its bytes were last known to be right: read in full, or stored."""
    return replica.verified_at or replica.created_at


def drawn(database: Database, backend: str, before: datetime, number: int) -> Iterator[Replica]:
    """So many of what is due at a backend, drawn at random and spread evenly; all of it if it is not more."""
    query = select(Replica).where(Replica.storage_backend == backend, _is_due(before))
    space = 1 << (8 * DIGEST_BYTES)
    taken: set[str] = set()
    last = ""
    # A digest is as good as a random number: so is the next one behind any point.
    for slot in range(number):
        point = (slot * space + secrets.randbelow(space)) // number
        behind = query.where(Replica.sha256 >= f"{point:064x}", Replica.sha256 > last)
        found = database.read(partial(_first, behind.order_by(Replica.sha256).limit(1)))
        if found is None:
            break
        last = found.sha256
        taken.add(last)
        yield found
    # Behind the last ones there were no more: the others make up for it.
    left = number - len(taken)
    untaken = (row for row in paged(database, query, Replica.sha256) if row.sha256 not in taken)
    yield from islice(untaken, left)


def amount(database: Database, backend: str, before: datetime) -> Amount:
    """How much is due at a backend. Looks at all of its rows."""
    query = select(func.count(), func.coalesce(func.sum(Replica.size), 0))
    query = query.where(Replica.storage_backend == backend, _is_due(before))
    replicas, size = database.read(lambda session: session.execute(query).one())
    return Amount(int(replicas), int(size))


def _is_due(before: datetime) -> ColumnElement[bool]:
    known = func.coalesce(Replica.verified_at, Replica.created_at)
    return or_(BAD, known < before, known > PRESENT)


def _first(query: Select[Replica], session: Session) -> Replica | None:
    return session.scalars(query).first()
