"""The mark that says where a blob's bytes are: one shape for each copy, and the same in words.

Pure: from replicas to what the macro `mark` in templates/ui/marks.html draws.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from simpledrive.ui.amounts import count
from simpledrive.ui.moments import age

WEEK, MONTH = timedelta(days=7), timedelta(days=30)
SHAPES = frozenset({"local", "database", "s3", "ftp", "fsspec"})


class Copy(Protocol):
    """What is asked of a replica."""

    @property
    def storage_backend(self) -> str: ...
    @property
    def verified_at(self) -> datetime | None: ...
    @property
    def retired_at(self) -> datetime | None: ...
    @property
    def bad_at(self) -> datetime | None: ...


@dataclass(frozen=True)
class Rep:
    """One shape: the kind of storage, home / copy / bad / gone, and the line below: full, half or none."""

    shape: str
    state: str
    line: str = ""


@dataclass(frozen=True)
class Mark:
    """The shapes, home first; the short name beside them; the age of the oldest read-back; all in words."""

    reps: list[Rep]
    name: str
    tone: str
    age: str
    words: str


def shape(kind: str) -> str:
    """The shape of a kind of storage: its own, or `other`."""
    return kind if kind in SHAPES else "other"


def rep(copy: Copy, home: str, kind: str, now: datetime) -> Rep:
    """The shape of one replica of a blob whose home is the backend `home`."""
    if copy.bad_at is not None:
        return Rep(shape(kind), "bad")
    if copy.storage_backend != home and copy.retired_at is not None:
        return Rep(shape(kind), "gone")
    return Rep(shape(kind), "home" if copy.storage_backend == home else "copy", _line(copy.verified_at, now))


def kept(copies: Sequence[Copy], home: str) -> list[Copy]:
    """The copies that count, home first. One left behind by a move counts no more; the home always does."""
    found = [copy for copy in copies if copy.storage_backend == home or copy.retired_at is None]
    return sorted(found, key=lambda copy: (copy.storage_backend != home, copy.storage_backend))


def mark(home: str, copies: Sequence[Copy], kind_of: Callable[[str], str], now: datetime) -> Mark:
    """The mark of a blob from its home and its replicas; `kind_of` tells a backend's kind."""
    counted = kept(copies, home)
    bad = [copy for copy in counted if copy.bad_at is not None]
    others = [copy for copy in counted if copy.storage_backend != home]
    reps = [rep(copy, home, kind_of(copy.storage_backend), now) for copy in counted]
    oldest = _oldest([copy.verified_at for copy in counted if copy.bad_at is None])
    if bad:
        return Mark(reps, _bad_name(home, counted, bad), "is-bad", "", _bad_words(home, others, bad))
    copies_at = f"copy on {', '.join(copy.storage_backend for copy in others)}" if others else "no copy"
    name = f"{home} +{len(others)}" if others else home
    back = "not read back yet" if oldest is None else _read_back(age(oldest, now))
    return Mark(reps, name, "", age(oldest, now) if oldest else "", f"Home {home}, {copies_at}, {back}")


def folder_mark(backends: Sequence[str], kind_of: Callable[[str], str]) -> Mark:
    """The mark of a folder: the kinds of the backends that have files below it."""
    reps = [Rep(shape(kind_of(name)), "home") for name in backends]
    name = backends[0] if len(backends) == 1 else count(len(backends), "backend")
    return Mark(reps, name, "", "", f"Files in it live on {', '.join(backends)}")


def _line(verified_at: datetime | None, now: datetime) -> str:
    if verified_at is None or now - verified_at >= MONTH:
        return ""
    return "full" if now - verified_at < WEEK else "half"


def _oldest(moments: list[datetime | None]) -> datetime | None:
    """None as soon as one copy was never read back: then nothing may be said of all."""
    known = [moment for moment in moments if moment is not None]
    return min(known) if known and len(known) == len(moments) else None


def _read_back(text: str) -> str:
    return "read back just now" if text == "now" else f"read back {text} ago"


def _bad_name(home: str, counted: list[Copy], bad: list[Copy]) -> str:
    if len(bad) == len(counted):
        return f"{home}, bad"
    return f"{home}, {len(bad)} of {len(counted)} bad"


def _bad_words(home: str, others: list[Copy], bad: list[Copy]) -> str:
    wrong = {copy.storage_backend for copy in bad}
    state = "bad" if home in wrong else "sound"
    if not others:
        return f"Home {home} is {state}; there is no copy"
    each = [
        f"the copy on {c.storage_backend} is {'bad' if c.storage_backend in wrong else 'sound'}"
        for c in others
    ]
    return f"Home {home} is {state}; {', '.join(each)}"
