"""fsck: records, objects and counters of a backend, compared with each other."""

from __future__ import annotations

from collections.abc import Iterator

from simpledrive.backends import Backends
from simpledrive.errors import StorageError
from simpledrive.integrity.accounts import CHECKS, mischarged
from simpledrive.integrity.comparing import Comparison
from simpledrive.integrity.findings import Finding, Looked
from simpledrive.integrity.repairing import Repairs
from simpledrive.mirrors import Mirrors
from simpledrive.orphans import Orphans
from simpledrive.sql import Database


class Fsck:
    """Finds what does not fit together, and mends what can be mended without guessing."""

    def __init__(
        self,
        database: Database,
        backends: Backends,
        mirrors: Mirrors,
        repairs: Repairs,
        orphans: Orphans,
    ) -> None:
        self._database, self._mirrors = database, mirrors
        self._comparison = Comparison(database, backends, repairs, orphans)

    def findings(self, backend: str, looked: Looked, *, fix: bool = False) -> Iterator[Finding]:
        """What is found at a backend, also at one that is only recorded any more.

        Without `fix` nothing is changed. With it: what is missing or wrong is marked bad, and written again
        from a good copy; strays are removed as by a sweep of orphans; copies that nothing needs are retired,
        and those that a mirror lacks are wanted; counters are counted anew. That the backend cannot be looked
        at is a finding, and nothing else is then said of its bytes.
        """
        try:
            yield from self._comparison.findings(backend, looked, fix=fix)
        except StorageError as error:
            yield Finding("unread", backend, "", str(error))
        for check in CHECKS:
            yield from check(self._database, self._mirrors, backend, fix)

    def accounts(self, *, fix: bool = False) -> Iterator[Finding]:
        """What is wrong with the accounts of keys, whatever backends their blobs are at."""
        yield from mischarged(self._database, fix)
