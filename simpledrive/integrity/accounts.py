"""Records compared with records, and with what is counted of them. No storage is asked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from sqlalchemy import CompoundSelect, Select, except_, exists, select, union
from sqlalchemy.orm import Session, aliased

from simpledrive import quotas
from simpledrive.integrity.findings import Finding
from simpledrive.integrity.pages import PAGE, paged, rows
from simpledrive.mirrors import Mirrors, is_named
from simpledrive.models import Blob, BlobHistory, Replica, WantedCopy
from simpledrive.replicas import lock, release
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
    """Copies that nothing needs and that no sweep looks at. Retired, they are swept after the usual grace.

    A sweep that looks at one copy of some bytes looks at all: so a mirror's outlasts the home's for a while.
    """
    any_copy = aliased(Replica)
    is_looked_at = exists().where(any_copy.sha256 == Replica.sha256, any_copy.retired_at.is_not(None))
    for digests in _digests(database, backend):
        here = (Replica.storage_backend == backend, Replica.sha256.in_(digests))
        idle = select(Replica).where(*here, *mirrors.idle(backend), ~is_looked_at).order_by(Replica.sha256)
        found = database.read(partial(rows, idle))
        if fix:
            database.write(partial(_retire, found))
        for replica in found:
            why = "Nothing needs it, and no sweep looks."
            yield Finding("unneeded", backend, replica.storage_key, why, fix)


def unmirrored(database: Database, mirrors: Mirrors, backend: str, fix: bool) -> Iterator[Finding]:
    """Bytes with a home that is mirrored here, and without a copy here that is there or about to be made.

    Written down as wanted, a worker copies them. What waits for that is a mirror's lag, and no finding.
    """
    for home in mirrors.mirrored_at(backend):
        for digests in _digests(database, home):
            lacking = database.read(partial(rows, _lacking(backend, home, digests)))
            if fix:
                database.write(partial(_want, mirrors, home, lacking))
            for sha256 in lacking:
                why = f"Its home {home} is mirrored here, and nobody is about to copy it."
                yield Finding("unmirrored", backend, sha256, why, fix)


def miscounted(database: Database, mirrors: Mirrors, backend: str, fix: bool) -> Iterator[Finding]:
    """Counters of what lies at a backend that are wrong. Recounted, they are right."""
    lacking = database.read(partial(missed, backend=backend))
    if lacking is not None and fix:
        lacking = database.write(partial(recount, backend=backend))
    if lacking is not None:
        amounts = (f"{-lacks:+} {name}" for name, lacks in lacking._asdict().items() if lacks)
        yield Finding("counter", backend, "counters", f"They are off by {', '.join(amounts)}.", fix)


CHECKS = (unrecorded, unneeded, unmirrored, miscounted)
"""Of a backend, in this order."""


def mischarged(database: Database, fix: bool) -> Iterator[Finding]:
    """Keys with a quota that are charged for other bytes than they have stored. Recounted, they are right."""
    for key, lacking in database.read(quotas.missed).items():
        lacks = database.write(partial(quotas.recount, key_id=key)) if fix else lacking
        if lacks is not None:
            why = f"It is charged {abs(lacks)} bytes too {'little' if lacks > 0 else 'much'}."
            yield Finding("quota", "", f"key {key}", why, fix)


def _digests(database: Database, backend: str) -> Iterator[list[str]]:
    """Of all replicas at a backend, in pages: what is asked of few at a time is cheap in any database."""
    page = (
        select(Replica.sha256).where(Replica.storage_backend == backend).order_by(Replica.sha256).limit(PAGE)
    )
    digests = database.read(partial(rows, page))
    while digests:
        yield digests
        digests = database.read(partial(rows, page.where(Replica.sha256 > digests[-1])))


def _lacking(mirror: str, home: str, digests: Sequence[str]) -> CompoundSelect[str]:
    """Which of these bytes have this home, and no copy at its mirror that is there or wanted."""

    def of(table: type[Blob | BlobHistory | Replica | WantedCopy], backend: str) -> Select[str]:
        return select(table.sha256).where(table.storage_backend == backend, table.sha256.in_(digests))

    named = union(*(of(table, home) for table in RECORDS)).subquery()
    copied = of(Replica, mirror).where(Replica.retired_at.is_(None))
    return except_(select(named.c.sha256), copied, of(WantedCopy, mirror)).order_by("sha256")


def _retire(replicas: Sequence[Replica], session: Session) -> None:
    for replica in replicas:
        release(session, replica.sha256, replica.storage_backend)


def _want(mirrors: Mirrors, home: str, digests: Sequence[str], session: Session) -> None:
    lock(session, digests)
    for sha256 in digests:
        if is_named(session, sha256, home):
            mirrors.want(session, sha256, home)
