"""The tables, and what the database itself guarantees.

`blob_metadata` and `blob_history` reference `replicas (sha256, storage_backend)`: no record without a replica
is a foreign key, not a habit. All writing goes through `Database.write` (sql.py), one short transaction
each, and touches replicas in the order (sha256, storage_backend). Requests never delete a replica.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any

from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    Dialect,
    Double,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    String,
    Text,
    TypeDecorator,
    Uuid,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, deferred, mapped_column

from simpledrive.ids import uuid7

BYTEWISE = String().with_variant(Text(collation="C"), "postgresql")
"""Text compared byte for byte, whatever the database's locale: SQLite does so by itself."""


class UTCDateTime(TypeDecorator[datetime]):
    """Points in time, always UTC and aware, also from SQLite, which knows no zones."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Base(DeclarativeBase):
    pass


Moment = Annotated[datetime, mapped_column(UTCDateTime)]

db = SQLAlchemy(model_class=Base, disable_autonaming=True)


class DriveRow(Base):
    """The drive itself, one row. Its UUID is in every backend's marker object."""

    __tablename__ = "drive"

    uuid: Mapped[uuid.UUID] = mapped_column(Uuid, primary_key=True)
    created_at: Mapped[Moment]
    swept_at: Mapped[Moment]


RETIRED = text("retired_at IS NOT NULL")
DELETED, DELETED_IN_SQLITE = text("deleted"), text("deleted = 1")


class Replica(Base):
    """One stored copy of some bytes: which bytes, at which backend, under which key.

    `retired_at` is set when something stopped needing it and cleared when something needs it again; only
    sweeping, after a grace, looks whether anything still does and then deletes it.
    """

    __tablename__ = "replicas"
    __table_args__ = (
        Index("ix_replicas_retired_at", "retired_at", sqlite_where=RETIRED, postgresql_where=RETIRED),
        Index("ix_replicas_backend", "storage_backend", "sha256"),
    )

    sha256: Mapped[str] = mapped_column(BYTEWISE, primary_key=True)
    storage_backend: Mapped[str] = mapped_column(BYTEWISE, primary_key=True)
    storage_key: Mapped[str] = mapped_column(BYTEWISE)
    size: Mapped[int] = mapped_column(BigInteger)
    pieces: Mapped[bytes] = deferred(mapped_column(LargeBinary, nullable=False))
    created_at: Mapped[Moment]
    verified_at: Mapped[Moment | None]
    retired_at: Mapped[Moment | None]
    bad_at: Mapped[Moment | None]


class _Described:
    """What is recorded of a blob, now or earlier."""

    pk: Mapped[uuid.UUID] = mapped_column(Uuid, primary_key=True, default=uuid7)
    filename: Mapped[str] = mapped_column(Text)
    content_type: Mapped[str] = mapped_column(Text)
    blob_metadata: Mapped[dict[str, str]] = mapped_column("metadata", JSON)
    size: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(BYTEWISE)
    storage_backend: Mapped[str] = mapped_column(BYTEWISE)
    created_at: Mapped[Moment]
    updated_at: Mapped[Moment]
    version: Mapped[int] = mapped_column(Integer)
    owner: Mapped[str] = mapped_column(Text)

    def described(self) -> dict[str, Any]:
        """All columns that a blob and its history share, but the surrogate key."""
        return {name: getattr(self, name) for name in SHARED}


SHARED = (
    "id",
    "folder",
    "filename",
    "content_type",
    "blob_metadata",
    "size",
    "sha256",
    "storage_backend",
    "created_at",
    "updated_at",
    "version",
    "owner",
)


NAMED_LIKE_A_UUID = text(
    "CASE WHEN substr(id, length(id) - 35) LIKE '________-____-____-____-____________' THEN 1 ELSE 0 END > 0"
)
"""Of blobs: an index has no others. Who wants to use it says it in these very words.

A comparison, because PostgreSQL takes a LIKE for so rare that it would rather sort all that match.
"""


