"""Records compared with records, and with what is counted of them. No storage is asked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Any

from sqlalchemy import Select, exists, select
from sqlalchemy.orm import Session

from simpledrive.integrity.findings import Finding
from simpledrive.integrity.pages import PAGE, paged
from simpledrive.mirrors import Mirrors
from simpledrive.models import Blob, BlobHistory, Replica
from simpledrive.replicas import release
from simpledrive.sql import Database
from simpledrive.usage import missed, recount

RECORDS: tuple[type[Blob] | type[BlobHistory], ...] = (Blob, BlobHistory)


def unrecorded(database: Database, mirrors: Mirrors, backend: str, fix: bool) -> Iterator[Finding]:
    """Blobs, and earlier versions, without a record of a copy at their home. Nobody can say what to do.

    The foreign key forbids it. But a database may have been repaired by hand, or written to without it.
    """
    for table in RECORDS:
        copy = (Replica.sha256 == table.sha256, Replica.storage_backend == table.storage_backend)
        lost: Select[Any] = select(table).where(table.storage_backend == backend, ~exists().where(*copy))
        for record in paged(database, lost, table.pk):
            what = f"{record.id} (version {record.version})"
            yield Finding("unrecorded", backend, what, f"No copy of {record.sha256} is recorded there.")


def unneeded(database: Database, mirrors: Mirrors, backend: str, fix: bool) -> Iterator[Finding]:
    """Copies that nothing needs and that are not retired. Retired, they are swept after the usual grace."""
    homes = (
        exists().where(table.sha256 == Replica.sha256, table.storage_backend == Replica.storage_backend)
        for table in RECORDS
    )
    kept = select(Replica).where(Replica.storage_backend == backend, Replica.retired_at.is_(None))
    candidates = paged(database, kept.where(*(~home for home in homes)), Replica.sha256)
    while batch := list(islice(candidates, PAGE)):
        found = database.read(partial(_unneeded, mirrors, batch))
        if fix:
            database.write(partial(_retire, found))
        for replica in found:
            why = "Nothing needs it, and no sweep looks."
            yield Finding("unneeded", backend, replica.storage_key, why, fix)


def miscounted(database: Database, mirrors: Mirrors, backend: str, fix: bool) -> Iterator[Finding]:
    """Counters of what lies at a backend that are wrong. Recounted, they are right."""
    lacking = database.read(missed).get(backend)
    if lacking is not None and fix:
        lacking = database.write(partial(recount, backend=backend))
    if lacking is not None:
        amounts = (f"{-lacks:+} {name}" for name, lacks in lacking._asdict().items() if lacks)
        yield Finding("counter", backend, "counters", f"They are off by {', '.join(amounts)}.", fix)


CHECKS = (unrecorded, unneeded, miscounted)
"""In this order. A mirror that is missing is one more: a record is compared with what is wanted of it."""


def _unneeded(mirrors: Mirrors, replicas: Sequence[Replica], session: Session) -> list[Replica]:
    """Those of them that a sweep would remove, had they been retired, and that are not by now."""
    places = [(replica.sha256, replica.storage_backend) for replica in replicas]
    found = [session.get(Replica, place) for place in places]
    kept = [row for row in found if row is not None and row.retired_at is None]
    return [row for row in kept if not mirrors.needs(session, row.sha256, row.storage_backend)]


def _retire(replicas: Sequence[Replica], session: Session) -> None:
    for replica in replicas:
        release(session, replica.sha256, replica.storage_backend)
