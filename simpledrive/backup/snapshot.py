"""What the records say at one moment, written to a file within one consistent view.

So a blob that is replaced, moved or deleted while a run goes on is in it as it was when the run began, and
never twice or not at all. No storage is called meanwhile, and nothing is held in memory.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from datetime import datetime
from operator import attrgetter
from typing import Any, BinaryIO

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from simpledrive.backup.runs import End, Header, Record, Writer
from simpledrive.models import BlobHistory, Replica
from simpledrive.moving.selection import Selection, Table
from simpledrive.sql import Database

BATCH = 500


def write_snapshot(database: Database, file: BinaryIO, header: Header, selection: Selection) -> End:
    """Writes all that is selected as a run."""

    def work(session: Session) -> End:
        file.seek(0)
        file.truncate()
        writer = Writer(file, header)
        selected = [_records(session, query) for query in _queries(session, selection, header.created_at)]
        for record in heapq.merge(*selected, key=attrgetter("sha256")):
            writer.add(record)
        return writer.end()

    return database.read(work)


def _queries(session: Session, selection: Selection, present: datetime) -> Iterator[Select[Any]]:
    """What is selected of each table, in the order of the digests."""
    left = selection.limit
    for table in selection.tables:
        query = selection.applied(_columns(table), table, present)
        if left is not None:
            chosen = selection.applied(select(table.pk), table, present)
            first = chosen.order_by(table.id, table.version, table.pk).limit(left)
            query = query.where(table.pk.in_(first.scalar_subquery()))
            left -= session.scalar(select(func.count()).select_from(first.subquery())) or 0
        yield query.order_by(table.sha256, table.storage_backend, table.pk)


def _columns(table: Table) -> Select[Any]:
    place = (Replica.sha256 == table.sha256) & (Replica.storage_backend == table.storage_backend)
    aside = (BlobHistory.put_aside_at, BlobHistory.deleted) if table is BlobHistory else ()
    columns: tuple[Any, ...] = (
        table.sha256,
        table.size,
        table.id,
        table.version,
        table.filename,
        table.content_type,
        table.blob_metadata,
        table.storage_backend,
        Replica.storage_key,
        table.created_at,
        table.updated_at,
        table.owner,
        table.pk,
        *aside,
    )
    return select(*columns).join_from(table, Replica, place)


def _records(session: Session, query: Select[Any]) -> Iterator[Record]:
    for row in session.execute(query.execution_options(yield_per=BATCH)):
        said = row._asdict()
        is_deleted = said.pop("deleted", None)
        state = "current" if is_deleted is None else "deleted" if is_deleted else "earlier"
        said["metadata"], said["record"] = said.pop("blob_metadata"), said.pop("pk")
        # Not validated: it comes from the tables, a million of it, and is validated when it is read.
        yield Record.model_construct(state=state, **said)  # type: ignore[arg-type]
