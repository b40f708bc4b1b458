"""The search for copies that mirrors lack, and for those that they need no longer.

What comes and goes is written down as it does. So this is for what was there before the configuration
changed, once, and from time to time for what went another way: a copy that turned out to be bad, bytes that
were brought back with an older database.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from functools import partial
from itertools import groupby
from typing import NamedTuple

from sqlalchemy import Row, case, null, or_, select, update
from sqlalchemy.orm import Session

from simpledrive.mirrors import Mirrors, want_no_more
from simpledrive.models import Blob, BlobHistory, MirrorSearch, Replica, WantedCopy, now
from simpledrive.replicas import lock, release
from simpledrive.sql import Database, affected, insert

AGAIN = timedelta(days=1)
"""How long after a search another one begins."""
BATCH = 500

NUMBER = 1


class Found(NamedTuple):
    """What is to be done about some bytes: where their home wants copies, and where nobody needs one."""

    homes: list[str]
    idle: list[str]


def has_searched(session: Session, mirrors: Mirrors) -> bool:
    """Whether a search came to its end since the configuration changed: before, mirrors may lack more."""
    latest = session.get(MirrorSearch, NUMBER)
    return latest is not None and latest.mirrors == mirrors.said() and latest.ended_at is not None


class Search:
    """Goes through all replicas by digest, a batch a step, whichever worker takes it."""

    def __init__(self, database: Database, mirrors: Mirrors) -> None:
        self._database, self._mirrors = database, mirrors

    def step(self) -> bool:
        """Takes the next step, if there is any to take now; whether there was."""
        latest = self._database.read(lambda session: session.get(MirrorSearch, NUMBER))
        if self._is_to_begin(latest):
            self._database.write(self._begin)
            return True
        if latest is None or latest.behind is None:
            return False
        digests, found = self._database.read(partial(self._look, behind=latest.behind))
        if not digests and self._database.write(self._drop):
            return True
        self._database.write(partial(self._settle, latest=latest, digests=digests, found=found))
        return True

    def _is_to_begin(self, latest: MirrorSearch | None) -> bool:
        said = self._mirrors.said()
        if latest is None or latest.mirrors != said:
            return bool(said or (latest and latest.mirrors))
        if not said or latest.behind is not None or latest.ended_at is None:
            return False
        return latest.ended_at < now() - AGAIN

    def _begin(self, session: Session) -> None:
        said = self._mirrors.said()
        started = {"mirrors": said, "behind": ""}
        statement = insert(session, MirrorSearch).values(number=NUMBER, ended_at=None, **started)
        changed = MirrorSearch.mirrors != said
        session.execute(
            statement.on_conflict_do_update(
                index_elements=["number"],
                set_=started | {"ended_at": case((changed, null()), else_=MirrorSearch.ended_at)},
                where=or_(changed, MirrorSearch.behind.is_(None)),
            )
        )

    def _look(self, session: Session, *, behind: str) -> tuple[list[str], list[str]]:
        """The next digests, and those of them about which there is something to do."""
        query = select(Replica.sha256).where(Replica.sha256 > behind).distinct()
        digests = list(session.scalars(query.order_by(Replica.sha256).limit(BATCH)))
        return digests, sorted(self._found(session, digests))

    def _settle(
        self, session: Session, *, latest: MirrorSearch, digests: Sequence[str], found: Sequence[str]
    ) -> None:
        """One transaction: does it, and says how far the search has come, unless others did so before."""
        forward = {"behind": digests[-1]} if digests else {"behind": None, "ended_at": now()}
        here = (
            MirrorSearch.number == NUMBER,
            MirrorSearch.mirrors == latest.mirrors,
            MirrorSearch.behind == latest.behind,
        )
        if not affected(session, update(MirrorSearch).where(*here).values(forward)):
            return
        lock(session, found)
        for sha256, what in sorted(self._found(session, found).items()):
            for home in what.homes:
                self._mirrors.want(session, sha256, home)
            for backend in what.idle:
                release(session, sha256, backend)

    def _drop(self, session: Session) -> int:
        """Lets go of some wants of backends that mirror nothing any more; how many."""
        gone = WantedCopy.storage_backend.not_in(self._mirrors.every)
        some = select(WantedCopy.sha256, WantedCopy.storage_backend).where(gone).limit(BATCH)
        rows = [(sha256, backend) for sha256, backend in session.execute(some)]
        for sha256, backend in sorted(rows):
            want_no_more(session, sha256, backend)
        return len(rows)

    def _found(self, session: Session, digests: Sequence[str]) -> dict[str, Found]:
        """What is to be done about each of these digests, where there is anything."""
        homes: dict[str, set[str]] = defaultdict(set)
        for table in (Blob, BlobHistory):
            named = select(table.sha256, table.storage_backend).where(table.sha256.in_(digests))
            for sha256, home in session.execute(named.distinct()):
                homes[sha256].add(home)
        found = {}
        for sha256, rows in self._copies(session, digests):
            good = {row.storage_backend for row in rows if row.retired_at is None and row.bad_at is None}
            held = {row.storage_backend for row in rows if row.retired_at is None}
            lacking = [home for home in sorted(homes[sha256]) if not good.issuperset(self._mirrors.of(home))]
            idle = sorted(held - self._mirrors.places(homes[sha256]))
            if lacking or idle:
                found[sha256] = Found(lacking, idle)
        return found

    def _copies(
        self, session: Session, digests: Sequence[str]
    ) -> Iterator[tuple[str, list[Row[str, str, datetime | None, datetime | None]]]]:
        columns = (Replica.sha256, Replica.storage_backend, Replica.retired_at, Replica.bad_at)
        query = select(*columns).where(Replica.sha256.in_(digests)).order_by(Replica.sha256)
        for sha256, rows in groupby(session.execute(query), key=lambda row: row.sha256):
            yield sha256, list(rows)
