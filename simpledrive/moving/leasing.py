"""Which worker is at work on which contents of a migration (leasing.py), each with all items that have it.

The first pending item of a content carries the lease of all of them, however many there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import partial
from itertools import groupby
from uuid import UUID

from sqlalchemy import Row, exists, select, update
from sqlalchemy.orm import Session

from simpledrive.leasing import Lease, has_ended
from simpledrive.models import Migration, MigrationItem
from simpledrive.moving.switching import Task
from simpledrive.sql import Database

Item = Row[str, UUID, int, datetime | None]
"""Digest, record, size, and until when it is leased."""
SMALL = 1 << 20
"""Bytes of a content that is copied in no time."""
MORE = 2
"""Items that are looked at for each content that is wanted: some are alike, or others are at work on them."""


class Leases(Lease):
    """What one worker has leased of one migration."""

    def __init__(self, database: Database, migration: str) -> None:
        self._pending = (MigrationItem.migration == migration, MigrationItem.state == "pending")
        super().__init__(database, MigrationItem, *self._pending)
        self._migration = migration
        self._behind = ""

    def take(self, contents: int, small: int = 0) -> list[Task]:
        """Up to so many contents that nobody is at work on; up to `small` of them, as long as they are small.

        Empty: there are none just now.
        """
        tasks = self._take_next(contents, small)
        if tasks or not self._behind:
            return tasks
        self._behind = ""  # what others had leased before there may have become free
        return self._take_next(contents, small)

    def _take_next(self, contents: int, small: int) -> list[Task]:
        most = max(contents, small)
        while found := self._database.read(partial(self._look, items=MORE * most)):
            firsts = [next(alike) for _, alike in groupby(found, key=lambda row: row.sha256)]
            wanted = [row for row in firsts if has_ended(row.leased_until)][:most]
            large = [at for at, row in enumerate(wanted) if at >= contents and row.size > SMALL]
            wanted = wanted[: large[0]] if large else wanted
            self._behind = wanted[-1].sha256 if large or len(wanted) == most else found[-1].sha256
            if wanted and (tasks := self._database.write(partial(self._take, wanted=wanted))):
                return tasks
        return []

    def _look(self, session: Session, *, items: int) -> Sequence[Item]:
        """Pending items from where the last look has come to, each content's from its first one on."""
        item = MigrationItem
        query = select(item.sha256, item.record, item.size, item.leased_until).where(*self._pending)
        in_order = query.where(item.sha256 > self._behind).order_by(item.sha256, item.record)
        return session.execute(in_order.limit(items)).all()

    def _take(self, session: Session, *, wanted: Sequence[Item]) -> list[Task]:
        item = MigrationItem
        take = (
            update(item)
            .where(
                *self.is_free,
                item.sha256.in_([row.sha256 for row in wanted]),
                item.record.in_([row.record for row in wanted]),
                exists().where(Migration.id == self._migration, Migration.state == "running"),
            )
            .values(self.taken())
            .returning(item.sha256, item.size)
            .execution_options(synchronize_session=False)
        )
        # Others may have been faster with some of them.
        return [Task(*row) for row in sorted(session.execute(take).all())]
