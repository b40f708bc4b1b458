"""One put at a time under a key that may be in use: FTP's renaming replaces, but a folder is made only once.

Who made the folder `tmp/KEY.claim` has the claim. In it lies a second one whose name says since when, by our
own clock: so a claim whose holder died is known by its age, and who removes the second folder, which only one
can, may remove the first.
"""

import re
from datetime import datetime

from simpledrive.ids import uuid7
from simpledrive.storage.base import KEY, MARKER, made_at
from simpledrive.storage.ftp.session import Session

CLAIM = re.compile(rf"({KEY.pattern}|{MARKER})\.claim")
SINCE = re.compile(r"since\.[0-9a-f]{32}")


def take(session: Session, claim: str) -> bool:
    """Whether the claim is ours now."""
    if not session.make_folder(claim):
        return False
    _date(session, claim)
    return True


def give_up(session: Session, claim: str) -> None:
    """Of our own claim nothing is left."""
    for name in _dates(session, claim):
        session.remove_folder(f"{claim}/{name}")
    session.remove_folder(claim)


def expire(session: Session, claim: str, before: datetime) -> bool:
    """Whether the claim was older than `before`, and it was this call that removed it.

    One without a date, whose holder died in the instant between, is dated now.
    """
    dates = _dates(session, claim) or [_date(session, claim)]
    if any(made_at(name) >= before for name in dates):
        return False
    return all(session.remove_folder(f"{claim}/{name}") for name in dates) and session.remove_folder(claim)


def _date(session: Session, claim: str) -> str:
    name = f"since.{uuid7().hex}"
    session.make_folder(f"{claim}/{name}")
    return name


def _dates(session: Session, claim: str) -> list[str]:
    return [name for name in session.names(claim) if SINCE.fullmatch(name)]
