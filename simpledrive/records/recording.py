"""Recording bytes as a blob."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from simpledrive import quotas, standing
from simpledrive.audit import Action, note
from simpledrive.descriptions import Description
from simpledrive.ids import folder_of, uuid7
from simpledrive.models import Blob, Condition, now
from simpledrive.records import rows
from simpledrive.replays import Once
from simpledrive.replicas import Provided, Replicas, lock
from simpledrive.rights import Caller


@dataclass(frozen=True)
class Wanted:
    """A blob to be recorded: who wants it, how it is described, and in whose place it may come.

    `reserved` is what was set aside of the caller's quota, `once` what makes the request repeatable.
    """

    caller: Caller
    described: Description
    replaces: Condition | None = None
    reserved: quotas.Reserved | None = None
    once: Once | None = None


class Recording:
    """Records bytes as a blob: a new one, or in the place of one that `replaces` allows to be put aside.

    `copies` are the bytes at its home, and then at the mirrors that have them already.
    """

    def __init__(self, replicas: Replicas, copies: Sequence[Provided], wanted: Wanted) -> None:
        self._replicas, self._copies, self._wanted = replicas, copies, wanted
        self._home = copies[0]
        self._mark, self._moment = uuid7(), now()
        self._is_new = True

    def record(self, session: Session) -> tuple[Blob, bool]:
        """The blob, and whether it is a new one.

        Raises BlobExists, PreconditionFailed, KeyReused, QuotaExceeded, ReplicaGone.
        """
        wanted = self._wanted
        standing.require(session, wanted.caller)
        if wanted.once is not None and (earlier := wanted.once.claim(session)) is not None:
            return earlier, True
        self._record_copies(session)
        blob = None
        # Somebody may be first to use the id, after we have looked: then there is a blob to ask about.
        while blob is None:
            before = self._before(session)
            if before is not None and before.pk == self._mark:
                return before, self._is_new
            rows.allow(before, wanted.replaces)
            if before is not None:
                rows.put_aside(session, before, self._moment, deleted=False)
            self._is_new = before is None
            blob = rows.add(session, self._row(before))
        if wanted.once is not None:
            wanted.once.keep(session, blob)
        quotas.charge(session, wanted.caller, blob.size, wanted.reserved)
        action: Action = "blob.stored" if self._is_new else "blob.replaced"
        note(session, wanted.caller, action, blob.id, version=blob.version, size=blob.size)
        return blob, self._is_new

    def happened(self, session: Session) -> tuple[Blob, bool] | None:
        blob = rows.version_of(session, self._mark)
        return None if blob is None else (blob, self._is_new)

    def _record_copies(self, session: Session) -> None:
        mirrors, home = self._replicas.mirrors, self._home
        if mirrors.of(home.backend):
            lock(session, [home.sha256])
        for copy in sorted(self._copies, key=lambda copy: copy.backend):
            self._replicas.record(session, copy)
        mirrors.want(session, home.sha256, home.backend)

    def _before(self, session: Session) -> Blob | None:
        look = rows.current if self._wanted.replaces is None else rows.locked
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
            "size": self._home.pieces.size,
            "sha256": self._home.sha256,
            "storage_backend": self._home.backend,
            "created_at": self._moment if before is None else before.created_at,
            "updated_at": self._moment,
            "version": 1 if before is None else before.version + 1,
            "owner": self._wanted.caller.key_id,
        }
