"""What options of several commands may be: sizes, ages, ends."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import click
from pydantic import ByteSize, TypeAdapter, ValidationError

from simpledrive.models import now


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
        if not self._least <= size < 1 << 63:
            self.fail(f"{value!r} is not between {self._least} bytes and 8 EiB.", param, ctx)
        return size


class End(click.ParamType[datetime]):
    """A day or a moment (ISO 8601, UTC unless it says otherwise), or days from now: 30d."""

    name = "end"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        try:
            if found := re.fullmatch(r"([0-9]{1,6})d", str(value)):
                return now() + timedelta(days=int(found[1]))
            end = datetime.fromisoformat(str(value))
            return end if end.tzinfo is not None else end.replace(tzinfo=UTC)
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is neither a date such as 2027-01-31 nor days such as 30d.", param, ctx)


class Age(click.ParamType[timedelta]):
    """How long, with a unit: 7d, 12h, 0s."""

    name = "age"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        found = re.fullmatch(r"([0-9]{1,6})([smhdw])", str(value))
        if found is None:
            self.fail(f"{value!r} is not a time such as 7d, 12h or 0s.", param, ctx)
        return timedelta(**{UNITS[found[2]]: int(found[1])})


UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
