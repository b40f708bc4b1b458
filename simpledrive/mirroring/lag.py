"""How far behind each mirror is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from simpledrive.mirroring.search import has_searched
from simpledrive.mirrors import Mirrors
from simpledrive.models import BackendUsage, Blob, WantedCopy
from simpledrive.rights import Caller
from simpledrive.sql import Database


@dataclass(frozen=True)
class Lag:
    """What a mirror of `homes` lacks; without homes it is no mirror.

    `waiting` is how many copies, `since` is since when the oldest is missing, and `why` is the reason; it
    is "" if nobody has tried yet. Before it `is_searched` it may lack more, of what was there before it was a
    mirror.
    """

    homes: tuple[str, ...] = ()
    waiting: int = 0
    since: datetime | None = None
    why: str = ""
    is_searched: bool = True


IN_STEP = Lag()


class Lags:
    """Tells how far behind mirrors are. Costs the same however many copies they lack."""

    def __init__(self, database: Database, mirrors: Mirrors) -> None:
        self._database, self._mirrors = database, mirrors

    def by_mirror(self, caller: Caller) -> dict[str, Lag]:
        """By name, in order. Raises Forbidden."""
        caller.require_everywhere("admin")
        return self._database.read(
            lambda session: {mirror: self._lag(session, mirror) for mirror in self._mirrors.every}
        )

    def of(self, caller: Caller, blob: Blob) -> list[WantedCopy]:
        """The copies of a blob's bytes that mirrors still lack, by mirror. Raises Forbidden.

        Who is confined to a prefix is told of none: they may be there for others who have the same bytes.
        """
        caller.require("read", blob.id)
        wanted = select(WantedCopy).where(WantedCopy.sha256 == blob.sha256)
        in_order = wanted.order_by(WantedCopy.storage_backend)
        if caller.prefix:
            return []
        return self._database.read(lambda session: list(session.scalars(in_order)))

    def _lag(self, session: Session, mirror: str) -> Lag:
        homes, is_searched = tuple(self._mirrors.mirrored_at(mirror)), has_searched(session, self._mirrors)
        oldest = select(WantedCopy).where(WantedCopy.storage_backend == mirror).order_by(WantedCopy.since)
        row = session.scalars(oldest.limit(1)).one_or_none()
        if row is None:
            return Lag(homes, is_searched=is_searched)
        counted = select(func.sum(BackendUsage.waiting)).where(BackendUsage.storage_backend == mirror)
        return Lag(homes, int(session.scalar(counted) or 0), row.since, row.why, is_searched)
