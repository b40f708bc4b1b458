"""The drive: where records and bytes meet.

Bytes first, record second. Every call takes the caller, asks what he may do, and raises errors.py; both
faces translate these same calls. No database transaction is open while a storage is called. Tables and
backends are in models.py and backends.py; reading with several replicas is in reading.py.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from sqlalchemy import delete, exists, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from simpledrive import descriptions, ids
from simpledrive.backends import Backends
from simpledrive.errors import (
    BlobExists,
    BlobNotFound,
    Busy,
    DatabaseFull,
    PreconditionFailed,
    RequestError,
    StorageError,
)
from simpledrive.keys import Caller
from simpledrive.models import BackendUsage, Blob, BlobHistory, Replica, now
from simpledrive.reading import Reading
from simpledrive.replicas import Provided, ReplicaGone, Replicas, count_new
from simpledrive.sql import ATTEMPTS, Database
from simpledrive.streams.staging import Incoming, Staged, Staging

log = logging.getLogger(__name__)

Condition = Callable[[Blob | None], bool]
"""What must hold of the current blob (None: there is none), asked inside the transaction that changes it."""


@dataclass(frozen=True)
class NewBlob:
    """What a caller says of a blob. What is None is chosen for him."""

    id: str | None = None
    filename: str | None = None
    content_type: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    storage_backend: str | None = None


@dataclass(frozen=True)
class Usage:
    """What lies at a backend: how many replicas, how many bytes."""

    backend: str
    kind: str
    replicas: int
    bytes: int


class Drive:
    """Stores, opens, describes, deletes and restores blobs."""

    def __init__(self, database: Database, backends: Backends, replicas: Replicas, staging: Staging) -> None:
        self.database, self.backends, self.replicas, self.staging = database, backends, replicas, staging
        self._reading = Reading(database, backends)

    # --- Storing

    def store(
        self, caller: Caller, body: Incoming | Staged, new: NewBlob, replaces: Condition | None = None
    ) -> tuple[Blob, bool]:
        """The blob, recorded and durable, and whether it is a new one. `body` is closed by whoever made it.

        Without `replaces` an existing id is BlobExists; with it the current blob must satisfy it
        (PreconditionFailed otherwise), is put aside as an earlier version and replaced. Raises also Invalid,
        Forbidden, what receiving raises (streams/staging.py), StorageError, Busy; then nothing is recorded.
        """
        described = descriptions.of(new.id, new.filename, new.content_type, new.metadata)
        backend = self.backends.chosen(new.storage_backend)
        caller.require("write", described.id)
        self._admit(described.id, replaces)
        staged = body if isinstance(body, Staged) else self.staging.receive(body)
        try:
            return self._keep(caller, staged, described, backend, replaces)
        finally:
            if staged is not body:
                staged.close()

    def _admit(self, id: str, replaces: Condition | None) -> None:
        """Refuses early what would be refused later, before a large body is received."""
        current = self.database.read(lambda session: _current(session, id))
        _allow(current, replaces)

    def _keep(
        self,
        caller: Caller,
        staged: Staged,
        described: descriptions.Description,
        backend: str,
        replaces: Condition | None,
    ) -> tuple[Blob, bool]:
        for _ in range(ATTEMPTS):
            provided = self.replicas.provide(staged.source, staged.pieces, backend)
            try:
                blob, used, is_new = self._record(caller, staged, described, provided, replaces)
            except ReplicaGone:
                continue
            except (RequestError, StorageError, Busy, DatabaseFull):
                # Definitely not recorded. After anything else, what was put is left to the sweep.
                self.replicas.settle(provided, None)
                raise
            self.replicas.settle(provided, used)
            return blob, is_new
        raise Busy("These bytes are being stored and deleted too often at this moment.")

    def _record(
        self,
        caller: Caller,
        staged: Staged,
        described: descriptions.Description,
        provided: Provided,
        replaces: Condition | None,
    ) -> tuple[Blob, str, bool]:
        mark = ids.uuid7()  # recognises our own row, should the connection break around COMMIT
        moment = now()
        outcome: dict[str, tuple[str, bool]] = {}

        def work(session: Session) -> tuple[Blob, str, bool]:
            recorded = self.replicas.record(session, provided)
            current = _current(session, described.id) if replaces is None else _locked(session, described.id)
            if current is not None and current.pk == mark:
                return current, *outcome["committed"]
            _allow(current, replaces)
            if current is not None:
                _put_aside(session, current, moment, deleted=False)
                session.flush()
            blob = Blob(
                pk=mark,
                id=described.id,
                folder=ids.folder_of(described.id),
                filename=described.filename,
                content_type=described.content_type,
                blob_metadata=dict(described.metadata),
                size=staged.size,
                sha256=staged.sha256,
                storage_backend=provided.backend,
                created_at=moment,
                updated_at=moment,
                version=1 if current is None else current.version + 1,
                owner=caller.name,
            )
            _add(session, blob)
            count_new(session, provided, recorded)
            outcome["committed"] = recorded.key, current is None
            return blob, *outcome["committed"]

        def happened(session: Session) -> tuple[Blob, str, bool] | None:
            blob = _version(session, mark)
            return None if blob is None else (blob, *outcome["committed"])

        for _ in range(ATTEMPTS):
            try:
                return self.database.write(work, happened)
            except IntegrityError as error:
                if replaces is None:
                    raise BlobExists(f"A blob with the id {described.id!r} exists already.") from error
                # Somebody was first to use the id, after we had looked: now there is a blob to ask about.
        raise Busy("Too many change this blob at this moment.")

    # --- Reading

    def describe(self, caller: Caller, id: str) -> Blob:
        """The blob of that id. Raises BlobNotFound, Forbidden."""
        caller.require("read", id)
        _refuse_impossible(id)
        blob = self.database.read(lambda session: _current(session, id))
        if blob is None:
            raise BlobNotFound(f"There is no blob with the id {id!r}.")
        return blob

    def read(self, caller: Caller, blob: Blob, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """Its bytes [start, stop), every piece checked, in portions of at most a piece. See reading.py."""
        caller.require("read", blob.id)
        return self._reading.read(
            blob.sha256, blob.storage_backend, start, blob.size if stop is None else stop
        )

    def copies(self, caller: Caller, blob: Blob) -> list[Replica]:
        """The replicas of its bytes, home first, then by backend."""
        return self.copies_of(caller, [blob])[blob.id]

    def copies_of(self, caller: Caller, blobs: list[Blob]) -> dict[str, list[Replica]]:
        """For each blob's id the replicas of its bytes, home first, in one query."""
        for blob in blobs:
            caller.require("read", blob.id)
        digests = {blob.sha256 for blob in blobs}
        rows = self.database.read(
            lambda session: session.scalars(select(Replica).where(Replica.sha256.in_(digests))).all()
        )
        found: dict[str, list[Replica]] = {}
        for blob in blobs:
            own = [row for row in rows if row.sha256 == blob.sha256]
            home = blob.storage_backend
            found[blob.id] = sorted(own, key=lambda row: (row.storage_backend != home, row.storage_backend))
        return found

    def usage(self, caller: Caller) -> list[Usage]:
        """What lies at each backend, by counters: the configured ones first, default before all."""
        caller.require("read")
        rows = self.database.read(
            lambda session: session.execute(
                select(
                    BackendUsage.storage_backend,
                    func.sum(BackendUsage.replicas),
                    func.sum(BackendUsage.bytes),
                ).group_by(BackendUsage.storage_backend)
            ).all()
        )
        held = {name: (int(replicas), int(size)) for name, replicas, size in rows}
        names = [
            *self.backends,
            *sorted(name for name in held if name not in self.backends and held[name][0]),
        ]
        names.sort(key=lambda name: name != self.backends.default)
        return [Usage(name, self.backends.kind(name), *held.get(name, (0, 0))) for name in names]

    # --- Deleting and undoing

    def delete(self, caller: Caller, id: str, only: Condition | None = None) -> None:
        """Puts the blob into the trash: its record is kept aside, its bytes stay where they are.

        Raises BlobNotFound, Forbidden, and PreconditionFailed if `only` does not hold of it.
        """
        caller.require("delete", id)
        _refuse_impossible(id)
        aside: list[UUID] = []

        def work(session: Session) -> bool:
            current = _locked(session, id)
            if current is None:
                raise BlobNotFound(f"There is no blob with the id {id!r}.")
            if only is not None and not only(current):
                raise PreconditionFailed("The blob is not the one that was named.")
            _put_aside(session, current, now(), deleted=True)
            aside.append(current.pk)
            return True

        def happened(session: Session) -> bool | None:
            found = select(exists().where(BlobHistory.pk.in_(aside), BlobHistory.deleted))
            return session.scalar(found) or None

        self.database.write(work, happened)

    def restore(self, caller: Caller, id: str) -> Blob:
        """Undoes the last deletion of that id, as a new version.

        Raises BlobNotFound if there is nothing in the trash, BlobExists if the id was taken since.
        """
        caller.require("write", id)
        _refuse_impossible(id)
        mark = ids.uuid7()

        def work(session: Session) -> Blob:
            aside = session.scalars(
                select(BlobHistory)
                .where(BlobHistory.id == id, BlobHistory.deleted)
                .order_by(BlobHistory.version.desc())
                .limit(1)
                .with_for_update()
            ).first()
            if _current(session, id) is not None:
                raise BlobExists(f"A blob with the id {id!r} exists already.")
            if aside is None:
                raise BlobNotFound(f"There is nothing in the trash with the id {id!r}.")
            blob = Blob(pk=mark, **aside.described())
            blob.version, blob.updated_at = aside.version + 1, now()
            session.delete(aside)
            _add(session, blob)
            return blob

        try:
            return self.database.write(work, lambda session: _version(session, mark))
        except IntegrityError as error:
            raise BlobExists(f"A blob with the id {id!r} exists already.") from error


