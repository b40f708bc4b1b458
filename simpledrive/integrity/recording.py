"""What was found, written down: inside the caller's transaction, each of which may run twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from sqlalchemy import select
from sqlalchemy.orm import Session

from simpledrive.integrity.checking import Verdict
from simpledrive.models import Replica, Verification, now
from simpledrive.replicas import mark_bad
from simpledrive.sql import insert, lastly

COUNTED = "verified"

RANK = 3
"""Behind what migrations count (moving/tally.py): whoever verifies at a backend writes its one row."""


def note_right(session: Session, backend: str, verdicts: Iterable[Verdict]) -> set[str]:
    """Records that these replicas at a backend were read and right, also those marked bad; which digests.

    Not those that were swept, written anew or marked bad while they were read. Where readers had found pieces
    of a right replica wrong, it is their sums that are, and they are made anew.
    """
    right = {verdict.replica.sha256: verdict for verdict in verdicts}
    there = select(Replica).where(Replica.storage_backend == backend, Replica.sha256.in_(right))
    noted = set()
    for row in session.scalars(there.order_by(Replica.sha256).with_for_update(key_share=True)):
        verdict = right[row.sha256]
        is_new_mark = row.bad_at is not None and verdict.sums is None
        if row.storage_key == verdict.replica.storage_key and not is_new_mark:
            row.verified_at, row.bad_at = now(), None
            if verdict.sums is not None:
                row.pieces = verdict.sums
            noted.add(row.sha256)
            _count(session, backend, "verified")
    return noted


def note_bad(session: Session, replica: Replica) -> bool:
    """Records that a replica is wrong or missing; whether it is still recorded that key."""
    if mark_bad(session, replica.sha256, replica.storage_key):
        _count(session, replica.storage_backend, "bad")
        return True
    found = session.get(Replica, (replica.sha256, replica.storage_backend))
    return found is not None and found.storage_key == replica.storage_key


def _count(session: Session, backend: str, what: str) -> None:
    counted: Counter[tuple[str, str]] | None = session.info.get(COUNTED)
    if counted is None:
        counted = session.info[COUNTED] = Counter()
        lastly(session, RANK, _write)
    counted[backend, what] += 1


def _write(session: Session) -> None:
    counted: Counter[tuple[str, str]] = session.info[COUNTED]
    for backend in sorted({backend for backend, _ in counted}):
        added = {what: counted[backend, what] for what in ("verified", "bad")}
        session.execute(
            insert(session, Verification)
            .values({"storage_backend": backend, "scrub_at": now(), **added})
            .on_conflict_do_update(
                index_elements=["storage_backend"],
                set_={what: getattr(Verification, what) + number for what, number in added.items()},
            )
        )
