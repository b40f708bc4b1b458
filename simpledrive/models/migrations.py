"""Migrations: what was to move, and what became of it."""

from __future__ import annotations

import uuid
from typing import Any, Literal

from sqlalchemy import JSON, BigInteger, ForeignKey, Index, Integer, Text, Uuid, text
from sqlalchemy.orm import Mapped, mapped_column

from simpledrive.models.base import BYTEWISE, Base, Leased, Moment, leased_index

MigrationState = Literal[
    "planning", "running", "paused", "ended", "rolling_back", "rolled_back", "finalizing", "finalized"
]
"""Workers work at what is `planning`, `running`, `rolling_back` or `finalizing`, until it is the state after.

What has `ended` has nothing left to try; some may have failed.
"""

ItemState = Literal["planned", "pending", "moved", "failed", "gone", "back", "stays"]
"""What is `planned` is not tried yet: it becomes `pending` when all is planned, and is what was required.

`gone`: deleted, or moved by others meanwhile. `back` and `stays` are what a roll-back made of `moved`.
"""

MARKED, MARKED_IN_SQLITE = text("is_marked"), text("is_marked = 1")
OPEN = text("state IN ('planning', 'running', 'paused')")


class Migration(Leased, Base):
    """Records that are to change their home from one backend to another.

    The counts are of items: `items` were planned, `bytes` is what they hold together. `pending` is what is
    left of them to try. Leased by whoever plans it, rolls it back or finalizes it; of those who move, each
    leases items.
    """

    __tablename__ = "migrations"
    __table_args__ = (
        Index("ix_migrations_open", "mark", unique=True, sqlite_where=OPEN, postgresql_where=OPEN),
    )

    id: Mapped[str] = mapped_column(BYTEWISE, primary_key=True)
    source: Mapped[str] = mapped_column(BYTEWISE)
    target: Mapped[str] = mapped_column(BYTEWISE)
    selection: Mapped[dict[str, Any]] = mapped_column(JSON)
    mark: Mapped[str] = mapped_column(BYTEWISE)
    """Stands for source, target and selection: the same asked for twice is one migration while it is open."""
    plan: Mapped[str] = mapped_column(BYTEWISE)
    """The hash of what was planned last: that of a dry run which saw the same. Empty until it is complete."""
    required_plan: Mapped[str] = mapped_column(BYTEWISE)
    """The hash of the only plan that may be run; empty for any."""
    state: Mapped[MigrationState] = mapped_column(BYTEWISE)
    why: Mapped[str] = mapped_column(Text, default="")
    """Why nobody could go on with it the last time: a place that is down, or full."""
    grace_seconds: Mapped[int] = mapped_column(BigInteger)
    """How long what was moved is kept at the source too."""
    created_at: Mapped[Moment]
    created_by: Mapped[str] = mapped_column(BYTEWISE)
    created_by_name: Mapped[str] = mapped_column(Text)
    ended_at: Mapped[Moment | None]
    exclusive_until: Mapped[Moment | None]
    """Until then workers leave it to the commands that are at it."""
    items: Mapped[int] = mapped_column(BigInteger, default=0)
    bytes: Mapped[int] = mapped_column(BigInteger, default=0)
    moved: Mapped[int] = mapped_column(BigInteger, default=0)
    moved_bytes: Mapped[int] = mapped_column(BigInteger, default=0)
    failed: Mapped[int] = mapped_column(BigInteger, default=0)
    gone: Mapped[int] = mapped_column(BigInteger, default=0)
    back: Mapped[int] = mapped_column(BigInteger, default=0)
    stays: Mapped[int] = mapped_column(BigInteger, default=0)

    @property
    def pending(self) -> int:
        return self.items - self.moved - self.failed - self.gone - self.back - self.stays


class MigrationItem(Leased, Base):
    """One blob, or one of its earlier versions, of a migration. Those with the same bytes are neighbours.

    The first of these that is pending is leased for all of them. A worker that is late may find that another
    one has taken them. `record` is the surrogate key of the blob or version: it stays when that is put aside.
    """

    __tablename__ = "migration_items"
    __table_args__ = (
        leased_index("migration_items"),
        Index(
            "ix_migration_items_marked", "migration", sqlite_where=MARKED_IN_SQLITE, postgresql_where=MARKED
        ),
        Index("ix_migration_items_state", "migration", "state", "sha256", "record"),
    )

    migration: Mapped[str] = mapped_column(BYTEWISE, ForeignKey("migrations.id"), primary_key=True)
    sha256: Mapped[str] = mapped_column(BYTEWISE, primary_key=True)
    record: Mapped[uuid.UUID] = mapped_column(Uuid, primary_key=True)
    blob_id: Mapped[str] = mapped_column(BYTEWISE)
    version: Mapped[int] = mapped_column(Integer)
    size: Mapped[int] = mapped_column(BigInteger)
    state: Mapped[ItemState] = mapped_column(BYTEWISE)
    why: Mapped[str] = mapped_column(Text, default="")
    """Why it is failed, gone or stays."""
    is_marked: Mapped[bool] = mapped_column(default=False)
    """It was tried before, and the planning under way has found it again."""
    source_key: Mapped[str | None] = mapped_column(BYTEWISE)
    target_key: Mapped[str | None] = mapped_column(BYTEWISE)
    verified_at: Mapped[Moment | None]
    """When the copy at the target had been read back in full and was right."""
    moved_at: Mapped[Moment | None]