class Blob(_Described, Base):
    """What a user stores and names. One row a blob."""

    __tablename__ = "blob_metadata"
    __table_args__ = (
        ForeignKeyConstraint(["sha256", "storage_backend"], ["replicas.sha256", "replicas.storage_backend"]),
        Index("ix_blob_metadata_replica", "sha256", "storage_backend"),
        Index("ix_blob_metadata_folder", "folder", "id"),
        Index("ix_blob_metadata_backend", "storage_backend", "id"),
        Index(
            "ix_blob_metadata_files",
            "folder",
            "id",
            sqlite_where=NAMED_LIKE_A_UUID,
            postgresql_where=NAMED_LIKE_A_UUID,
        ),
    )

    id: Mapped[str] = mapped_column(BYTEWISE, unique=True)
    folder: Mapped[str] = mapped_column(BYTEWISE)


Condition = Callable[[Blob | None], bool]
"""What must hold of the current blob (None: there is none), asked inside the transaction that changes it."""


class BlobHistory(_Described, Base):
    """What a replacement or a deletion put aside: earlier versions, the trash, undo."""

    __tablename__ = "blob_history"
    __table_args__ = (
        ForeignKeyConstraint(["sha256", "storage_backend"], ["replicas.sha256", "replicas.storage_backend"]),
        Index("ix_blob_history_replica", "sha256", "storage_backend"),
        Index("ix_blob_history_id", "id", "version"),
        Index("ix_blob_history_put_aside_at", "put_aside_at"),
        Index(
            "ix_blob_history_deleted",
            "id",
            "version",
            sqlite_where=DELETED_IN_SQLITE,
            postgresql_where=DELETED,
        ),
    )

    id: Mapped[str] = mapped_column(BYTEWISE)
    folder: Mapped[str] = mapped_column(BYTEWISE)
    put_aside_at: Mapped[Moment]
    deleted: Mapped[bool]


class BackendUsage(Base):
    """How many replicas, bytes and blobs there are at a backend, counted as they come and go.

    Spread over a few rows a backend, so that concurrent writers do not wait for one another; the sum counts.
    """

    __tablename__ = "backend_usage"

    storage_backend: Mapped[str] = mapped_column(BYTEWISE, primary_key=True)
    shard: Mapped[int] = mapped_column(Integer, primary_key=True)
    replicas: Mapped[int] = mapped_column(BigInteger)
    bytes: Mapped[int] = mapped_column(BigInteger)
    blobs: Mapped[int] = mapped_column(BigInteger, server_default="0")


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


class MachineFile(Base):
    """A file of a machine, as it was last announced by PutPlace's contract. One row a file."""

    __tablename__ = "machine_files"
    __table_args__ = (Index("ix_machine_files_sha256", "sha256", "id"),)

    id: Mapped[str] = mapped_column(BYTEWISE, primary_key=True)
    blob_id: Mapped[str] = mapped_column(BYTEWISE, unique=True)
    """Under which its bytes are kept, once they are there."""
    hostname: Mapped[str] = mapped_column(Text)
    filepath: Mapped[str] = mapped_column(Text)
    ip_address: Mapped[str] = mapped_column(Text)
    sha256: Mapped[str] = mapped_column(BYTEWISE)
    file_size: Mapped[int] = mapped_column(BigInteger)
    file_mode: Mapped[int] = mapped_column(BigInteger)
    file_uid: Mapped[int] = mapped_column(BigInteger)
    file_gid: Mapped[int] = mapped_column(BigInteger)
    file_mtime: Mapped[float] = mapped_column(Double)
    file_atime: Mapped[float] = mapped_column(Double)
    file_ctime: Mapped[float] = mapped_column(Double)
    created_at: Mapped[Moment]


def now() -> datetime:
    """The present, in UTC."""
    return datetime.now(UTC)
