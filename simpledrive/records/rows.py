"""The rows of blobs and of their history: looking, locking, adding, putting aside, within a transaction."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import delete, exists, func, select
from sqlalchemy.orm import Session

from simpledrive.errors import BlobExists, BlobNotFound, PreconditionFailed
from simpledrive.models import Blob, BlobHistory, Condition
from simpledrive.sql import insert
from simpledrive.usage import count


def current(session: Session, id: str) -> Blob | None:
    """The blob of that id."""
    return session.scalars(select(Blob).where(Blob.id == id)).one_or_none()


def at_version(session: Session, id: str, version: int) -> Blob | None:
    """The blob as it is or was at that version; None if that is not remembered."""
    blob = current(session, id)
    if blob is not None and blob.version == version:
        return blob
    query = select(BlobHistory).where(BlobHistory.id == id, BlobHistory.version == version)
    return _as_blob(session.scalars(query.limit(1)).first())


def allow(blob: Blob | None, replaces: Condition | None) -> None:
    """Returns if a blob may take the place of this one (None: of no other). See Drive.store."""
    if replaces is not None and not replaces(blob):
        raise PreconditionFailed("The blob is not the one that was named.")
    if replaces is None and blob is not None:
        raise taken(blob.id)


def not_found(id: str) -> BlobNotFound:
    return BlobNotFound(f"There is no blob with the id {id!r}.")


def taken(id: str) -> BlobExists:
    return BlobExists(f"A blob with the id {id!r} exists already.")


def locked(session: Session, id: str) -> Blob | None:
    """The blob of that id, which nobody else changes until the transaction ends.

    Who waited for a row that was replaced meanwhile is told that it is gone, and nothing of its successor.
    """
    query = select(Blob).where(Blob.id == id).with_for_update()
    while (found := session.scalars(query).one_or_none()) is None:
        if not session.scalar(select(exists().where(Blob.id == id))):
            break
    return found


def version_of(session: Session, mark: UUID) -> Blob | None:
    """The version of a blob that this mark names, also when it has been put aside since."""
    if (blob := session.get(Blob, mark)) is not None:
        return blob
    return _as_blob(session.get(BlobHistory, mark))


def _as_blob(aside: BlobHistory | None) -> Blob | None:
    return None if aside is None else Blob(pk=aside.pk, **aside.described())


def add(session: Session, row: dict[str, Any]) -> Blob | None:
    """Inserts a blob, numbered behind all versions of its id that are remembered, deleted ones too.

    None if the id is taken; who is just about to take it is waited for. The numbers are looked at when the id
    is ours already: before, somebody could still add to them.
    """
    statement = insert(session, Blob).values(row).on_conflict_do_nothing().returning(Blob)
    blob: Blob | None = session.scalars(statement).one_or_none()
    if blob is not None:
        count(session, blob.storage_backend, blobs=1)
        latest = session.scalar(select(func.max(BlobHistory.version)).where(BlobHistory.id == blob.id)) or 0
        blob.version = max(blob.version, latest + 1)
    return blob


def put_aside(session: Session, blob: Blob, moment: datetime, *, deleted: bool) -> None:
    """Moves a row to the history, under the same surrogate key: that names one version for ever."""
    session.add(BlobHistory(pk=blob.pk, **blob.described(), put_aside_at=moment, deleted=deleted))
    session.execute(delete(Blob).where(Blob.pk == blob.pk))
    count(session, blob.storage_backend, blobs=-1)
