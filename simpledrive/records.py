"""The transactions that change what is recorded of a blob: store, replace, delete, restore.

Each is an object with two methods for `Database.write`: one that does it, and may have to a second time, and
`happened`, which finds out whether it did when the connection broke around COMMIT. Storages are not called
from here: the bytes lie at their backend before, and stay there.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import delete, exists, func, select
from sqlalchemy.orm import Session

from simpledrive.descriptions import Description
from simpledrive.errors import BlobExists, BlobNotFound, PreconditionFailed
from simpledrive.ids import folder_of, uuid7
from simpledrive.models import Blob, BlobHistory, now
from simpledrive.replicas import Provided, Replicas
from simpledrive.sql import insert

Condition = Callable[[Blob | None], bool]
"""What must hold of the current blob (None: there is none), asked inside the transaction that changes it."""


class Recording:
    """Records bytes as a blob: a new one, or in the place of one that `replaces` allows to be put aside."""

    def __init__(
        self,
        replicas: Replicas,
        provided: Provided,
        described: Description,
        owner: str,
        replaces: Condition | None,
    ) -> None:
        self._replicas, self._provided = replicas, provided
        self._described, self._owner, self._replaces = described, owner, replaces
        self._mark, self._moment = uuid7(), now()
        self._is_new = True

    def record(self, session: Session) -> tuple[Blob, bool]:
        """The blob, and whether it is a new one. Raises BlobExists, PreconditionFailed, ReplicaGone."""
        self._replicas.record(session, self._provided)
        blob = None
        # Somebody may be first to use the id, after we have looked: then there is a blob to ask about.
        while blob is None:
            before = self._before(session)
            if before is not None and before.pk == self._mark:
                return before, self._is_new
            allow(before, self._replaces)
            if before is not None:
                _put_aside(session, before, self._moment, deleted=False)
            self._is_new = before is None
            blob = _add(session, self._row(before))
        return blob, self._is_new

    def happened(self, session: Session) -> tuple[Blob, bool] | None:
        blob = _version(session, self._mark)
        return None if blob is None else (blob, self._is_new)

    def _before(self, session: Session) -> Blob | None:
        look = current if self._replaces is None else _locked
        return look(session, self._described.id)

    def _row(self, before: Blob | None) -> dict[str, Any]:
        return {
            "pk": self._mark,
            "id": self._described.id,
            "folder": folder_of(self._described.id),
            "filename": self._described.filename,
            "content_type": self._described.content_type,
            "blob_metadata": dict(self._described.metadata),
            "size": self._provided.pieces.size,
            "sha256": self._provided.sha256,
            "storage_backend": self._provided.backend,
            "created_at": self._moment if before is None else before.created_at,
            "updated_at": self._moment,
            "version": 1 if before is None else before.version + 1,
            "owner": self._owner,
        }


class Deletion:
    """Puts a blob into the trash."""

    def __init__(self, id: str, only: Condition | None) -> None:
        self._id, self._only = id, only
        self._marks: list[UUID] = []  # of the versions that were put aside, one for each time this ran

    def delete(self, session: Session) -> bool:
        """Raises BlobNotFound, PreconditionFailed."""
        blob = _locked(session, self._id)
        if blob is None:
            raise not_found(self._id)
        if self._only is not None:
            allow(blob, self._only)
        self._marks.append(blob.pk)
        _put_aside(session, blob, now(), deleted=True)
        return True

    def happened(self, session: Session) -> bool | None:
        found = select(exists().where(BlobHistory.pk.in_(self._marks), BlobHistory.deleted))
        return session.scalar(found) or None


class Restoration:
    """Takes what was deleted last under an id out of the trash, as a new version."""

    def __init__(self, id: str) -> None:
        self._id, self._mark = id, uuid7()

    def restore(self, session: Session) -> Blob:
        """Raises BlobNotFound, BlobExists."""
        aside = session.scalars(
            select(BlobHistory)
            .where(BlobHistory.id == self._id, BlobHistory.deleted)
            .order_by(BlobHistory.version.desc())
            .limit(1)
            .with_for_update()
        ).first()
        allow(current(session, self._id), None)
        if aside is None:
            raise BlobNotFound(f"There is nothing in the trash with the id {self._id!r}.")
        session.delete(aside)
        changed = {"pk": self._mark, "version": aside.version + 1, "updated_at": now()}
        blob = _add(session, aside.described() | changed)
        if blob is None:
            raise _taken(self._id)
        return blob

    def happened(self, session: Session) -> Blob | None:
        return _version(session, self._mark)


def current(session: Session, id: str) -> Blob | None:
    """The blob of that id."""
    return session.scalars(select(Blob).where(Blob.id == id)).one_or_none()


def allow(blob: Blob | None, replaces: Condition | None) -> None:
    """Returns if a blob may take the place of this one (None: of no other). See Drive.store."""
    if replaces is not None and not replaces(blob):
        raise PreconditionFailed("The blob is not the one that was named.")
    if replaces is None and blob is not None:
        raise _taken(blob.id)


def not_found(id: str) -> BlobNotFound:
    return BlobNotFound(f"There is no blob with the id {id!r}.")


def _taken(id: str) -> BlobExists:
    return BlobExists(f"A blob with the id {id!r} exists already.")


def _locked(session: Session, id: str) -> Blob | None:
    """The blob of that id, which nobody else changes until the transaction ends.

    Who waited for a row that was replaced meanwhile is told that it is gone, and nothing of its successor.
    """
    query = select(Blob).where(Blob.id == id).with_for_update()
    while (found := session.scalars(query).one_or_none()) is None:
        if not session.scalar(select(exists().where(Blob.id == id))):
            break
    return found


def _version(session: Session, mark: UUID) -> Blob | None:
    """The version of a blob that this mark names, also when it has been put aside since."""
    if (blob := session.get(Blob, mark)) is not None:
        return blob
    aside = session.get(BlobHistory, mark)
    return None if aside is None else Blob(pk=mark, **aside.described())


def _add(session: Session, row: dict[str, Any]) -> Blob | None:
    """Inserts a blob, numbered behind all versions of its id that are remembered, deleted ones too.

    None if the id is taken; who is just about to take it is waited for. The numbers are looked at when the id
    is ours already: before, somebody could still add to them.
    """
    statement = insert(session, Blob).values(row).on_conflict_do_nothing().returning(Blob)
    blob: Blob | None = session.scalars(statement).one_or_none()
    if blob is not None:
        latest = session.scalar(select(func.max(BlobHistory.version)).where(BlobHistory.id == blob.id)) or 0
        blob.version = max(blob.version, latest + 1)
    return blob


def _put_aside(session: Session, blob: Blob, moment: datetime, *, deleted: bool) -> None:
    """Moves a row to the history, under the same surrogate key: that names one version for ever."""
    session.add(BlobHistory(pk=blob.pk, **blob.described(), put_aside_at=moment, deleted=deleted))
    session.execute(delete(Blob).where(Blob.pk == blob.pk))
