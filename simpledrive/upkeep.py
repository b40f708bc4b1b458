"""Sweeping: the only place that deletes replicas, and only those that nothing needs.

What stopped being needed waits for a grace, because readers may be in the middle of it. What no record names
waits for longer, because somebody may be about to record it. Nothing is swept at a backend whose marker is
not this drive's.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from datetime import timedelta

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from simpledrive import quotas, replays, sessions
from simpledrive.backends import Backends
from simpledrive.errors import StorageError
from simpledrive.mirrors import Mirrors, is_named
from simpledrive.models import BlobHistory, DriveRow, Replica, now
from simpledrive.orphans import Orphans, TooManyOrphans
from simpledrive.replicas import lock, release
from simpledrive.sql import Database, affected
from simpledrive.storage.base import Storage
from simpledrive.streams.staging import Staging
from simpledrive.usage import count

log = logging.getLogger(__name__)

BATCH = 500


@dataclass
class Swept:
    """What a sweep removed, and what it would not touch."""

    expired: int = 0
    replicas: int = 0
    leftovers: int = 0
    orphans: int = 0
    problems: list[str] = field(default_factory=list)


class Upkeep:
    """Keeps the drive free of what nothing needs.

    `grace`: how long a replica stays after it stopped being needed. `orphan_age`: how old an object that no
    record names gets, and what unfinished puts left. `history`: how long earlier versions and deleted blobs
    are kept.
    """

    def __init__(
        self,
        database: Database,
        backends: Backends,
        mirrors: Mirrors,
        staging: Staging,
        *,
        grace: timedelta,
        orphan_age: timedelta,
        history: timedelta,
    ) -> None:
        self._database, self._backends = database, backends
        self._mirrors, self._staging = mirrors, staging
        self._grace, self._orphan_age, self._history = grace, orphan_age, history
        self._orphans = Orphans(database, orphan_age)

    def sweep(self, *, orphans: bool = False, force: bool = False) -> Swept:
        """Removes what has expired. With `orphans` every backend is listed for objects that no record names.

        More orphans than a tenth of a backend want `force` (orphans.py). A backend that cannot be swept is
        named in `problems`; the others are swept nevertheless.
        """
        swept = Swept()
        ready = self._ready(swept)
        swept.expired = self._expire_history()
        self._database.write(replays.expire)
        self._database.write(sessions.expire)
        self._database.write(quotas.expire)
        self._sweep_replicas(set(ready), swept)
        swept.leftovers += self._staging.clean()
        for storage in ready.values():
            try:
                swept.leftovers += storage.clean(now() - self._orphan_age)
                if orphans:
                    for _ in self._orphans.remove(storage, force=force):
                        swept.orphans += 1
            except (StorageError, TooManyOrphans) as error:
                swept.problems.append(str(error))
        return swept

    def due(self, interval: timedelta) -> bool:
        """Whether it is time to sweep; of several processes that ask, one is told so."""
        moment = now()
        claim = update(DriveRow).where(DriveRow.swept_at < moment - interval).values(swept_at=moment)
        return bool(self._database.write(lambda session: affected(session, claim)))

    def _ready(self, swept: Swept) -> dict[str, Storage]:
        """The backends whose marker is ours at this moment."""
        ready = {}
        for name in self._backends:
            try:
                self._backends.check(name)
                ready[name] = self._backends.use(name)
            except StorageError as error:
                swept.problems.append(str(error))
        return ready

    def _expire_history(self) -> int:
        expired = 0
        while removed := self._database.write(self._expire_batch):
            expired += removed
        return expired

    def _expire_batch(self, session: Session) -> int:
        """Forgets a batch of versions; how many. Others may do so at the same time, or bring one back."""
        old = BlobHistory.put_aside_at < now() - self._history
        listed = session.execute(
            select(BlobHistory.pk, BlobHistory.sha256, BlobHistory.storage_backend).where(old).limit(BATCH)
        ).all()
        # Replicas before records: that is the order in which everybody locks them.
        released = {(row.sha256, row.storage_backend) for row in listed}
        for place in sorted(released):
            release(session, *place)
        gone = session.execute(
            delete(BlobHistory)
            .where(BlobHistory.pk.in_([row.pk for row in listed]), old)
            .returning(BlobHistory.sha256, BlobHistory.storage_backend, BlobHistory.owner, BlobHistory.size),
            execution_options={"synchronize_session": False},
        ).all()
        for place in sorted({(row.sha256, row.storage_backend) for row in gone} - released):
            release(session, *place)  # it was moved there when we had looked
        for row in gone:
            quotas.refund(session, row.owner, row.size)
        return len(gone)

    def _sweep_replicas(self, ready: set[str], swept: Swept) -> None:
        while self._database.write(self._keep_no_longer):
            pass
        after = ""
        while digests := self._database.read(lambda session, after=after: self._retired(session, after)):  # type: ignore[misc]
            for sha256 in digests:
                self._sweep_digest(sha256, ready, swept)
            after = digests[-1]

    def _retired(self, session: Session, after: str) -> list[str]:
        """Digests of copies that are due, in order; those that are kept are not even looked at."""
        due = (Replica.keep_until.is_(None), Replica.retired_at < now() - self._grace, Replica.sha256 > after)
        query = select(Replica.sha256).where(*due).distinct()
        return list(session.scalars(query.order_by(Replica.sha256).limit(BATCH)))

    def _keep_no_longer(self, session: Session) -> int:
        """Forgets of a batch of copies that they were kept, for a time that is over; how many."""
        over = (Replica.retired_at.is_not(None), Replica.keep_until < now())
        digests = session.scalars(select(Replica.sha256).where(*over).limit(BATCH)).all()
        if not digests:
            return 0
        lock(session, digests)
        return affected(
            session, update(Replica).where(Replica.sha256.in_(digests), *over).values(keep_until=None)
        )

    def _sweep_digest(self, sha256: str, ready: set[str], swept: Swept) -> None:
        for backend, key in self._database.write(lambda session: self._let_go(session, sha256, ready)):
            swept.replicas += 1
            try:
                self._backends.use(backend).delete(key)
            except StorageError as error:
                log.warning("left for a sweep of orphans: %s", error)

    def _let_go(self, session: Session, sha256: str, ready: set[str]) -> list[tuple[str, str]]:
        """Deletes the rows that nothing needs; the rest are in use again. Locks first, looks second.

        What a migration keeps is kept as long as any record has these bytes: else nothing is left to go back.
        A mirror's copy that nothing needs since the home's has gone is retired now, for a later sweep.
        What is right is kept while what is needed is marked bad: it may be all there is to repair it from.
        """
        rows = session.scalars(
            select(Replica)
            .where(Replica.sha256 == sha256)
            .order_by(Replica.storage_backend)
            .with_for_update()
        ).all()
        needed = {
            row.storage_backend for row in rows if self._mirrors.needs(session, sha256, row.storage_backend)
        }
        harmed = any(row.bad_at is not None and row.storage_backend in needed for row in rows)
        gone = []
        for row in rows:
            is_needed = row.storage_backend in needed
            if row.retired_at is None and not is_needed:
                row.retired_at = now()
            if row.retired_at is None or row.storage_backend not in ready:
                continue
            if row.retired_at >= now() - self._grace:
                continue
            is_kept = row.keep_until is not None and row.keep_until > now()
            if is_needed:
                row.retired_at = None
            elif harmed and row.bad_at is None:
                continue
            elif not is_kept or not is_named(session, sha256):
                gone.append(row)
                session.delete(row)
                count(session, row.storage_backend, replicas=-1, size=-row.size)
        return [(row.storage_backend, row.storage_key) for row in gone]
