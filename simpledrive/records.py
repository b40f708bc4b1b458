"""The transactions that change what is recorded of a blob.

Each is an object with two methods for `Database.write`: one that does it, and may have to a second time, and
`happened`, which finds out whether it did when the connection broke around COMMIT. Storages are not called
from here: the bytes lie at their backend before, and stay there. What was done is noted in the audit log in
the same transaction.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import delete, exists, func, select
from sqlalchemy.orm import Session

from simpledrive import quotas
from simpledrive.audit import Action, note
from simpledrive.descriptions import Description
from simpledrive.errors import BlobExists, BlobNotFound, PreconditionFailed
from simpledrive.ids import folder_of, uuid7
from simpledrive.models import Blob, BlobHistory, Condition, now
from simpledrive.replays import Once
from simpledrive.replicas import Provided, Replicas, release
from simpledrive.rights import Caller
from simpledrive.sql import insert
from simpledrive.usage import count


@dataclass(frozen=True)
class Wanted:
    """A blob to be recorded: who wants it, how it is described, and in whose place it may come.

    `reservation` is what was set aside of the caller's quota, `once` what makes the request repeatable.
    """

    caller: Caller
    described: Description
    replaces: Condition | None = None
    reservation: UUID | None = None
    once: Once | None = None


class Recording:
    """Records bytes as a blob: a new one, or in the place of one that `replaces` allows to be put aside."""

    def __init__(self, replicas: Replicas, provided: Provided, wanted: Wanted) -> None:
        self._replicas, self._provided, self._wanted = replicas, provided, wanted
        self._mark, self._moment = uuid7(), now()
        self._is_new = True

    def record(self, session: Session) -> tuple[Blob, bool]:
        """The blob, and whether it is a new one.

        Raises BlobExists, PreconditionFailed, KeyReused, QuotaExceeded, ReplicaGone.
        """
        wanted = self._wanted
        if wanted.once is not None and (earlier := wanted.once.claim(session)) is not None:
            return earlier, True
        self._replicas.record(session, self._provided)
        blob = None
        # Somebody may be first to use the id, after we have looked: then there is a blob to ask about.
        while blob is None:
            before = self._before(session)
            if before is not None and before.pk == self._mark:
                return before, self._is_new
            allow(before, wanted.replaces)
            if before is not None:
                _put_aside(session, before, self._moment, deleted=False)
            self._is_new = before is None
            blob = _add(session, self._row(before))
        if wanted.once is not None:
            wanted.once.keep(session, blob)
        quotas.charge(session, wanted.caller, blob.size, wanted.reservation)
        action: Action = "blob.stored" if self._is_new else "blob.replaced"
        note(session, wanted.caller, action, blob.id, version=blob.version, size=blob.size)
        return blob, self._is_new

    def happened(self, session: Session) -> tuple[Blob, bool] | None:
        blob = _version(session, self._mark)
        return None if blob is None else (blob, self._is_new)

    def _before(self, session: Session) -> Blob | None:
        look = current if self._wanted.replaces is None else locked
        return look(session, self._wanted.described.id)

    def _row(self, before: Blob | None) -> dict[str, Any]:
        described = self._wanted.described
        return {
            "pk": self._mark,
            "id": described.id,
            "folder": folder_of(described.id),
            "filename": described.filename,
            "content_type": described.content_type,
            "blob_metadata": dict(described.metadata),
            "size": self._provided.pieces.size,
            "sha256": self._provided.sha256,
            "storage_backend": self._provided.backend,
            "created_at": self._moment if before is None else before.created_at,
            "updated_at": self._moment,
            "version": 1 if before is None else before.version + 1,
            "owner": self._wanted.caller.key_id,
        }


class Deletion:
    """Puts a blob into the trash."""

    def __init__(self, caller: Caller, id: str, only: Condition | None) -> None:
        self._caller, self._id, self._only = caller, id, only
        self._marks: list[UUID] = []  # of the versions that were put aside, one for each time this ran

    def delete(self, session: Session) -> bool:
        """Raises BlobNotFound, PreconditionFailed."""
        blob = locked(session, self._id)
        if blob is None:
            raise not_found(self._id)
        if self._only is not None:
            allow(blob, self._only)
        self._marks.append(blob.pk)
        _put_aside(session, blob, now(), deleted=True)
        note(session, self._caller, "blob.deleted", self._id, version=blob.version)
        return True

    def happened(self, session: Session) -> bool | None:
        found = select(exists().where(BlobHistory.pk.in_(self._marks), BlobHistory.deleted))
        return session.scalar(found) or None


class Erasure:
    """Removes a blob with everything that is remembered under its id: its versions, and the trash."""

    def __init__(self, caller: Caller, id: str, only: Condition | None) -> None:
        self._caller, self._id, self._only = caller, id, only
        self._ran = False

    def erase(self, session: Session) -> bool:
        """Raises BlobNotFound, PreconditionFailed."""
        # Replicas before blobs: that is the order in which everybody locks them.
        for sha256, backend in sorted({(row.sha256, row.storage_backend) for row in self._rows(session)}):
            release(session, sha256, backend)
        blob = locked(session, self._id)
        if self._only is not None:
            allow(blob, self._only)
        rows = self._rows(session)
        if not rows:
            raise not_found(self._id)
        for row in rows:
            quotas.refund(session, row.owner, row.size)
            session.delete(row)
        if blob is not None:
            count(session, blob.storage_backend, blobs=-1)
        note(session, self._caller, "blob.erased", self._id, versions=len(rows))
        self._ran = True
        return True

    def _rows(self, session: Session) -> list[Blob | BlobHistory]:
        """The blob, if there is one, and all that was put aside."""
        blobs = session.scalars(select(Blob).where(Blob.id == self._id)).all()
        return [*blobs, *session.scalars(select(BlobHistory).where(BlobHistory.id == self._id))]

    def happened(self, session: Session) -> bool | None:
        """Nothing left under the id, after we had found something: it was us, or as good as."""
        if not self._ran:
            return None
        left = exists().where(Blob.id == self._id), exists().where(BlobHistory.id == self._id)
        return None if any(session.scalar(select(found)) for found in left) else True


class Restoration:
    """Makes an earlier version current again, as a new version; `version` None is what was deleted last.

    A deleted one leaves the trash. An earlier version of a blob that is there stays in its history, and the
    current one joins it.
    """

    def __init__(self, caller: Caller, id: str, version: int | None, only: Condition | None = None) -> None:
        self._caller, self._id, self._version, self._only = caller, id, version, only
        self._mark = uuid7()

    def restore(self, session: Session) -> Blob:
        """Raises BlobNotFound, BlobExists, PreconditionFailed, QuotaExceeded."""
        before = locked(session, self._id)
        if before is not None and before.pk == self._mark:
            return before
        if self._only is not None:
            allow(before, self._only)
        if before is not None and before.version == self._version:
            return before
        aside = self._aside(session)
        if self._version is None:
            allow(before, None)
        if aside is None:
            what = "in the trash" if self._version is None else f"of version {self._version}"
            raise BlobNotFound(f"There is nothing {what} with the id {self._id!r}.")
        moment = now()
        row = aside.described() | {"pk": self._mark, "updated_at": moment}
        if before is not None:
            _put_aside(session, before, moment, deleted=False)
        if aside.deleted and before is None:
            session.delete(aside)
        else:
            quotas.charge(session, self._caller, aside.size)
            row |= {"owner": self._caller.key_id}
        row["version"] = max(aside.version, 0 if before is None else before.version) + 1
        blob = _add(session, row)
        if blob is None:
            raise taken(self._id)
        note(session, self._caller, "blob.restored", self._id, version=blob.version, was=aside.version)
        return blob

    def happened(self, session: Session) -> Blob | None:
        return _version(session, self._mark)

    def _aside(self, session: Session) -> BlobHistory | None:
        query = select(BlobHistory).where(BlobHistory.id == self._id)
        if self._version is None:
            query = query.where(BlobHistory.deleted)
        else:
            query = query.where(BlobHistory.version == self._version)
        latest = query.order_by(BlobHistory.version.desc()).limit(1)
        return session.scalars(latest.with_for_update()).first()


class Change:
    """Changes what is said of a blob, not its bytes: its version counts up, no earlier one is kept."""

    def __init__(self, caller: Caller, id: str, values: Mapping[str, Any], only: Condition | None) -> None:
        self._caller, self._id, self._values, self._only = caller, id, dict(values), only
        self._done: tuple[UUID, int] | None = None  # the row, and the version that it has afterwards

    def change(self, session: Session) -> Blob:
        """Raises BlobNotFound, PreconditionFailed."""
        blob = locked(session, self._id)
        if blob is None:
            raise not_found(self._id)
        if self._only is not None:
            allow(blob, self._only)
        for name, value in self._values.items():
            setattr(blob, name, value)
        blob.version, blob.updated_at = blob.version + 1, now()
        self._done = blob.pk, blob.version
        note(
            session, self._caller, "blob.changed", self._id, version=blob.version, fields=sorted(self._values)
        )
        return blob

    def happened(self, session: Session) -> Blob | None:
        blob = current(session, self._id)
        return blob if blob is not None and (blob.pk, blob.version) == self._done else None


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


def _version(session: Session, mark: UUID) -> Blob | None:
    """The version of a blob that this mark names, also when it has been put aside since."""
    if (blob := session.get(Blob, mark)) is not None:
        return blob
    return _as_blob(session.get(BlobHistory, mark))


def _as_blob(aside: BlobHistory | None) -> Blob | None:
    return None if aside is None else Blob(pk=aside.pk, **aside.described())


def _add(session: Session, row: dict[str, Any]) -> Blob | None:
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


def _put_aside(session: Session, blob: Blob, moment: datetime, *, deleted: bool) -> None:
    """Moves a row to the history, under the same surrogate key: that names one version for ever."""
    session.add(BlobHistory(pk=blob.pk, **blob.described(), put_aside_at=moment, deleted=deleted))
    session.execute(delete(Blob).where(Blob.pk == blob.pk))
    count(session, blob.storage_backend, blobs=-1)
