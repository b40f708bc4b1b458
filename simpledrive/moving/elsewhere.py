"""What is elsewhere than the rules for new blobs say, as migrations that would set it right."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from simpledrive.backends import Backends
from simpledrive.moving.selection import Selection
from simpledrive.placement import Rule


@dataclass(frozen=True)
class Correction:
    """What fits rule `number` (counted from 1) and no earlier one, and has its home at another backend."""

    number: int
    source: str
    target: str
    selection: Selection


def corrections(rules: Sequence[Rule], backends: Backends) -> Iterator[Correction]:
    """One for each rule and backend. Whatever each record is, at most one of them selects it."""
    earlier: list[Selection] = []
    for number, rule in enumerate(rules, 1):
        selection = Selection(
            prefix=rule.prefix,
            content_type=rule.content_type,
            min_size=rule.min_size,
            max_size=rule.max_size,
        )
        for source in sorted(backends):
            if source != rule.backend:
                chosen = replace(selection, unless=tuple(earlier))
                yield Correction(number, source, rule.backend, chosen)
        earlier.append(selection)
