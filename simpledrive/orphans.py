"""Orphans: objects at a backend that no record names, and that are too old for anybody to be about to."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from sqlalchemy import select

from simpledrive.errors import DriveError
from simpledrive.models import Replica, now
from simpledrive.sql import Database
from simpledrive.storage.base import Storage, made_at

BATCH = 500


class TooManyOrphans(DriveError):
    """So many that this looks like the wrong database. Nothing was removed."""


class Orphans:
    """Finds and removes orphans. Whoever calls has just seen that the backend's marker is this drive's.

    `age` is how old an object that no record names gets.
    """

    def __init__(self, database: Database, age: timedelta) -> None:
        self._database, self._age = database, age

    def listed(self, storage: Storage) -> Iterator[tuple[int, list[str]]]:
        """All that lies there, in batches: how many objects, and which of them are orphans."""
        for keys in _batches(storage):
            yield len(keys), self._among(keys)

    def remove(self, storage: Storage, *, force: bool = False) -> Iterator[str]:
        """Removes orphans; each one's key, when it is gone.

        More than a tenth of all objects want `force`: they look like an older copy of the database, which
        knows nothing of what was stored since and has the right marker all the same. Raises TooManyOrphans
        before anything is removed.
        """
        found = total = 0
        for objects, orphans in self.listed(storage):
            total += objects
            found += len(orphans)
        if found > total // 10 and not force:
            why = "is more than a tenth: is this the right database? --force removes them"
            raise TooManyOrphans(
                f"{storage.name}: {found} of {total} objects are named by no record, which {why}"
            )
        for _, orphans in self.listed(storage):
            for key in orphans:
                storage.delete(key)
                yield key

    def _among(self, keys: list[str]) -> list[str]:
        old = [key for key in keys if made_at(key) < now() - self._age]
        digests = {key.partition(".")[0] for key in old}
        query = select(Replica.storage_key).where(Replica.sha256.in_(digests))
        known = set(self._database.read(lambda session: session.scalars(query).all())) if old else set()
        return [key for key in old if key not in known]


def _batches(storage: Storage) -> Iterator[list[str]]:
    batch: list[str] = []
    for key in storage.keys():
        batch.append(key)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
