"""The drive: where records and bytes meet.

Bytes first, record second. Every call takes the caller, asks what he may do, and raises errors.py; both
faces translate these same calls. No database transaction is open while a storage is called. The transactions
are in records.py, the copies of bytes in replicas.py, reading from several of them in reading.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from sqlalchemy import select

from simpledrive import descriptions, ids, records
from simpledrive.backends import Backends
from simpledrive.errors import Busy
from simpledrive.models import Blob, Replica
from simpledrive.reading import Reading
from simpledrive.records import Condition, Deletion, Recording, Restoration
from simpledrive.replicas import ReplicaGone, Replicas
from simpledrive.rights import Caller
from simpledrive.sql import ATTEMPTS, Database
from simpledrive.streams.staging import Incoming, Staged, Staging


@dataclass(frozen=True)
class NewBlob:
    """What a caller says of a blob. What is None is chosen for him."""

    id: str | None = None
    filename: str | None = None
    content_type: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    storage_backend: str | None = None


class Drive:
    """Stores, opens, describes, deletes and restores blobs."""

    def __init__(self, database: Database, backends: Backends, replicas: Replicas, staging: Staging) -> None:
        self._database, self._backends = database, backends
        self._replicas, self._staging = replicas, staging
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
        backend = self._backends.chosen(new.storage_backend)
        caller.require("write", described.id)
        self._admit(described.id, replaces)
        staged = body if isinstance(body, Staged) else self._staging.receive(body)
        try:
            return self._keep(caller, staged, described, backend, replaces)
        finally:
            if staged is not body:
                staged.close()

    def _admit(self, id: str, replaces: Condition | None) -> None:
        """Refuses early what would be refused later, before a large body is received."""
        current = self._database.read(lambda session: records.current(session, id))
        records.allow(current, replaces)

    def _keep(
        self,
        caller: Caller,
        staged: Staged,
        described: descriptions.Description,
        backend: str,
        replaces: Condition | None,
    ) -> tuple[Blob, bool]:
        for _ in range(ATTEMPTS):
            provided = self._replicas.provide(staged.source, staged.pieces, backend)
            recording = Recording(self._replicas, provided, described, caller.name, replaces)
            with suppress(ReplicaGone), self._replicas.settled(provided):
                return self._database.write(recording.record, recording.happened)
        raise Busy("These bytes are being stored and deleted too often at this moment.")

    # --- Reading

    def describe(self, caller: Caller, id: str) -> Blob:
        """The blob of that id. Raises BlobNotFound, Forbidden."""
        caller.require("read", id)
        _refuse_impossible(id)
        blob = self._database.read(lambda session: records.current(session, id))
        if blob is None:
            raise records.not_found(id)
        return blob

    def read(self, caller: Caller, blob: Blob, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """Its bytes [start, stop), every piece checked, in portions of at most a piece. See reading.py.

        Of an empty blob or range there are none to check: it is answered without a look at any replica, also
        when all of them are gone or out of reach.
        """
        caller.require("read", blob.id)
        return self._reading.read(
            blob.sha256, blob.storage_backend, start, blob.size if stop is None else stop
        )

    def copies_of(self, caller: Caller, blobs: list[Blob]) -> dict[str, list[Replica]]:
        """For each blob's id the replicas of its bytes, home first, in one query."""
        for blob in blobs:
            caller.require("read", blob.id)
        digests = {blob.sha256 for blob in blobs}
        rows = self._database.read(
            lambda session: session.scalars(select(Replica).where(Replica.sha256.in_(digests))).all()
        )
        found: dict[str, list[Replica]] = {}
        for blob in blobs:
            own = [row for row in rows if row.sha256 == blob.sha256]
            home = blob.storage_backend
            found[blob.id] = sorted(own, key=lambda row: (row.storage_backend != home, row.storage_backend))
        return found

    # --- Deleting and undoing

    def delete(self, caller: Caller, id: str, only: Condition | None = None) -> None:
        """Puts the blob into the trash: its record is kept aside, its bytes stay where they are.

        Raises BlobNotFound, Forbidden, and PreconditionFailed if `only` does not hold of it.
        """
        caller.require("delete", id)
        _refuse_impossible(id)
        deletion = Deletion(id, only)
        self._database.write(deletion.delete, deletion.happened)

    def restore(self, caller: Caller, id: str) -> Blob:
        """Undoes the last deletion of that id, as a new version.

        Raises BlobNotFound if there is nothing in the trash, BlobExists if the id was taken since.
        """
        caller.require("write", id)
        _refuse_impossible(id)
        restoration = Restoration(id)
        return self._database.write(restoration.restore, restoration.happened)


def _refuse_impossible(id: str) -> None:
    """Raises BlobNotFound for what no blob is called: PostgreSQL cannot even be asked for a U+0000."""
    if ids.flaw(id) is not None:
        raise records.not_found(id)
