"""Who may do what, and what was done: keys, sessions, reservations, replays, the audit log."""

from __future__ import annotations

import uuid
from typing import Any

from sqlalchemy import JSON, BigInteger, Index, Text, Uuid
from sqlalchemy.orm import Mapped, mapped_column

from simpledrive.models.base import BYTEWISE, Base, Moment


class ApiKey(Base):
    """A credential that was issued. Only the SHA-256 of the key itself is here."""

    __tablename__ = "api_keys"

    id: Mapped[str] = mapped_column(BYTEWISE, primary_key=True)
    digest: Mapped[str] = mapped_column(BYTEWISE, unique=True)
    name: Mapped[str] = mapped_column(Text)
    description: Mapped[str] = mapped_column(Text)
    scopes: Mapped[list[str]] = mapped_column(JSON)
    prefix: Mapped[str] = mapped_column(BYTEWISE)
    backends: Mapped[list[str] | None] = mapped_column(JSON(none_as_null=True))
    max_bytes: Mapped[int | None] = mapped_column(BigInteger)
    quota_bytes: Mapped[int | None] = mapped_column(BigInteger)
    used_bytes: Mapped[int] = mapped_column(BigInteger)
    """Of all blobs and versions that this key made. Counted only for keys with a quota."""
    created_by: Mapped[str] = mapped_column(Text)
    created_at: Mapped[Moment]
    expires_at: Mapped[Moment | None]
    last_used_at: Mapped[Moment | None]
    revoked_at: Mapped[Moment | None]
    deleted_at: Mapped[Moment | None]
    """Since when nobody is shown it. The row stays, so that its id never stands for another key."""


class Reservation(Base):
    """Bytes of a key's quota that an upload under way has spoken for. One that is never ended expires."""

    __tablename__ = "reservations"
    __table_args__ = (Index("ix_reservations_key", "key_id"),)

    id: Mapped[uuid.UUID] = mapped_column(Uuid, primary_key=True)
    key_id: Mapped[str] = mapped_column(BYTEWISE)
    bytes: Mapped[int] = mapped_column(BigInteger)
    expires_at: Mapped[Moment]


class Replay(Base):
    """What a request with an Idempotency-Key stored: written in the same transaction as the blob itself.

    `mark` stands for caller, route and key; `fingerprint` for what was asked; `record` is the blob as it
    was then, for the same answer to be given again.
    """

    __tablename__ = "replays"
    __table_args__ = (Index("ix_replays_created_at", "created_at"),)

    mark: Mapped[str] = mapped_column(BYTEWISE, primary_key=True)
    fingerprint: Mapped[str] = mapped_column(BYTEWISE)
    record: Mapped[dict[str, Any]] = mapped_column(JSON)
    created_at: Mapped[Moment]


class EndedSession(Base):
    """A browser's session that was ended before its time, until that time."""

    __tablename__ = "ended_sessions"
    __table_args__ = (Index("ix_ended_sessions_expires_at", "expires_at"),)

    id: Mapped[str] = mapped_column(BYTEWISE, primary_key=True)
    expires_at: Mapped[Moment]


class AuditEntry(Base):
    """Who did what, when, from where. Appended in the transaction of the deed, never changed."""

    __tablename__ = "audit_log"
    __table_args__ = (Index("ix_audit_log_target", "target", "pk"),)

    pk: Mapped[uuid.UUID] = mapped_column(Uuid, primary_key=True)
    at: Mapped[Moment]
    key_id: Mapped[str] = mapped_column(BYTEWISE)
    key_name: Mapped[str] = mapped_column(Text)
    address: Mapped[str] = mapped_column(Text)
    request_id: Mapped[str] = mapped_column(BYTEWISE)
    action: Mapped[str] = mapped_column(BYTEWISE)
    target: Mapped[str] = mapped_column(BYTEWISE)
    details: Mapped[dict[str, Any]] = mapped_column(JSON)
