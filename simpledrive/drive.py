"""The drive: where records and bytes meet.

Bytes first, record second. Every call takes the caller, asks what he may do, and raises errors.py; both
faces translate these same calls. No database transaction is open while a storage is called. The transactions
are in records.py, the copies of bytes in replicas.py, reading from several of them in reading.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace

from sqlalchemy import select
from sqlalchemy.orm import Session

from simpledrive import descriptions, ids, listing, quotas, records
from simpledrive.backends import Backends
from simpledrive.errors import Busy, QuotaExceeded, TooLarge
from simpledrive.models import Blob, Condition, Replica
from simpledrive.placement import Placement
from simpledrive.quotas import Quotas
from simpledrive.reading import Reading
from simpledrive.records import Change, Deletion, Erasure, Recording, Restoration, Wanted
from simpledrive.replays import Once, fingerprint
from simpledrive.replicas import Provided, ReplicaGone, Replicas
from simpledrive.rights import Caller
from simpledrive.sql import ATTEMPTS, Database
from simpledrive.streams.staging import Incoming, Staged, Staging


@dataclass(frozen=True)
class NewBlob:
    """What a caller says of a blob. What is None is chosen for him.

    `once` names this request among all that anybody may send: the same one sent again stores nothing more and
    gets the same answer (replays.py).
    """

    id: str | None = None
    filename: str | None = None
    content_type: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    storage_backend: str | None = None
    once: str | None = None


class Drive:
    """Stores, opens, describes, changes, deletes and restores blobs.

    `max_blob_bytes` is the largest blob; None for no limit.
    """

    def __init__(
        self,
        database: Database,
        backends: Backends,
        replicas: Replicas,
        placement: Placement,
        reading: Reading,
        staging: Staging,
        quotas: Quotas,
        max_blob_bytes: int | None,
    ) -> None:
        self._database, self._backends = database, backends
        self._replicas, self._placement, self._reading = replicas, placement, reading
        self._staging, self._quotas = staging, quotas
        self._max_blob_bytes = max_blob_bytes

    # --- Storing

    def store(
        self, caller: Caller, body: Incoming | Staged, new: NewBlob, replaces: Condition | None = None
    ) -> tuple[Blob, bool]:
        """The blob, recorded and durable, and whether it is a new one. `body` is closed by whoever made it.

        Without `replaces` an existing id is BlobExists; with it the current blob must satisfy it
        (PreconditionFailed otherwise), is put aside as an earlier version and replaced. Raises also Invalid,
        Forbidden, KeyReused, QuotaExceeded, what receiving raises (streams/staging.py), StorageError, Busy;
        then nothing is recorded.
        """
        wanted, is_known = self._wanted(caller, new, replaces)
        with self._quotas.reserved(caller, None if is_known else body.size) as reserved:
            wanted = replace(wanted, reserved=reserved)
            if isinstance(body, Staged):
                return self._keep(wanted, body, new)
            # What is reserved is no longer left, and what was stored before takes no more room.
            has_room = is_known or reserved is not None
            room = self._largest(caller) if has_room else self.room(caller)
            with self._receive(caller, body, room) as staged:
                return self._keep(wanted, staged, new)

    def store_known(
        self, caller: Caller, sha256: str, size: int, new: NewBlob, replaces: Condition | None = None
    ) -> tuple[Blob, bool] | None:
        """As `store`, without the bytes: the caller may already read a blob that has them.

        None if he may not, or if they are not where they have to be, at the backend that was named or that a
        rule says and at the mirrors that an upload waits for: then he has to send them. Knowing a digest
        alone gives nobody anything, and nobody learns by asking what others have.
        """
        wanted, _ = self._wanted(caller, new, replaces)
        wanted = replace(wanted, once=_once(new, sha256))
        if (earlier := self._repeated(wanted)) is not None:
            return earlier, True
        for limit in (self._largest(caller), caller.quota_bytes):
            if limit is not None and size > limit:
                raise self.refusal(caller, limit)
        chosen = (caller, new.storage_backend, wanted.described, size)
        decided, preferred = self._placement.decided(*chosen), self._placement.home(*chosen)
        homes = self._homes_of(caller, sha256, size)
        homes.sort(key=lambda home: home != preferred)
        if decided is not None:
            homes = [home for home in homes if home == decided]
        if not homes:
            return None
        with self._quotas.reserved(caller, size) as reserved:
            wanted = replace(wanted, reserved=reserved)
            for backend in homes:
                for _ in range(ATTEMPTS):
                    copies = [self._replicas.found(sha256, place) for place in self._places(backend)]
                    found = [copy for copy in copies if copy is not None]
                    if len(found) < len(copies):
                        break
                    with suppress(ReplicaGone):
                        return self._record(wanted, found)
        return None

    def room(self, caller: Caller) -> int | None:
        """The most bytes that a blob which this caller begins to store now may have; None for no limit."""
        limits = [self._largest(caller), self._quotas.left(caller)]
        return min((max(limit, 0) for limit in limits if limit is not None), default=None)

    def refusal(self, caller: Caller, room: int) -> TooLarge | QuotaExceeded:
        """Why a body with more than `room` bytes, which is all that this caller had, is not stored."""
        largest = self._largest(caller)
        if largest is not None and room >= largest:
            return TooLarge(f"More than {largest} bytes are not taken here.")
        return quotas.refusal(caller, room)

    def _wanted(self, caller: Caller, new: NewBlob, replaces: Condition | None) -> tuple[Wanted, bool]:
        """What is to be recorded, and whether the same request has stored something before.

        An id that is made for a caller lies in his prefix. Refuses early what would be refused later, before
        a large body is received.
        """
        id = ids.made_below(caller.prefix) if new.id is None else new.id
        described = descriptions.of(id, new.filename, new.content_type, new.metadata)
        caller.require("write", described.id)
        self._backends.chosen(new.storage_backend, caller.backends)

        def admit(session: Session) -> bool:
            if new.once is not None and Once.known(session, new.once):
                return True
            records.allow(records.current(session, described.id), replaces)
            return False

        return Wanted(caller, described, replaces), self._database.read(admit)

    def _receive(self, caller: Caller, body: Incoming, room: int | None) -> Staged:
        """All of a body, if it has no more than `room` bytes."""
        if room is None or (body.limit is not None and body.limit <= room):
            return self._staging.receive(body)
        try:
            return self._staging.receive(replace(body, limit=room))
        except TooLarge as error:
            raise self.refusal(caller, room) from error

    def _largest(self, caller: Caller) -> int | None:
        limits = [limit for limit in (self._max_blob_bytes, caller.max_bytes) if limit is not None]
        return min(limits, default=None)

    def _keep(self, wanted: Wanted, staged: Staged, new: NewBlob) -> tuple[Blob, bool]:
        largest = self._largest(wanted.caller)
        if largest is not None and staged.size > largest:
            raise self.refusal(wanted.caller, largest)
        wanted = replace(wanted, once=_once(new, staged.sha256))
        if (earlier := self._repeated(wanted)) is not None:
            return earlier, True
        home = self._placement.home(wanted.caller, new.storage_backend, wanted.described, staged.size)
        for _ in range(ATTEMPTS):
            copies = []
            with suppress(ReplicaGone), ExitStack() as stack:
                for backend in self._places(home):
                    known = self._replicas.find(staged.sha256, backend)
                    copies.append(self._replicas.provide(staged.source, staged.pieces, backend, known))
                    stack.enter_context(self._replicas.settled(copies[-1]))
                return self._record(wanted, copies)
        raise Busy("These bytes are being stored and deleted too often at this moment.")

    def _places(self, home: str) -> tuple[str, ...]:
        """Where bytes have to be before they are recorded: at home, and at mirrors that are waited for."""
        return (home, *self._replicas.mirrors.in_sync_with(home))

    def _record(self, wanted: Wanted, copies: Sequence[Provided]) -> tuple[Blob, bool]:
        recording = Recording(self._replicas, copies, wanted)
        return self._database.write(recording.record, recording.happened)

    def _repeated(self, wanted: Wanted) -> Blob | None:
        """What the same request stored before. Raises KeyReused."""
        return None if wanted.once is None else self._database.read(wanted.once.look)

    def _homes_of(self, caller: Caller, sha256: str, size: int) -> list[str]:
        """The homes of blobs that have these bytes and that the caller may read, where he may place any."""
        if "read" not in caller.scopes:
            return []
        query = select(Blob.storage_backend).where(Blob.sha256 == sha256, Blob.size == size).distinct()
        within = listing.within(query, caller.prefix).order_by(Blob.storage_backend)
        homes = self._database.read(lambda session: session.scalars(within).all())
        return [home for home in homes if caller.backends is None or home in caller.backends]

    # --- Reading

    def describe(self, caller: Caller, id: str, version: int | None = None) -> Blob:
        """The blob of that id, as it is or as it was at a version. Raises BlobNotFound, Forbidden."""
        caller.require("read", id)
        _refuse_impossible(id)

        def look(session: Session) -> Blob | None:
            if version is None:
                return records.current(session, id)
            return records.at_version(session, id, version)

        blob = self._database.read(look)
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
        """For each blob's id the replicas of its bytes, home first, in one query.

        Who is confined to a prefix is told of the home alone, and of it nothing that is older than his blob:
        else it would show that others stored the same bytes before.
        """
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
            if caller.prefix:
                own = [_as_new_as(blob, row) for row in own if row.storage_backend == home]
            found[blob.id] = sorted(own, key=lambda row: (row.storage_backend != home, row.storage_backend))
        return found

    # --- Changing, deleting and undoing. `only` must hold of the current blob: PreconditionFailed otherwise.

    def change(
        self,
        caller: Caller,
        id: str,
        *,
        filename: str | None = None,
        content_type: str | None = None,
        metadata: Mapping[str, str] | None = None,
        only: Condition | None = None,
    ) -> Blob:
        """Changes what is said of a blob. None stays as it is, "" is chosen anew as for a new blob.

        Raises BlobNotFound, Forbidden, Invalid.
        """
        caller.require("write", id)
        caller.require("read", id)  # the record is answered
        _refuse_impossible(id)
        values = descriptions.changes(id, filename, content_type, metadata)
        change = Change(caller, id, values, only)
        return self._database.write(change.change, change.happened)

    def delete(
        self, caller: Caller, id: str, only: Condition | None = None, *, permanent: bool = False
    ) -> None:
        """Puts the blob into the trash: its record is kept aside, its bytes stay where they are.

        `permanent` removes it with its earlier versions and what of it is in the trash: its bytes go when
        nothing else needs them. Raises BlobNotFound, Forbidden.
        """
        caller.require("delete", id)
        _refuse_impossible(id)
        if permanent:
            erasure = Erasure(caller, id, only)
            self._database.write(erasure.erase, erasure.happened)
        else:
            deletion = Deletion(caller, id, only)
            self._database.write(deletion.delete, deletion.happened)

    def restore(
        self, caller: Caller, id: str, version: int | None = None, only: Condition | None = None
    ) -> Blob:
        """Makes an earlier version current again, as a new version; None: undoes the last deletion.

        Raises BlobNotFound if there is nothing like it, BlobExists if a deletion is to be undone and the id
        was taken since, QuotaExceeded.
        """
        caller.require("write", id)
        caller.require("read", id)  # the record is answered
        _refuse_impossible(id)
        restoration = Restoration(caller, id, version, only)
        return self._database.write(restoration.restore, restoration.happened)


def _once(new: NewBlob, sha256: str) -> Once | None:
    """The request that these bytes are a part of, if it may be sent again."""
    if new.once is None:
        return None
    asked = (new.id, new.filename, new.content_type, dict(new.metadata), new.storage_backend, sha256)
    return Once(new.once, fingerprint(*asked))


def _as_new_as(blob: Blob, replica: Replica) -> Replica:
    """A replica as if it had been put when the blob came to its home."""
    since = blob.updated_at
    return Replica(
        sha256=replica.sha256,
        storage_backend=replica.storage_backend,
        storage_key="",
        size=replica.size,
        created_at=since,
        verified_at=replica.verified_at if replica.verified_at and replica.verified_at > since else None,
        retired_at=None,
        bad_at=replica.bad_at,
    )


def _refuse_impossible(id: str) -> None:
    """Raises BlobNotFound for what no blob is called: PostgreSQL cannot even be asked for a U+0000."""
    if ids.flaw(id) is not None:
        raise records.not_found(id)
