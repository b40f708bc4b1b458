"""Sessions of browsers: begun with a key, ended by signing out, by their age, or with that key.

A browser holds a ticket, which names a key and is none; the faces sign it. So nothing is stored of a session
that goes on, and of one that was ended its id: also a copy of its cookie is worth nothing then.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import delete, exists, select
from sqlalchemy.orm import Session

from simpledrive import audit
from simpledrive.errors import InvalidToken
from simpledrive.keys import Keys
from simpledrive.models import EndedSession, now
from simpledrive.rights import Caller, Origin
from simpledrive.sql import Database, insert

LIFETIME = timedelta(days=30)
"""After this a session ends, used or not."""


@dataclass(frozen=True)
class Ticket:
    """What a browser holds: the session's id, the id of its key, and when it ends (seconds since 1970)."""

    id: str
    key_id: str
    until: int

    @property
    def ends_at(self) -> datetime:
        return datetime.fromtimestamp(self.until, UTC)


class Sessions:
    """Begins, resumes and ends sessions."""

    def __init__(self, database: Database, keys: Keys) -> None:
        self._database, self._keys = database, keys

    def begin(self, caller: Caller) -> Ticket:
        """A new session of this caller, logged. Its id was never used before."""
        ticket = Ticket(secrets.token_urlsafe(16), caller.key_id, int((now() + LIFETIME).timestamp()))
        self._database.write(lambda session: audit.note(session, caller, "session.begun", caller.key_id))
        return ticket

    def resume(self, ticket: Ticket, origin: Origin) -> Caller:
        """Who began this session. Raises InvalidToken if it has ended, or if its key has."""
        was_ended = select(exists().where(EndedSession.id == ticket.id))
        if ticket.ends_at <= now() or self._database.read(lambda session: session.scalar(was_ended)):
            raise InvalidToken("This session has ended.")
        return self._keys.named(ticket.key_id, origin)

    def end(self, caller: Caller, ticket: Ticket) -> None:
        """From now on the ticket is refused, wherever a copy of it lies. Twice is fine."""

        def work(session: Session) -> None:
            ended = insert(session, EndedSession).values(id=ticket.id, expires_at=ticket.ends_at)
            if session.scalar(ended.on_conflict_do_nothing().returning(EndedSession.id)) is not None:
                audit.note(session, caller, "session.ended", caller.key_id)

        self._database.write(work)


def expire(session: Session) -> None:
    """Forgets ended sessions whose tickets are too old by now in any case."""
    session.execute(delete(EndedSession).where(EndedSession.expires_at < now()))
