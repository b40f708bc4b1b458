"""What tables share: the base class, leases, texts compared byte for byte, points in time in UTC."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import DateTime, Dialect, Index, String, Text, TypeDecorator, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

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


class Leased:
    """A row that one worker at a time is at work on: the one that has `leased` it, until `leased_until`."""

    leased: Mapped[str | None] = mapped_column(BYTEWISE)
    leased_until: Mapped[Moment | None]


def leased_index(table: str) -> Index:
    """By which a worker finds what it has leased in this table, to keep it: whatever else lies there."""
    is_leased = text("leased_until IS NOT NULL")
    return Index(f"ix_{table}_leased", "leased", sqlite_where=is_leased, postgresql_where=is_leased)


db = SQLAlchemy(model_class=Base, disable_autonaming=True)


def now() -> datetime:
    """The present, in UTC."""
    return datetime.now(UTC)
