"""Changing what is said of a blob."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from simpledrive import standing
from simpledrive.audit import note
from simpledrive.models import Blob, Condition, now
from simpledrive.records import rows
from simpledrive.rights import Caller


class Change:
    """Changes what is said of a blob, not its bytes: its version counts up, no earlier one is kept."""

    def __init__(self, caller: Caller, id: str, values: Mapping[str, Any], only: Condition | None) -> None:
        self._caller, self._id, self._values, self._only = caller, id, dict(values), only
        self._done: tuple[UUID, int] | None = None  # the row, and the version that it has afterwards

    def change(self, session: Session) -> Blob:
        """Raises BlobNotFound, PreconditionFailed."""
        standing.require(session, self._caller)
        blob = rows.locked(session, self._id)
        if blob is None:
            raise rows.not_found(self._id)
        if self._only is not None:
            rows.allow(blob, self._only)
        for name, value in self._values.items():
            setattr(blob, name, value)
        blob.version, blob.updated_at = blob.version + 1, now()
        self._done = blob.pk, blob.version
        note(
            session, self._caller, "blob.changed", self._id, version=blob.version, fields=sorted(self._values)
        )
        return blob

    def happened(self, session: Session) -> Blob | None:
        blob = rows.current(session, self._id)
        return blob if blob is not None and (blob.pk, blob.version) == self._done else None
