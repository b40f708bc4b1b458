"""A note for the next page: what was just done, and how to undo it. It stays until the page after that."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field

from flask import session

ROOM = 2000
"""Bytes of a note that are kept in the session: browsers drop cookies of more than 4096 bytes."""


@dataclass(frozen=True)
class Note:
    """What was done, what was not and why, and the ids that one press brings back."""

    words: str
    but: list[str] = field(default_factory=list)
    undo: list[str] = field(default_factory=list)


def leave(note: Note) -> bool:
    """Keeps the note for the next page; False, and nothing is kept, if it is too long for that."""
    document = asdict(note)
    if len(json.dumps(document)) > ROOM:
        return False
    session["note"] = document
    return True


def take() -> Note | None:
    """The note that was left, once."""
    document = session.pop("note", None)
    return Note(**document) if document else None
