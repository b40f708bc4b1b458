"""Which worker is at work on which rows: a lease each, taken and kept in short transactions.

So any number of processes and hosts share some work. Who is killed loses what it had leased, when the lease
is over, and nothing else; who is only late finds out when it wants to write down what it has done.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Update, or_, update
from sqlalchemy.orm import InstrumentedAttribute

from simpledrive.errors import DriveError
from simpledrive.ids import uuid7
from simpledrive.models import Leased, now
from simpledrive.sql import Database, affected

LEASE = timedelta(seconds=20)
"""How long a worker that says nothing counts as being at work."""
RENEWAL = 5.0
"""Seconds between the times at which it says so."""


class Lease:
    """What one worker has leased of those rows of a table for which `which` holds."""

    def __init__(self, database: Database, table: type[Leased], *which: ColumnElement[bool]) -> None:
        self._database, self._table, self._which = database, table, which
        self.worker = f"{socket.gethostname()}:{os.getpid()}:{uuid7().hex[-8:]}"

    @property
    def is_free(self) -> tuple[ColumnElement[bool], ...]:
        """What holds of a row that may be leased."""
        return (*self._which, is_over(self._table.leased_until))

    @property
    def is_mine(self) -> tuple[ColumnElement[bool], ...]:
        """What holds of a row that this worker has leased: found by an index of those that anybody has."""
        return (self._table.leased == self.worker, self._table.leased_until.is_not(None))

    def claim(self) -> bool:
        """Leases all of them that are free; whether any was."""
        take = update(self._table).where(*self.is_free).values(self.taken())
        return bool(self._database.write(lambda session: affected(session, take)))

    def taken(self) -> dict[str, Any]:
        """What to write into a row to lease it."""
        return {"leased": self.worker, "leased_until": now() + LEASE}

    def kept(self) -> AbstractContextManager[None]:
        """Keeps them during the block, and gives up at its end what is left of them."""
        extended = update(self._table).where(*self.is_mine)
        return kept(self._database, lambda until: extended.values(leased_until=until))


def is_over(until: InstrumentedAttribute[datetime | None]) -> ColumnElement[bool]:
    """What holds of a row whose lease has ended, or was never one: nobody leases for longer than LEASE.

    So a clock that was ahead holds nothing up.
    """
    present = now()
    return or_(until.is_(None), until < present, until > present + 2 * LEASE)


def has_ended(until: datetime | None) -> bool:
    """The same of a moment that was looked up."""
    present = now()
    return until is None or not present <= until <= present + 2 * LEASE


@contextmanager
def kept(database: Database, extended: Callable[[datetime | None], Update]) -> Iterator[None]:
    """Keeps a lease during the block, and gives it up at its end.

    `extended` is the statement that has it end at some moment, or now for None. What cannot be extended
    others take over in time, which is what leases are for.
    """

    def extend(until: datetime | None) -> None:
        with suppress(DriveError):
            database.write(lambda session: session.execute(extended(until)))

    def keep() -> None:
        while not ended.wait(RENEWAL):
            extend(now() + LEASE)

    ended = threading.Event()
    keeper = threading.Thread(target=keep, name="leases", daemon=True)
    keeper.start()
    try:
        yield
    finally:
        ended.set()
        keeper.join()
        extend(None)
