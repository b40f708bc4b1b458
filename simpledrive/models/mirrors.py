"""Mirrors: which copies are still missing, and how far the search for such has come."""

from __future__ import annotations

from sqlalchemy import Index, Integer, Text
from sqlalchemy.orm import Mapped, mapped_column

from simpledrive.models.base import BYTEWISE, Base, Leased, Moment, leased_index


class WantedCopy(Leased, Base):
    """Bytes that a mirror is to have and has not. The row goes with the copy's coming, or with its need.

    `due_at` is when it is to be tried: at once, or a while after the last of `attempts` failed, for `why`.
    """

    __tablename__ = "wanted_copies"
    __table_args__ = (
        leased_index("wanted_copies"),
        Index("ix_wanted_copies_due", "storage_backend", "due_at"),
        Index("ix_wanted_copies_since", "storage_backend", "since"),
    )

    sha256: Mapped[str] = mapped_column(BYTEWISE, primary_key=True)
    storage_backend: Mapped[str] = mapped_column(BYTEWISE, primary_key=True)
    since: Mapped[Moment]
    due_at: Mapped[Moment]
    attempts: Mapped[int] = mapped_column(Integer, default=0)
    why: Mapped[str] = mapped_column(Text, default="")


class MirrorSearch(Base):
    """The latest search for copies that mirrors lack or need no longer, one row from the first one on.

    `mirrors` is the configuration that it is for. `behind` is the digest up to which it has come; None when
    it is over. `ended_at` is when the last one for this configuration was over; None if none has been.
    """

    __tablename__ = "mirror_search"

    number: Mapped[int] = mapped_column(Integer, primary_key=True)
    mirrors: Mapped[str] = mapped_column(Text)
    behind: Mapped[str | None] = mapped_column(BYTEWISE)
    ended_at: Mapped[Moment | None]
