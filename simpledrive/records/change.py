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
        blob.version += 1
        say(session, self._caller, blob, self._values)
        self._done = blob.pk, blob.version
        return blob

    def happened(self, session: Session) -> Blob | None:
        blob = rows.current(session, self._id)
        return blob if blob is not None and (blob.pk, blob.version) == self._done else None


def say(session: Session, caller: Caller, blob: Blob, values: Mapping[str, Any]) -> None:
    """Has these columns of a blob that is locked say something else, as a part of its present version."""
    for name, value in values.items():
        setattr(blob, name, value)
    blob.updated_at = now()
    note(session, caller, "blob.changed", blob.id, version=blob.version, fields=sorted(values))
