"""Scrubbing: all at a backend read once in so many days, at a steady pace, by one process at a time."""

from __future__ import annotations

import logging
import threading
from contextlib import closing
from datetime import datetime, timedelta
from functools import partial

from sqlalchemy import update
from sqlalchemy.orm import Session

from simpledrive.errors import StorageError
from simpledrive.integrity.due import oldest
from simpledrive.integrity.verifying import Verifier
from simpledrive.models import Replica, Verification, now
from simpledrive.moving.flow import Flow, Stopped
from simpledrive.rights import SERVER
from simpledrive.sql import Database, insert
from simpledrive.usage import NONE, Counters

log = logging.getLogger(__name__)

PORTION = timedelta(minutes=1)
"""Of the pace, what is read at a time; but at least one replica."""
OPENING = 64 << 10
"""Bytes that could be read in the time which opening an object takes."""
GENTLE = 16 << 20
"""Bytes a second at which a portion is read, where the pace of the whole does not want more."""
CLAIM = timedelta(minutes=10)
"""For how long a backend is left alone at least when somebody who scrubs it dies."""
LATE = timedelta(hours=1)
"""How much that was missed is made up for. What was not running for days does not hurry afterwards."""
AGAIN = timedelta(hours=1)
"""After which a backend with nothing to read, or that cannot be read, is looked at again."""
PASSED_OVER = 1000
"""Replicas that could not be read and that are passed over; then all of them are tried again."""


class Scrubber:
    """The job of a worker that reads all replicas at a backend again and again, and repairs bad ones.

    What was read longest ago comes first. Each turn takes the time that is its share of `period`, in which
    everything is read once. Any number of processes may do this work: they share it. Bytes pass through the
    flow `within`.
    """

    def __init__(
        self,
        database: Database,
        counters: Counters,
        verifier: Verifier,
        backend: str,
        period: timedelta,
        within: Flow | None = None,
    ) -> None:
        self._database, self._counters, self._verifier = database, counters, verifier
        self.backend, self._seconds = backend, period.total_seconds()
        self._within = within
        self._unread: set[str] = set()
        self._silent_until = now()

    def work(self, stop: threading.Event) -> bool:
        """One portion, if it is time for it and nobody else is at it; whether it is time for the next.

        Ends soon after `stop` is set.
        """
        backend = self.backend
        if not self._database.read(partial(_is_time, backend)):
            return False
        portion, share = self._portion()
        size = sum(replica.size for replica in portion)
        rate = max(GENTLE, 2 * int(size / share.total_seconds())) if portion else GENTLE
        claimed = now() + CLAIM + timedelta(seconds=2 * size / rate)
        planned = self._database.write(partial(_claim, backend, claimed))
        if planned is None:
            return False
        following = now() + AGAIN
        try:
            if portion and self._read(portion, Flow(rate, stop, self._within)):
                following = max(planned, now() - LATE) + share
                if planned < now() - LATE:
                    self._tell_late(now() - planned)
        except Stopped:
            following = planned
        except StorageError as error:
            log.error("scrub: %s", error)
        finally:
            self._database.write(partial(_plan, backend, following))
        return following <= now() and not stop.is_set()

    def _tell_late(self, late: timedelta) -> None:
        """From time to time: who cannot keep up is late at every turn."""
        if now() < self._silent_until:
            return
        self._silent_until = now() + AGAIN
        told = (self.backend, late.total_seconds() / 3600, self._seconds / 86400)
        log.warning(
            "scrub: %s is %.1f hours behind, which are not made up for: not all is read in %g days", *told
        )

    def _portion(self) -> tuple[list[Replica], timedelta]:
        """What to read next, and its share of the time in which everything is read."""
        held = {usage.backend: usage.counts or NONE for usage in self._counters.usage(SERVER)}
        counts = held.get(self.backend, NONE)
        whole = counts.bytes + counts.replicas * OPENING
        portion: list[Replica] = []
        weight, share = 0, timedelta()
        for replica in oldest(self._database, self.backend, now()):
            if replica.storage_key in self._unread:
                continue
            portion.append(replica)
            weight += replica.size + OPENING
            share = timedelta(seconds=self._seconds * weight / max(whole, weight))
            if share >= PORTION:
                break
        return portion, share

    def _read(self, portion: list[Replica], flow: Flow) -> bool:
        """Whether any of them could be read."""
        unread = 0
        with closing(self._verifier.run(self.backend, portion, flow, repair=True)) as verdicts:
            for verdict in verdicts:
                if verdict.state not in ("right", "gone"):
                    told = (verdict.replica.storage_key, self.backend, verdict.state, verdict.why)
                    log.error("scrub: %s on %s: %s: %s", *told)
                if verdict.state == "unread":
                    self._pass_over(verdict.replica)
                    unread += 1
        return unread < len(portion)

    def _pass_over(self, replica: Replica) -> None:
        """Else one that nobody can read would be tried again and again, and nothing else."""
        if len(self._unread) >= PASSED_OVER:
            self._unread.clear()
        self._unread.add(replica.storage_key)


def _is_time(backend: str, session: Session) -> bool:
    row = session.get(Verification, backend)
    return row is None or row.scrub_at <= now()


def _claim(backend: str, until: datetime, session: Session) -> datetime | None:
    """When this turn was planned for; None if another process was faster. Nobody else has it until then."""
    values = {"storage_backend": backend, "verified": 0, "bad": 0, "scrub_at": now()}
    session.execute(insert(session, Verification).values(values).on_conflict_do_nothing())
    row = session.get_one(Verification, backend, with_for_update=True)
    if row.scrub_at > now():
        return None
    planned, row.scrub_at = row.scrub_at, until
    return planned


def _plan(backend: str, following: datetime, session: Session) -> None:
    here = Verification.storage_backend == backend
    session.execute(update(Verification).where(here).values(scrub_at=following))
