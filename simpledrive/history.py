"""What was replaced or deleted and is still remembered: earlier versions of a blob, and the trash."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import exists, func, select
from sqlalchemy.orm import Session, aliased

from simpledrive import records
from simpledrive.ids import flaw, unprintable
from simpledrive.keyset import behind, cursor_at, cut, no_cursor, within
from simpledrive.models import Blob, BlobHistory
from simpledrive.rights import Caller
from simpledrive.sql import Database


@dataclass(frozen=True)
class Aside:
    """A version that was put aside, by replacing or deleting it, and when it will be forgotten."""

    version: BlobHistory
    gone_at: datetime


@dataclass(frozen=True)
class AsidePage:
    """Some of them; `next` is the cursor to go on with, None at the end."""

    items: list[Aside]
    next: str | None


class History:
    """Pages of what is remembered, as far as a caller may see it. `kept` is for how long."""

    def __init__(self, database: Database, kept: timedelta) -> None:
        self._database, self._kept = database, kept

    def versions(self, caller: Caller, id: str, cursor: str | None = None, limit: int = 100) -> AsidePage:
        """Up to `limit` earlier and deleted versions of an id, newest first.

        Raises Forbidden, BlobNotFound if neither a blob nor a version of it is there, and Invalid for a
        cursor that no page named.
        """
        caller.require("read", id)
        if flaw(id) is not None:
            raise records.not_found(id)
        query = select(BlobHistory).where(BlobHistory.id == id)
        if cursor:
            query = query.where(BlobHistory.version < _version(cursor))
        query = query.order_by(BlobHistory.version.desc()).limit(limit + 1)

        def look(session: Session) -> list[BlobHistory]:
            found = list(session.scalars(query))
            if not found and not cursor and records.current(session, id) is None:
                raise records.not_found(id)
            return found

        found = self._database.read(look)
        return self._page(*cut(found, limit, lambda row: str(row.version)))

    def trash(
        self, caller: Caller, prefix: str = "", cursor: str | None = None, limit: int = 100
    ) -> AsidePage:
        """Up to `limit` deleted blobs in order of their ids, each as it was last; only ids that are free now.

        Raises Forbidden, and Invalid for a cursor that no page named.
        """
        caller.require("read")
        after = behind(cursor)
        if unprintable(prefix):
            return AsidePage([], None)
        later = aliased(BlobHistory)
        query = (
            select(BlobHistory)
            .where(BlobHistory.deleted)
            .where(~exists().where(Blob.id == BlobHistory.id))
            .where(
                BlobHistory.version
                == select(func.max(later.version))
                .where(later.id == BlobHistory.id, later.deleted)
                .scalar_subquery()
            )
        )
        query = within(within(query, caller.prefix, BlobHistory.id), prefix, BlobHistory.id)
        if after is not None:
            query = query.where(BlobHistory.id > after)
        query = query.order_by(BlobHistory.id).limit(limit + 1)
        found = self._database.read(lambda session: session.scalars(query).all())
        return self._page(*cut(found, limit, lambda row: cursor_at(row.id)))

    def _page(self, rows: list[BlobHistory], following: str | None) -> AsidePage:
        return AsidePage([Aside(row, row.put_aside_at + self._kept) for row in rows], following)


def _version(cursor: str) -> int:
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) < 10):
        raise no_cursor()
    return int(cursor)
