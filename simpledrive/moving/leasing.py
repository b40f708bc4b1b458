"""Which worker is at work on which items of a migration (leasing.py); those with the same bytes together."""

from __future__ import annotations

from itertools import groupby

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from simpledrive.leasing import Lease
from simpledrive.models import Migration, MigrationItem
from simpledrive.moving.switching import Task
from simpledrive.sql import Database

MOST = 500
"""Items that are leased at a time, however many of them share their bytes."""


class Leases(Lease):
    """What one worker has leased of one migration."""

    def __init__(self, database: Database, migration: str) -> None:
        pending = (MigrationItem.migration == migration, MigrationItem.state == "pending")
        super().__init__(database, MigrationItem, *pending)
        self._migration = migration
        self._behind = ""

    def take(self, contents: int) -> list[Task]:
        """Up to so many contents that nobody is at work on. Empty: there are none just now."""
        tasks = self._database.write(lambda session: self._take(session, contents))
        if tasks or not self._behind:
            return tasks
        self._behind = ""  # what others had leased before there may have become free
        return self._database.write(lambda session: self._take(session, contents))

    def _take(self, session: Session, contents: int) -> list[Task]:
        free = self.is_free
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
            .values(self.taken())
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
