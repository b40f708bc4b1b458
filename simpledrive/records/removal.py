"""Removing a blob: into the trash, or for good."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import Row, delete, exists, select
from sqlalchemy.orm import Session

from simpledrive import quotas, standing
from simpledrive.audit import note
from simpledrive.models import Blob, BlobHistory, Condition, now
from simpledrive.records import rows
from simpledrive.replicas import release
from simpledrive.rights import Caller
from simpledrive.usage import count


class Deletion:
    """Puts a blob into the trash."""

    def __init__(self, caller: Caller, id: str, only: Condition | None) -> None:
        self._caller, self._id, self._only = caller, id, only
        self._marks: list[UUID] = []  # of the versions that were put aside, one for each time this ran

    def delete(self, session: Session) -> bool:
        """Raises BlobNotFound, PreconditionFailed."""
        if self._marks and self.happened(session):
            return True  # by an earlier run, whose COMMIT counted after all
        standing.require(session, self._caller)
        blob = rows.locked(session, self._id)
        if blob is None:
            raise rows.not_found(self._id)
        if self._only is not None:
            rows.allow(blob, self._only)
        self._marks.append(blob.pk)
        rows.put_aside(session, blob, now(), deleted=True)
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
        """Raises BlobNotFound, PreconditionFailed.

        What others store under the id once we have looked is theirs, and stays.
        """
        standing.require(session, self._caller)
        # Replicas before blobs: that is the order in which everybody locks them.
        released = self._places(session)
        for place in sorted(released):
            release(session, *place)
        blob = rows.locked(session, self._id)
        if self._only is not None:
            rows.allow(blob, self._only)
        gone = [*_removed(session, Blob, [] if blob is None else [blob.pk])]
        if gone:
            count(session, gone[0].storage_backend, blobs=-1)
        aside = session.scalars(select(BlobHistory.pk).where(BlobHistory.id == self._id)).all()
        gone += _removed(session, BlobHistory, aside)
        if not gone:
            raise rows.not_found(self._id)
        for place in sorted({(row.sha256, row.storage_backend) for row in gone} - released):
            release(session, *place)  # somebody stored it, or moved it there, when we had looked
        for row in gone:
            quotas.refund(session, row.owner, row.size)
        note(session, self._caller, "blob.erased", self._id, versions=len(gone))
        self._ran = True
        return True

    def _places(self, session: Session) -> set[tuple[str, str]]:
        """The replicas that what is there needs."""
        found: set[tuple[str, str]] = set()
        for table in (Blob, BlobHistory):
            query = select(table.sha256, table.storage_backend).where(table.id == self._id)
            found |= {(sha256, backend) for sha256, backend in session.execute(query)}
        return found

    def happened(self, session: Session) -> bool | None:
        """Nothing left under the id, after we had found something: it was us, or as good as."""
        if not self._ran:
            return None
        left = exists().where(Blob.id == self._id), exists().where(BlobHistory.id == self._id)
        return None if any(session.scalar(select(found)) for found in left) else True


def _removed(
    session: Session, table: type[Blob] | type[BlobHistory], marks: Sequence[UUID]
) -> Sequence[Row[str, str, str, int]]:
    """Deletes these rows, as far as nobody else has; what was in them."""
    columns = (table.sha256, table.storage_backend, table.owner, table.size)
    statement = delete(table).where(table.pk.in_(marks)).returning(*columns)
    return session.execute(statement, execution_options={"synchronize_session": False}).all()
