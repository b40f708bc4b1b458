"""Who did what, when, from where: an append-only log, written in the transaction of the deed itself.

Deeds call `note` inside their transaction, so that none is logged that did not happen, and none happens that
is not logged. The database refuses to change or remove what was appended (migration 0002).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal
from uuid import UUID

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from simpledrive.ids import uuid7
from simpledrive.keyset import cut, no_cursor, within
from simpledrive.models import AuditEntry, now
from simpledrive.rights import Caller
from simpledrive.sql import Database

Action = Literal[
    "blob.stored",
    "blob.replaced",
    "blob.changed",
    "blob.moved",
    "blob.deleted",
    "blob.restored",
    "blob.erased",
    "key.created",
    "key.revoked",
    "key.deleted",
    "session.begun",
    "session.ended",
    "migration.begun",
    "migration.paused",
    "migration.resumed",
    "migration.rolled_back",
    "migration.finalized",
    "restore.begun",
    "restore.ended",
]
"""A noun and what was done to it."""


@dataclass(frozen=True)
class AuditPage:
    """Some entries, the latest first; `next` is the cursor to go on with, None at the end."""

    entries: list[AuditEntry]
    next: str | None


def note(session: Session, caller: Caller, action: Action, target: str, **details: object) -> None:
    """Appends an entry in this transaction. `target` is a blob's id, a key's id, or empty."""
    note_each(session, caller, action, [target], **details)


def note_each(
    session: Session, caller: Caller, action: Action, targets: Iterable[str], **details: object
) -> None:
    """Appends an entry for each of the targets, to all of which the same was done."""
    said = {
        "at": now(),
        "key_id": caller.key_id,
        "key_name": caller.name,
        "address": caller.origin.address,
        "request_id": caller.origin.request_id,
        "action": action,
        "details": details,
    }
    if entries := [said | {"pk": uuid7(), "target": target} for target in targets]:
        session.execute(insert(AuditEntry), entries)


class Audit:
    """Reads the log."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def page(
        self,
        caller: Caller,
        *,
        action: str | None = None,
        key_id: str | None = None,
        target_prefix: str = "",
        cursor: str | None = None,
        limit: int = 100,
    ) -> AuditPage:
        """Up to `limit` entries, the latest first, about what the caller may see. Wants the scope admin.

        Raises Forbidden, and Invalid for a cursor that no page named.
        """
        caller.require("admin")
        query = select(AuditEntry).order_by(AuditEntry.pk.desc()).limit(limit + 1)
        query = within(within(query, caller.prefix, AuditEntry.target), target_prefix, AuditEntry.target)
        if caller.prefix:  # what was done to keys and sessions has ids of another kind
            query = query.where(AuditEntry.action.startswith("blob."))
        if action:
            query = query.where(AuditEntry.action == action)
        if key_id:
            query = query.where(AuditEntry.key_id == key_id)
        if cursor:
            query = query.where(AuditEntry.pk < _behind(cursor))
        found = self._database.read(lambda session: session.scalars(query).all())
        return AuditPage(*cut(found, limit, lambda entry: str(entry.pk)))


def _behind(cursor: str) -> UUID:
    try:
        return UUID(cursor)
    except ValueError:
        raise no_cursor() from None
