"""One put at a time under a key that may be in use: most renaming replaces, but a folder is made only once.

Who made the folder `tmp/KEY.claim` has the claim. In it lies a second one whose name says since when, by our
own clock: so a claim whose holder died is known by its age, and who removes the second folder, which only one
can, may remove the first.
"""

import re
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Protocol

from simpledrive.ids import uuid7
from simpledrive.storage.base import KEY, MARKER, made_at

CLAIM = re.compile(rf"({KEY.pattern}|{MARKER})\.claim")
PAUSES = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
"""Seconds between the questions whether a claim has become free."""
SLOWEST_STEPS = 20
"""Times the timeout: no put that lives holds a claim for longer."""
CLOCKS_APART = timedelta(minutes=10)
SINCE = re.compile(r"since\.[0-9a-f]{32}")


class Folders(Protocol):
    """What a place is asked for. Of several that make a folder, or remove it, one gets True."""

    def make_folder(self, path: str, /) -> bool: ...
    def remove_folder(self, path: str, /) -> bool: ...
    def names(self, folder: str, /) -> list[str]: ...


def lease(timeout: float) -> timedelta:
    """How long a claim is believed, where each step waits for `timeout` seconds at most."""
    return CLOCKS_APART + timedelta(seconds=SLOWEST_STEPS * timeout)


def wait_for(folders: Folders, claim: str, believed: timedelta, look: Callable[[], object]) -> bool:
    """Whether the claim is ours in the end. One that is older than `believed` is taken over.

    Calls `look` each time that somebody else has it: it raises when waiting has become pointless.
    """
    for pause in PAUSES:
        if take(folders, claim):
            return True
        look()
        time.sleep(pause)
    return expire(folders, claim, datetime.now(UTC) - believed) and take(folders, claim)


def told(claim: str, believed: timedelta) -> str:
    """The sentence about a claim that somebody else has."""
    minutes = round(believed / timedelta(minutes=1))
    return f"the folder {claim} is another put's: if that died, it is removed after {minutes} minutes"


def take(folders: Folders, claim: str) -> bool:
    """Whether the claim is ours now."""
    if not folders.make_folder(claim):
        return False
    _date(folders, claim)
    return True


def give_up(folders: Folders, claim: str) -> None:
    """Of our own claim nothing is left."""
    for name in _dates(folders, claim):
        folders.remove_folder(f"{claim}/{name}")
    folders.remove_folder(claim)


def expire(folders: Folders, claim: str, before: datetime) -> bool:
    """Whether the claim was older than `before`, and it was this call that removed it.

    One without a date, whose holder died in the instant between, is dated now.
    """
    dates = _dates(folders, claim) or [_date(folders, claim)]
    if any(made_at(name) >= before for name in dates):
        return False
    return all(folders.remove_folder(f"{claim}/{name}") for name in dates) and folders.remove_folder(claim)


def _date(folders: Folders, claim: str) -> str:
    name = f"since.{uuid7().hex}"
    folders.make_folder(f"{claim}/{name}")
    return name


def _dates(folders: Folders, claim: str) -> list[str]:
    return [name for name in folders.names(claim) if SINCE.fullmatch(name)]
