"""What a comparison of records, bytes and counters may find."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal[
    "missing",
    "size",
    "bad",
    "stray",
    "unneeded",
    "unmirrored",
    "unrecorded",
    "counter",
    "quota",
    "unread",
]
"""missing     a recorded copy is not at its backend
size        a recorded copy has another size there
bad         a recorded copy was found wrong or missing before, by whoever read it
stray       an object at a backend that no record names, older than ORPHAN_AGE
unneeded    a recorded copy that nothing needs, and that no sweep would look at
unmirrored  bytes that a mirror shall have and has not, and that nobody is about to bring there
unrecorded  a blob, or an earlier version, whose home has no record of a copy
counter     what is said to lie at a backend is not what lies there
quota       a key is charged for other bytes than it has stored
unread      a backend, or a copy at it, that cannot be looked at: nothing is known of it"""


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it should be: where, what (a storage key, a blob), and why, as a sentence.

    `backend` is "" for what is at none: the account of a key.
    """

    kind: Kind
    backend: str
    what: str
    why: str
    fixed: bool = False


@dataclass
class Looked:
    """How much was looked at."""

    replicas: int = 0
    objects: int = 0
