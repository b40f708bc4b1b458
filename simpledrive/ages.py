"""How long, as people say it: a number and a unit, `30d`."""

from __future__ import annotations

import re
from datetime import timedelta

UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
LONGEST = timedelta(days=36500)
"""From any present, the calendar reaches that far both ways."""


def age_of(text: str) -> timedelta | None:
    """How long `text` says, or None if it says no such thing, or longer than LONGEST."""
    found = re.fullmatch(r"([0-9]{1,6})([smhdw])", text)
    if found is None:
        return None
    age = timedelta(**{UNITS[found[2]]: int(found[1])})
    return age if age <= LONGEST else None
