"""The transaction of a restore: replicas are recorded, and records come back as they were."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import exists, select, update
from sqlalchemy.orm import Session

from simpledrive import audit, descriptions, quotas
from simpledrive.backup.providing import Found
from simpledrive.backup.runs import BackupError, Record, Run
from simpledrive.descriptions import Description
from simpledrive.errors import Invalid
from simpledrive.ids import folder_of, unprintable
from simpledrive.models import AuditEntry, Blob, BlobHistory, Replica, now
from simpledrive.replicas import Replicas, release
from simpledrive.rights import Caller
from simpledrive.sql import insert
from simpledrive.usage import count

Place = tuple[str, str]
"""A digest and a backend: where some bytes are to be."""


def begin(session: Session, caller: Caller, run: Run, digest: str) -> None:
    """Notes that this run is being restored. BackupError unless the drive is empty, or this goes on."""
    if _is_under_way(session, digest):
        return
    if any(session.scalar(select(exists().select_from(table))) for table in (Blob, BlobHistory)):
        raise BackupError("The drive is not empty: a back-up is restored into an empty one.")
    audit.note(session, caller, "restore.begun", digest, run=run.name)


def end(session: Session, caller: Caller, run: Run, digest: str) -> None:
    """Notes that all of it is there: the same command does not go on any more."""
    if _is_under_way(session, digest):
        audit.note(session, caller, "restore.ended", digest, run=run.name)


def _is_under_way(session: Session, digest: str) -> bool:
    acts = AuditEntry.action.in_(["restore.begun", "restore.ended"])
    query = select(AuditEntry.action).where(AuditEntry.target == digest, acts)
    return session.scalar(query.order_by(AuditEntry.pk.desc()).limit(1)) == "restore.begun"


def erased(session: Session, digest: str, records: Sequence[Record]) -> set[UUID]:
    """Those whose id somebody erased for good since this restore began: going on does not bring them back."""
    begun = select(AuditEntry.pk).where(AuditEntry.target == digest, AuditEntry.action == "restore.begun")
    since = begun.order_by(AuditEntry.pk.desc()).limit(1).scalar_subquery()
    ids = {record.id for record in records}
    query = select(AuditEntry.target).where(AuditEntry.target.in_(ids), AuditEntry.action == "blob.erased")
    gone = set(session.scalars(query.where(AuditEntry.pk > since)))
    return {record.record for record in records if record.id in gone}


def flaw(record: Record) -> str | None:
    """Why no drive takes this record, as a sentence, or None: who wrote the run may not have checked it."""
    try:
        _description(record)
    except Invalid as error:
        return str(error)
    return unprintable(record.owner)


def _description(record: Record) -> Description:
    return descriptions.of(record.id, record.filename, record.content_type, record.metadata)


def there(session: Session, records: Sequence[Record]) -> set[UUID]:
    """Those that are in the drive, as they were recorded or put aside since."""
    marks = [record.record for record in records]
    found: set[UUID] = set()
    for table in (Blob, BlobHistory):
        found |= set(session.scalars(select(table.pk).where(table.pk.in_(marks))))
    return found


def lost(session: Session, digest: str, records: Sequence[Record]) -> list[Record]:
    """Those that are not in the drive, or with another id or other bytes, though nobody erased them."""
    gone = erased(session, digest, records)
    marks = [record.record for record in records]
    found: dict[UUID, tuple[str, str, int]] = {}
    for table in (Blob, BlobHistory):
        columns = select(table.pk, table.id, table.sha256, table.size)
        rows = session.execute(columns.where(table.pk.in_(marks)))
        found |= {row.pk: (row.id, row.sha256, row.size) for row in rows}
    return [
        each
        for each in records
        if each.record not in gone and found.get(each.record) != (each.id, each.sha256, each.size)
    ]


class Restoration:
    """Brings some records of a run back in one transaction, which may run twice.

    `digest` is that of the run, `homes` are those of the records' bytes.
    """

    def __init__(
        self,
        replicas: Replicas,
        caller: Caller,
        run: Run,
        digest: str,
        records: Sequence[Record],
        homes: Mapping[UUID, str],
        found: Mapping[Place, Found],
    ) -> None:
        self._replicas, self._caller, self._run, self._digest = replicas, caller, run, digest
        self._records, self._homes, self._found = records, homes, found

    def restore(self, session: Session) -> set[UUID]:
        """The records that are in the drive now, or were erased. Of the others somebody else took the id.

        Raises ReplicaGone if bytes that were found have been swept or gone bad since.
        """
        for place, found in sorted(self._found.items()):
            self._record(session, place, found)
        before = there(session, self._records) | erased(session, self._digest, self._records)
        new = [record for record in self._records if record.record not in before]
        added = _add(session, Blob, [self._row(each) for each in new if each.state == "current"])
        added |= _add(session, BlobHistory, [self._row(each) for each in new if each.state != "current"])
        restored = [record for record in new if record.record in added]
        for record in restored:
            quotas.reclaim(session, record.owner, record.size)
        current = [record for record in restored if record.state == "current"]
        for record in current:
            count(session, self._homes[record.record], blobs=1)
        audit.note_each(
            session, self._caller, "blob.restored", [each.id for each in current], run=self._run.name
        )
        needed = {(record.sha256, self._homes[record.record]) for record in restored}
        for place in sorted(needed):
            self._replicas.mirrors.want(session, *place)
        for place in sorted(self._found.keys() - needed):
            release(session, *place)  # sweeping looks whether anything else needs it
        return before | added

    def _record(self, session: Session, place: Place, found: Found) -> None:
        (self._replicas.adopt if found.is_adopted else self._replicas.record)(session, found.provided)
        if found.is_read and found.provided.used == found.provided.key:
            sha256, backend = place
            there = (Replica.sha256 == sha256, Replica.storage_backend == backend)
            session.execute(update(Replica).where(*there).values(verified_at=now()))

    def _row(self, record: Record) -> dict[str, Any]:
        described = _description(record)
        row = {
            "pk": record.record,
            "id": record.id,
            "folder": folder_of(record.id),
            "filename": described.filename,
            "content_type": described.content_type,
            "blob_metadata": record.metadata,
            "size": record.size,
            "sha256": record.sha256,
            "storage_backend": self._homes[record.record],
            "created_at": record.created_at,
            "updated_at": record.updated_at,
            "version": record.version,
            "owner": record.owner,
        }
        if record.state == "current":
            return row
        return row | {"put_aside_at": record.put_aside_at, "deleted": record.state == "deleted"}


def _add(
    session: Session, table: type[Blob] | type[BlobHistory], rows: Sequence[Mapping[str, Any]]
) -> set[UUID]:
    """Those that were not there."""
    if not rows:
        return set()
    statement = insert(session, table).values(rows).on_conflict_do_nothing().returning(table.pk)
    return set(session.scalars(statement))
