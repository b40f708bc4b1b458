"""Points in time as people read them, always in UTC: the reader's own zone is not known here."""

from datetime import datetime, timedelta

MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]


def when(moment: datetime, now: datetime) -> str:
    """As short as it can be understood: Today, 09:12; 18 Nov, 16:20; 2 Oct; 4 Mar 2019."""
    clock = f"{moment:%H:%M}"
    if moment.date() == now.date():
        return f"Today, {clock}"
    if timedelta(0) <= now - moment < timedelta(days=7):
        return f"{_day(moment)}, {clock}"
    return _day(moment) if moment.year == now.year else f"{_day(moment)} {moment.year}"


def stamp(moment: datetime, now: datetime) -> str:
    """With the minute, and the year where it is another: 18 Nov, 04:10."""
    return f"{_day(moment)}, {moment:%H:%M}" if moment.year == now.year else full(moment)


def full(moment: datetime) -> str:
    """With the year and the minute: 12 Nov 2026, 11:05."""
    return f"{_day(moment)} {moment.year}, {moment:%H:%M}"


def age(moment: datetime, now: datetime) -> str:
    """How long ago, in one unit: now, 4 min, 1 h, 19 d."""
    seconds = (now - moment).total_seconds()
    for length, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= length:
            return f"{int(seconds // length):,} {unit}"
    return "now"


def _day(moment: datetime) -> str:
    return f"{moment.day} {MONTHS[moment.month - 1]}"
