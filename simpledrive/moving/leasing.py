"""Which worker is at work on which items: a lease each, taken and kept in short transactions.

So any number of processes and hosts share a migration. Who is killed loses what it had leased, when the lease
is over, and nothing else; who is only late finds out when it wants to switch the homes.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import datetime, timedelta
from itertools import groupby

from sqlalchemy import Update, or_, select, update
from sqlalchemy.orm import Session

from simpledrive.errors import DriveError
from simpledrive.ids import uuid7
from simpledrive.models import Migration, MigrationItem, now
from simpledrive.moving.switching import Task
from simpledrive.sql import Database

LEASE = timedelta(seconds=20)
"""How long a worker that says nothing counts as being at work."""
RENEWAL = 5.0
"""Seconds between the times at which it says so."""
MOST = 500
"""Items that are leased at a time, however many of them share their bytes."""


class Leases:
    """What one worker has leased of one migration."""

    def __init__(self, database: Database, migration: str) -> None:
        self._database, self._migration = database, migration
        self.worker = f"{socket.gethostname()}:{os.getpid()}:{uuid7().hex[-8:]}"
        self._behind = ""

    def take(self, contents: int) -> list[Task]:
        """Up to so many contents that nobody is at work on. Empty: there are none just now."""
        tasks = self._database.write(lambda session: self._take(session, contents))
        if tasks or not self._behind:
            return tasks
        self._behind = ""  # what others had leased before there may have become free
        return self._database.write(lambda session: self._take(session, contents))

    def _take(self, session: Session, contents: int) -> list[Task]:
        free = (
            MigrationItem.migration == self._migration,
            MigrationItem.state == "pending",
            or_(MigrationItem.leased_until.is_(None), MigrationItem.leased_until < now()),
        )
        running = select(Migration.state).where(Migration.id == self._migration)
        if session.scalar(running) != "running":
            return []
        look = (
            select(MigrationItem.sha256, MigrationItem.record)
            .where(*free, MigrationItem.sha256 >= self._behind)
            .order_by(MigrationItem.sha256, MigrationItem.record)
            .limit(MOST)
        )
        found = [
            (sha256, [row.record for row in rows])
            for sha256, rows in groupby(session.execute(look), key=lambda row: row.sha256)
        ][:contents]
        if not found:
            return []
        take = (
            update(MigrationItem)
            .where(
                *free,
                MigrationItem.sha256.in_([sha256 for sha256, _ in found]),
                MigrationItem.record.in_([record for _, records in found for record in records]),
            )
            .values(leased=self.worker, leased_until=now() + LEASE)
            .returning(MigrationItem.sha256, MigrationItem.record, MigrationItem.size)
            .execution_options(synchronize_session=False)
        )
        # Others may have been faster with some of them.
        taken = sorted(session.execute(take).all())
        self._behind = found[-1][0]
        return [
            Task(sha256, rows[0].size, tuple(row.record for row in rows))
            for sha256, group in groupby(taken, key=lambda row: row.sha256)
            if (rows := list(group))
        ]

    def kept(self) -> AbstractContextManager[None]:
        """Keeps them during the block, and gives up at its end what is left of them."""
        mine = (
            MigrationItem.migration == self._migration,
            MigrationItem.state == "pending",
            MigrationItem.leased == self.worker,
        )
        extended = update(MigrationItem).where(*mine)
        return kept(self._database, lambda until: extended.values(leased_until=until))


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
