"""API keys as JSON: what is asked of a new one, and what is told of them (CONTRACTS, parts 3 and 4)."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import AwareDatetime

from simpledrive.api.documents import Count, Document, stamp
from simpledrive.keys import NewKey, counts, described
from simpledrive.models import ApiKey


class NewKeyDocument(Document):
    """The body of POST /v1/keys. What is null or left out is as the maker's own key has it."""

    name: str
    description: str = ""
    scopes: list[str] | None = None
    prefix: str | None = None
    backends: list[str] | None = None
    max_bytes: Count | None = None
    quota_bytes: Count | None = None
    expires_at: AwareDatetime | None = None

    def asked(self) -> NewKey:
        """The same, for the drive."""
        return NewKey(**self.model_dump())


class NewApiKeyDocument(Document):
    """The body of PutPlace's POST /api_keys: a key that may do what its maker may."""

    name: str
    description: str | None = None

    def asked(self) -> NewKey:
        """The same, for the drive."""
        return NewKey(self.name, self.description or "")


def key(row: ApiKey) -> dict[str, Any]:
    """What is told of a key, to whoever may do all that it may."""
    told = described(row)
    return {name: stamp(value) if isinstance(value, datetime) else value for name, value in told.items()}


def api_key(row: ApiKey) -> dict[str, Any]:
    """The same as PutPlace's contract has it, in its listing."""
    return {
        "_id": row.id,
        "name": row.name,
        "description": row.description or None,
        "created_at": stamp(row.created_at),
        "last_used_at": stamp(row.last_used_at) if row.last_used_at else None,
        "is_active": counts(row),
    }
