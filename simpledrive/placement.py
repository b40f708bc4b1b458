"""The home of a new blob: what the caller named, else what the rules say, else the default.

It is chosen when the blob's size is known. Where a key may not place bytes at a rule's backend, the next rule
that fits counts, as if that one were not there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from simpledrive.backends import Backends
from simpledrive.descriptions import Description, is_of_type
from simpledrive.rights import Caller


@dataclass(frozen=True)
class Rule:
    """Blobs with all that is said here have their home at `backend`; what is None or empty does not matter.

    `content_type` is a media type without parameters, or the first half of one and a slash (`image/`); sizes
    are in bytes, both ends included.
    """

    backend: str
    prefix: str = ""
    content_type: str | None = None
    min_size: int | None = None
    max_size: int | None = None

    def fits(self, described: Description, size: int) -> bool:
        """moving/elsewhere.py asks the records the same."""
        return (
            described.id.startswith(self.prefix)
            and (self.content_type is None or is_of_type(described.content_type, self.content_type))
            and (self.min_size is None or size >= self.min_size)
            and (self.max_size is None or size <= self.max_size)
        )


class Placement:
    """Chooses homes. `rules` count in their order."""

    def __init__(self, backends: Backends, rules: Sequence[Rule] = ()) -> None:
        self._backends, self.rules = backends, tuple(rules)

    def home(self, caller: Caller, named: str | None, described: Description, size: int) -> str:
        """The home of a new blob. Raises Invalid, Forbidden (Backends.chosen)."""
        return self._backends.chosen(self.decided(caller, named, described, size), caller.backends)

    def decided(self, caller: Caller, named: str | None, described: Description, size: int) -> str | None:
        """The home that was named or that a rule says; None if it is all the same to both."""
        if named is not None:
            return named
        for rule in self.rules:
            if rule.fits(described, size) and (caller.backends is None or rule.backend in caller.backends):
                return rule.backend
        return None
