"""What is stored: the drive, blobs and their history, and the replicas that hold their bytes."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

from sqlalchemy import JSON, BigInteger, ForeignKeyConstraint, Index, Integer, LargeBinary, Text, Uuid, text
from sqlalchemy.orm import Mapped, deferred, mapped_column

from simpledrive.ids import uuid7
from simpledrive.models.base import BYTEWISE, Base, Moment

RETIRED = text("retired_at IS NOT NULL")
BAD = text("bad_at IS NOT NULL")
UNVERIFIED = text("bad_at IS NULL AND verified_at IS NULL")
VERIFIED = text("bad_at IS NULL AND verified_at IS NOT NULL")
DELETED, DELETED_IN_SQLITE = text("deleted"), text("deleted = 1")


class DriveRow(Base):
    """The drive itself, one row. Its UUID is in every backend's marker object."""

    __tablename__ = "drive"

    uuid: Mapped[uuid.UUID] = mapped_column(Uuid, primary_key=True)
    created_at: Mapped[Moment]
    swept_at: Mapped[Moment]


class Replica(Base):
    """One stored copy of some bytes: which bytes, at which backend, under which key.

    `retired_at` is set when something stopped needing it and cleared when something needs it again; only
    sweeping, after a grace, looks whether anything still does and then deletes it; not before `keep_until` if
    a migration keeps it, to be rolled back to. `verified_at` is when its bytes were last read in full and
    right, `bad_at` since when they are known to be wrong or gone.
    """

    __tablename__ = "replicas"
    __table_args__ = (
        Index(
            "ix_replicas_retired",
            "keep_until",
            "retired_at",
            "sha256",
            sqlite_where=RETIRED,
            postgresql_where=RETIRED,
        ),
        Index("ix_replicas_backend", "storage_backend", "sha256"),
        Index("ix_replicas_bad", "storage_backend", "sha256", sqlite_where=BAD, postgresql_where=BAD),
        Index(
            "ix_replicas_unverified",
            "storage_backend",
            "created_at",
            "sha256",
            sqlite_where=UNVERIFIED,
            postgresql_where=UNVERIFIED,
        ),
        Index(
            "ix_replicas_verified",
            "storage_backend",
            "verified_at",
            "sha256",
            sqlite_where=VERIFIED,
            postgresql_where=VERIFIED,
        ),
    )

    sha256: Mapped[str] = mapped_column(BYTEWISE, primary_key=True)
    storage_backend: Mapped[str] = mapped_column(BYTEWISE, primary_key=True)
    storage_key: Mapped[str] = mapped_column(BYTEWISE)
    size: Mapped[int] = mapped_column(BigInteger)
    pieces: Mapped[bytes] = deferred(mapped_column(LargeBinary, nullable=False))
    created_at: Mapped[Moment]
    verified_at: Mapped[Moment | None]
    retired_at: Mapped[Moment | None]
    keep_until: Mapped[Moment | None]
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
    """How many replicas, bytes, blobs and wanted copies a backend has, counted as they come and go.

    Spread over a few rows a backend, so that concurrent writers do not wait for one another; the sum counts.
    """

    __tablename__ = "backend_usage"

    storage_backend: Mapped[str] = mapped_column(BYTEWISE, primary_key=True)
    shard: Mapped[int] = mapped_column(Integer, primary_key=True)
    replicas: Mapped[int] = mapped_column(BigInteger)
    bytes: Mapped[int] = mapped_column(BigInteger)
    blobs: Mapped[int] = mapped_column(BigInteger, server_default="0")
    waiting: Mapped[int] = mapped_column(BigInteger, server_default="0")


class Verification(Base):
    """What verifying a backend has come to, ever; and when scrubbing is to go on there."""

    __tablename__ = "verifications"

    storage_backend: Mapped[str] = mapped_column(BYTEWISE, primary_key=True)
    verified: Mapped[int] = mapped_column(BigInteger)
    """Replicas that were read in full and right, each as often as it was."""
    bad: Mapped[int] = mapped_column(BigInteger)
    """Replicas that were found bad, each time that this was news."""
    scrub_at: Mapped[Moment]
    """Whoever finds this in the past and moves it into the future scrubs there, and nobody else meanwhile."""
