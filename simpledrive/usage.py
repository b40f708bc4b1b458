"""How much lies at each backend: counted as it comes and goes, never summed up.

Whoever adds or removes a replica says so by `count`; when that is written is decided here alone.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from simpledrive.backends import Backends
from simpledrive.models import BackendUsage
from simpledrive.rights import Caller
from simpledrive.sql import Database, insert, lastly

SHARDS = 16
COUNTED = "counted"


@dataclass(frozen=True)
class Usage:
    """What lies at a backend: how many replicas, how many bytes."""

    backend: str
    kind: str
    replicas: int
    bytes: int


class Counters:
    """Tells what lies where."""

    def __init__(self, database: Database, backends: Backends) -> None:
        self._database, self._backends = database, backends

    def usage(self, caller: Caller) -> list[Usage]:
        """What lies at each backend: the configured ones first, default before all. Raises Forbidden."""
        caller.require("read")
        held = self._database.read(_sums)
        gone = sorted(name for name, (replicas, _) in held.items() if replicas and name not in self._backends)
        names = sorted([*self._backends, *gone], key=lambda name: name != self._backends.default)
        return [Usage(name, self._backends.kind(name), *held.get(name, (0, 0))) for name in names]


def count(session: Session, backend: str, replicas: int, size: int) -> None:
    """Adds to what is known to lie at a backend, in the last statements of this transaction.

    Last, because everybody writes these few rows: who waited for something else while holding one would
    sooner or later wait for somebody who waits for it.
    """
    counted: dict[str, tuple[int, int]] | None = session.info.get(COUNTED)
    if counted is None:
        counted = session.info[COUNTED] = {}
        lastly(session, _write)
    before = counted.get(backend, (0, 0))
    counted[backend] = before[0] + replicas, before[1] + size


def _write(session: Session) -> None:
    for backend, (replicas, size) in sorted(session.info[COUNTED].items()):
        shard = random.randrange(SHARDS)  # noqa: S311 (no secret)
        values = {"storage_backend": backend, "shard": shard, "replicas": replicas, "bytes": size}
        session.execute(
            insert(session, BackendUsage)
            .values(values)
            .on_conflict_do_update(
                index_elements=["storage_backend", "shard"],
                set_={"replicas": BackendUsage.replicas + replicas, "bytes": BackendUsage.bytes + size},
            )
        )


def _sums(session: Session) -> dict[str, tuple[int, int]]:
    """By backend, configured or not: replicas and bytes."""
    columns = (BackendUsage.storage_backend, func.sum(BackendUsage.replicas), func.sum(BackendUsage.bytes))
    rows = session.execute(select(*columns).group_by(BackendUsage.storage_backend)).all()
    return {name: (int(replicas), int(size)) for name, replicas, size in rows}