def _refuse_impossible(id: str) -> None:
    """Raises BlobNotFound for what no blob is called: PostgreSQL cannot even be asked for a U+0000."""
    if ids.flaw(id) is not None:
        raise BlobNotFound(f"There is no blob with the id {id!r}.")


def _current(session: Session, id: str) -> Blob | None:
    return session.scalars(select(Blob).where(Blob.id == id)).one_or_none()


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


def _allow(current: Blob | None, replaces: Condition | None) -> None:
    if replaces is not None and not replaces(current):
        raise PreconditionFailed("The blob is not the one that was named.")
    if replaces is None and current is not None:
        raise BlobExists(f"A blob with the id {current.id!r} exists already.")


def _add(session: Session, blob: Blob) -> None:
    """Inserts a blob, numbered behind all versions of its id that are remembered, deleted ones too.

    The numbers are looked at when the id is ours already: before, somebody could still add to them.
    """
    session.add(blob)
    session.flush()
    latest = session.scalar(select(func.max(BlobHistory.version)).where(BlobHistory.id == blob.id)) or 0
    blob.version = max(blob.version, latest + 1)


def _put_aside(session: Session, blob: Blob, moment: datetime, *, deleted: bool) -> None:
    """Moves a row to the history, under the same surrogate key: that names one version for ever."""
    session.add(BlobHistory(pk=blob.pk, **blob.described(), put_aside_at=moment, deleted=deleted))
    session.execute(delete(Blob).where(Blob.pk == blob.pk))
