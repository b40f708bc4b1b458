"""Which worker is at work on which items of a migration (leasing.py); those with the same bytes together."""

from __future__ import annotations

from itertools import groupby

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from simpledrive.leasing import Lease
from simpledrive.models import Migration, MigrationItem
from simpledrive.moving.switching import Task
from simpledrive.sql import Database

MOST = 500
"""Items that are leased at a time, however many of them share their bytes."""
SMALL = 1 << 20
"""Bytes of a content that is copied in no time."""


class Leases(Lease):
    """What one worker has leased of one migration."""

    def __init__(self, database: Database, migration: str) -> None:
        pending = (MigrationItem.migration == migration, MigrationItem.state == "pending")
        super().__init__(database, MigrationItem, *pending)
        self._migration = migration
        self._behind = ""

    def take(self, contents: int, small: int = 0) -> list[Task]:
        """Up to so many contents that nobody is at work on; up to `small` of them, as long as they are small.

        Empty: there are none just now.
        """
        tasks = self._database.write(lambda session: self._take(session, contents, small))
        if tasks or not self._behind:
            return tasks
        self._behind = ""  # what others had leased before there may have become free
        return self._database.write(lambda session: self._take(session, contents, small))

    def _take(self, session: Session, contents: int, small: int) -> list[Task]:
        running = select(Migration.state).where(Migration.id == self._migration)
        if session.scalar(running) != "running" or not (found := self._free(session, contents, small)):
            return []
        item = MigrationItem
        which = [*self.is_free, item.sha256.in_(found)]
        if len(found) == 1:
            which.append(item.record.in_(select(item.record).where(*which).order_by(item.record).limit(MOST)))
        take = (
            update(item)
            .where(*which)
            .values(self.taken())
            .returning(item.sha256, item.record, item.size)
            .execution_options(synchronize_session=False)
        )
        # Others may have been faster with some of them.
        taken = sorted(session.execute(take).all())
        self._behind = found[-1]
        return [
            Task(sha256, rows[0].size, tuple(row.record for row in rows))
            for sha256, group in groupby(taken, key=lambda row: row.sha256)
            if (rows := list(group))
        ]

    def _free(self, session: Session, contents: int, small: int) -> list[str]:
        """Digests in order, from where the last ones were; several have at most MOST items together."""
        item = MigrationItem
        look = (
            select(item.sha256, func.count(), func.max(item.size))
            .where(*self.is_free, item.sha256 >= self._behind)
            .group_by(item.sha256)
            .order_by(item.sha256)
            .limit(max(contents, small))
        )
        found: list[str] = []
        items = 0
        for sha256, count, size in session.execute(look):
            items += count
            if found and (items > MOST or (len(found) >= contents and size > SMALL)):
                break
            found.append(sha256)
        return found
