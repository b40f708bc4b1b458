"""Damage planted behind the drive's back, the same way on every storage: by the storage itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from simpledrive.errors import ObjectMissing
from simpledrive.integrity.checking import Verdict
from simpledrive.integrity.due import drawn, due
from simpledrive.integrity.findings import Finding, Looked
from simpledrive.models import Replica, now
from simpledrive.moving.flow import Flow
from simpledrive.parts import Parts
from tests.drives import put_orphan, replicas
from tests.sources import read_whole, source_of


def replica_of(parts: Parts, data: bytes, backend: str) -> Replica:
    (row,) = [row for row in replicas(parts, data) if row.storage_backend == backend]
    return row


def spoil(parts: Parts, row: Replica, change: Callable[[bytes], bytes]) -> None:
    """Puts other bytes in place of an object, under its own key."""
    storage = parts.backends.use(row.storage_backend)
    changed = change(read_whole(storage.open(row.storage_key)))
    storage.delete(row.storage_key)
    storage.put(row.storage_key, source_of(changed))


def alter(parts: Parts, row: Replica) -> None:
    spoil(parts, row, lambda data: data[:-1] + bytes([data[-1] ^ 1]))


def truncate(parts: Parts, row: Replica) -> None:
    spoil(parts, row, lambda data: data[:-1])


def remove(parts: Parts, row: Replica) -> None:
    parts.backends.use(row.storage_backend).delete(row.storage_key)


DAMAGE: dict[str, Callable[[Parts, Replica], None]] = {
    "altered": alter,
    "truncated": truncate,
    "deleted": remove,
}


@dataclass(frozen=True)
class Planted:
    """What was done to a backend: keys by the kind of damage, and those of strays."""

    keys: dict[str, set[str]]
    strays: set[str]

    def of(self, *kinds: str) -> set[str]:
        return set().union(*(self.keys[kind] for kind in kinds))


def plant(parts: Parts, rows: Iterable[Replica], backend: str, strays: int = 0) -> Planted:
    """Damages each of these replicas, in turn in each of the ways, and adds strays that look old."""
    keys: dict[str, set[str]] = {kind: set() for kind in DAMAGE}
    for number, row in enumerate(rows):
        kind = list(DAMAGE)[number % len(DAMAGE)]
        DAMAGE[kind](parts, row)
        keys[kind].add(row.storage_key)
    old = timedelta(days=2)
    return Planted(keys, {put_orphan(parts, backend, seed, old) for seed in range(strays)})


def verify(
    parts: Parts,
    backend: str = "local",
    *,
    repair: bool = False,
    older_than: timedelta = timedelta(),
    sample: int | None = None,
    **how: Any,
) -> list[Verdict]:
    """All verdicts of a run, as the command makes them."""
    before = now() - older_than
    rows = (
        due(parts.database, backend, before)
        if sample is None
        else drawn(parts.database, backend, before, sample)
    )
    return list(parts.verifier.run(backend, rows, Flow(), repair=repair, **how))


def fsck(parts: Parts, *backends: str, fix: bool = False) -> list[Finding]:
    """What the command finds."""
    names = backends or tuple(parts.backends)
    found = [one for name in names for one in parts.fsck.findings(name, Looked(), fix=fix)]
    return found if backends else [*found, *parts.fsck.accounts(fix=fix)]


def keys_of(verdicts: Iterable[Verdict], *states: str) -> set[str]:
    return {verdict.replica.storage_key for verdict in verdicts if verdict.state in states}


def as_it_is(parts: Parts) -> dict[tuple[str, str], tuple[str, bool, bytes | None]]:
    """Of every replica its key, whether it is marked bad, and its bytes."""
    found = {}
    for row in replicas(parts):
        data = None
        with suppress(ObjectMissing):
            data = read_whole(parts.backends.use(row.storage_backend).open(row.storage_key))
        found[row.sha256, row.storage_backend] = (row.storage_key, row.bad_at is not None, data)
    return found
