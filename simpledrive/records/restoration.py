"""Making an earlier or deleted version current again."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from simpledrive import quotas, standing
from simpledrive.audit import note
from simpledrive.errors import BlobNotFound, Forbidden
from simpledrive.ids import uuid7
from simpledrive.models import Blob, BlobHistory, Condition, now
from simpledrive.records import rows
from simpledrive.rights import Caller


class Restoration:
    """Makes an earlier version current again, as a new version; `version` None is what was deleted last.

    A deleted one leaves the trash. An earlier version of a blob that is there stays in its history, and the
    current one joins it.
    """

    def __init__(self, caller: Caller, id: str, version: int | None, only: Condition | None = None) -> None:
        self._caller, self._id, self._version, self._only = caller, id, version, only
        self._mark = uuid7()

    def restore(self, session: Session) -> Blob:
        """Raises BlobNotFound, BlobExists, Forbidden, PreconditionFailed, QuotaExceeded."""
        standing.require(session, self._caller)
        before = rows.locked(session, self._id)
        if before is not None and before.pk == self._mark:
            return before
        if self._only is not None:
            rows.allow(before, self._only)
        if before is not None and before.version == self._version:
            return before
        aside = self._aside(session)
        if self._version is None:
            rows.allow(before, None)
        if aside is None:
            what = "in the trash" if self._version is None else f"of version {self._version}"
            raise BlobNotFound(f"There is nothing {what} with the id {self._id!r}.")
        if self._caller.backends is not None and aside.storage_backend not in self._caller.backends:
            raise Forbidden("This key may not place bytes at the backend where that version is.")
        moment = now()
        row = aside.described() | {"pk": self._mark, "updated_at": moment}
        if before is not None:
            rows.put_aside(session, before, moment, deleted=False)
        if aside.deleted and before is None:
            session.delete(aside)
        else:
            quotas.charge(session, self._caller, aside.size)
            row |= {"owner": self._caller.key_id}
        row["version"] = max(aside.version, 0 if before is None else before.version) + 1
        blob = rows.add(session, row)
        if blob is None:
            raise rows.taken(self._id)
        note(session, self._caller, "blob.restored", self._id, version=blob.version, was=aside.version)
        return blob

    def happened(self, session: Session) -> Blob | None:
        return rows.version_of(session, self._mark)

    def _aside(self, session: Session) -> BlobHistory | None:
        query = select(BlobHistory).where(BlobHistory.id == self._id)
        if self._version is None:
            query = query.where(BlobHistory.deleted)
        else:
            query = query.where(BlobHistory.version == self._version)
        latest = query.order_by(BlobHistory.version.desc()).limit(1)
        return session.scalars(latest.with_for_update()).first()
