"""What options of several commands may be: sizes, counts, ages, ends, media types.

Bounded here, so that no command gets an amount that the database, the calendar or a division does not take.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import click
from pydantic import ByteSize, TypeAdapter, ValidationError

from simpledrive.ages import age_of
from simpledrive.descriptions import type_wanted
from simpledrive.models import now

MOST = (1 << 63) - 1
"""What a database counts to."""

COUNT = click.IntRange(1, MOST)


class Size(click.ParamType[int]):
    """Bytes, with a unit as the settings have them: 20M, 10GiB. At least `least` of them."""

    name = "size"

    def __init__(self, least: int = 0) -> None:
        self._least = least

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            size = int(TypeAdapter(ByteSize).validate_python(value))
        except (ValidationError, OverflowError):
            self.fail(f"{value!r} is not a number of bytes such as 20M or 10GiB.", param, ctx)
        if not self._least <= size <= MOST:
            self.fail(f"{value!r} is not between {self._least} bytes and 8 EiB.", param, ctx)
        return size


class End(click.ParamType[datetime]):
    """A day or a moment (ISO 8601, UTC unless it says otherwise), or a time from now: 30d."""

    name = "end"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        if (age := age_of(str(value))) is not None:
            return now() + age
        try:
            end = datetime.fromisoformat(str(value))
            return end if end.tzinfo is not None else end.replace(tzinfo=UTC)
        except ValueError:
            self.fail(f"{value!r} is neither a date such as 2027-01-31 nor days such as 30d.", param, ctx)


class Age(click.ParamType[timedelta]):
    """How long, with a unit: 7d, 12h, 0s."""

    name = "age"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        if (age := age_of(str(value))) is None:
            self.fail(
                f"{value!r} is not a time such as 7d, 12h or 0s, of a hundred years at most.", param, ctx
            )
        return age


class MediaType(click.ParamType[str]):
    """A media type, or all of a kind: text/plain, image/ or image/*."""

    name = "type"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if (wanted := type_wanted(str(value))) is None:
            self.fail(
                f"{value!r} is neither a media type such as text/plain nor image/ for a kind.", param, ctx
            )
        return wanted
