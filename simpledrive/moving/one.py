"""Moving one blob, without its earlier versions, because somebody asked for it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session, undefer

from simpledrive import descriptions, ids, records, standing
from simpledrive.backends import Backends
from simpledrive.errors import Busy
from simpledrive.models import Blob, Condition, Replica
from simpledrive.moving.copying import Copies, Copy
from simpledrive.moving.flow import Flow
from simpledrive.moving.switching import record, rehome
from simpledrive.records import Change
from simpledrive.replicas import ReplicaGone, Replicas
from simpledrive.rights import Caller
from simpledrive.sql import ATTEMPTS, Database


class Mover:
    """Moves a blob to another backend while people read and write."""

    def __init__(self, database: Database, backends: Backends, replicas: Replicas, copies: Copies) -> None:
        self._database, self._backends, self._replicas, self._copies = database, backends, replicas, copies

    def move(
        self,
        caller: Caller,
        id: str,
        target: str,
        only: Condition | None = None,
        **said: Any,
    ) -> Blob:
        """The blob, its bytes at the target. Nothing to do is fine.

        `said` changes what is said of it as Drive.change does, in the same transaction: both happen or none.
        Raises BlobNotFound, Forbidden, Invalid, PreconditionFailed, IntegrityFault, StorageError, Busy.
        """
        caller.require("write", id)
        caller.require("read", id)  # the record is answered
        target = self._backends.chosen(target, caller.backends)
        values = descriptions.changes(id, **said) if ids.flaw(id) is None else {}
        for _ in range(ATTEMPTS):
            blob, replica = self._database.read(lambda session: _blob_and_home(session, id, only))
            if blob.storage_backend == target:
                change = Change(caller, id, values, only)
                return self._database.write(change.change, change.happened) if values else blob
            with suppress(ReplicaGone):
                known = self._replicas.find(replica.sha256, target)
                copy = self._copies.make(replica, target, known, Flow())
                with self._replicas.settled(copy.provided):
                    return self._database.write(partial(self._switch, caller, blob, copy, only, values))
        raise Busy("Others keep changing this blob, try again.")

    def _switch(
        self,
        caller: Caller,
        blob: Blob,
        copy: Copy,
        only: Condition | None,
        values: Mapping[str, Any],
        session: Session,
    ) -> Blob:
        """One transaction: the target's replica is recorded, one home is switched. ReplicaGone: look anew."""
        target = copy.provided.backend
        standing.require(session, caller)
        if not record(session, self._replicas, [copy]):
            raise ReplicaGone
        found = records.locked(session, blob.id)
        if found is not None and found.pk == blob.pk and found.storage_backend == target:
            return found  # this ran before
        if found is None or (found.pk, found.storage_backend) != (blob.pk, blob.storage_backend):
            raise ReplicaGone
        if only is not None:
            records.allow(found, only)
        mirrors, source = self._replicas.mirrors, blob.storage_backend
        rehome(session, caller, mirrors, [blob.pk], [blob.sha256], source=source, target=target)
        session.refresh(found)
        if values:
            records.say(session, caller, found, values)
        return found


def _blob_and_home(session: Session, id: str, only: Condition | None) -> tuple[Blob, Replica]:
    """A blob and the replica at its home, with its pieces. Raises BlobNotFound, PreconditionFailed."""
    blob = records.current(session, id) if ids.flaw(id) is None else None
    if blob is None:
        raise records.not_found(id)
    if only is not None:
        records.allow(blob, only)
    here = (Replica.sha256 == blob.sha256, Replica.storage_backend == blob.storage_backend)
    return blob, session.scalars(select(Replica).where(*here).options(undefer(Replica.pieces))).one()
