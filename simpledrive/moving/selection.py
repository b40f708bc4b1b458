"""Which records a migration is to move."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Self

from sqlalchemy import ColumnElement, Select, and_, not_

from simpledrive.ages import age_of
from simpledrive.errors import Invalid
from simpledrive.ids import unprintable
from simpledrive.keyset import begins_with, within
from simpledrive.listing import is_of_type
from simpledrive.models import Blob, BlobHistory

MOST_IDS = 10_000
"""A database takes so many values at once, and no more."""

Table = type[Blob] | type[BlobHistory]


@dataclass(frozen=True)
class Selection:
    """What is None or empty does not matter. Sizes are in bytes, both ends included.

    `older_than` and `newer_than` are ages (30d, 12h) or moments (2026-11-20, with a time or without; UTC
    unless it says more), and mean when the bytes were stored. `content_type` is a media type without
    parameters, or the first half of one and a slash (`image/`, `image/*`). `limit` is how many records at
    most. `versions`: earlier versions and the trash too. What one of `unless` matches too is left out; of
    these only the prefix, the sizes and the type count.
    """

    prefix: str = ""
    ids: tuple[str, ...] = ()
    older_than: str | None = None
    newer_than: str | None = None
    min_size: int | None = None
    max_size: int | None = None
    content_type: str | None = None
    limit: int | None = None
    versions: bool = True
    unless: tuple[Selection, ...] = ()

    def __post_init__(self) -> None:
        for field in ("older_than", "newer_than"):
            if (said := getattr(self, field)) is not None:
                _moment(field, said, datetime.now(UTC))
        if len(self.ids) > MOST_IDS:
            raise Invalid(("ids", f"At most {MOST_IDS} are taken: select by --prefix, or say it in parts."))
        texts = (("prefix", self.prefix), ("content_type", self.content_type or ""))
        for field, text in (*texts, *(("ids", id) for id in self.ids)):
            if (why := unprintable(text)) is not None:  # PostgreSQL could not even be asked for a U+0000
                raise Invalid((field, why))

    @property
    def tables(self) -> tuple[Table, ...]:
        return (Blob, BlobHistory) if self.versions else (Blob,)

    def applied(self, query: Select[Any], table: Table, present: datetime) -> Select[Any]:
        """A query of that table, for what is selected alone. Ages are counted from `present`."""
        query = within(query.where(*self._conditions(table, present)), self.prefix, table.id)
        return query.where(table.id.in_(self.ids)) if self.ids else query

    def _conditions(self, table: Table, present: datetime) -> list[ColumnElement[bool]]:
        """What a record must be, beside its id."""
        found: list[ColumnElement[bool]] = []
        if self.older_than is not None:
            found.append(table.updated_at < _moment("older_than", self.older_than, present))
        if self.newer_than is not None:
            found.append(table.updated_at >= _moment("newer_than", self.newer_than, present))
        if self.min_size is not None:
            found.append(table.size >= self.min_size)
        if self.max_size is not None:
            found.append(table.size <= self.max_size)
        if self.content_type is not None:
            found.append(is_of_type(table.content_type, self.content_type))
        found += [not_(other._matches(table, present)) for other in self.unless]
        return found

    def _matches(self, table: Table, present: datetime) -> ColumnElement[bool]:
        return and_(*begins_with(table.id, self.prefix), *self._conditions(table, present))

    def as_json(self) -> dict[str, Any]:
        """What was said, without what was left out."""
        said = asdict(self) | {"ids": list(self.ids), "unless": [other.as_json() for other in self.unless]}
        return {name: value for name, value in said.items() if value not in (None, "", [])}

    @classmethod
    def from_json(cls, said: dict[str, Any]) -> Self:
        unless = tuple(cls.from_json(other) for other in said.get("unless", ()))
        return cls(**said | {"ids": tuple(said.get("ids", ())), "unless": unless})


def _moment(field: str, said: str, present: datetime) -> datetime:
    if (age := age_of(said)) is not None:
        return present - age
    try:
        moment = datetime.fromisoformat(said)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise Invalid(
            (field, f"{said!r} is neither an age such as 30d nor a date such as 2026-11-20.")
        ) from None
