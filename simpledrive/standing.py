"""Whether a key still counts at the moment at which something is done with it.

A body may take hours to come, and a move as long: who was let in at the beginning is looked at again in the
transaction that counts.
"""

from __future__ import annotations

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from simpledrive.errors import InvalidToken
from simpledrive.models import ApiKey, now
from simpledrive.rights import Caller


def require(session: Session, caller: Caller) -> None:
    """Returns if the caller's key has not been revoked, deleted or has expired since. Raises InvalidToken."""
    if not caller.is_issued:
        return
    counts = (ApiKey.revoked_at.is_(None), or_(ApiKey.expires_at.is_(None), ApiKey.expires_at > now()))
    if session.scalar(select(ApiKey.id).where(ApiKey.id == caller.key_id, *counts)) is None:
        raise InvalidToken("This key is no longer valid.")
