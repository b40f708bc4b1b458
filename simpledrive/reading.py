"""Reading a blob, every piece checked, from whichever replica can give it.

A reader either gets the right bytes or an error: never a complete wrong answer. A piece that is wrong or
cannot be fetched is taken from another replica of the same digest, from the same byte on, and the reader
notices nothing. With none left the transfer is cut.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

from sqlalchemy import select
from sqlalchemy.orm import undefer

from simpledrive.backends import Backends
from simpledrive.errors import DriveError, IntegrityFault, StorageError, StorageUnavailable
from simpledrive.models import Replica
from simpledrive.replicas import mark_bad
from simpledrive.sql import Database
from simpledrive.streams.pieces import Pieces
from simpledrive.streams.source import Reader

log = logging.getLogger(__name__)


class WrongBytes(DriveError):  # noqa: N818
    """A piece at this replica is not what was stored, also when asked for a second time."""


class Reading:
    """Reads ranges of recorded bytes."""

    def __init__(self, database: Database, backends: Backends) -> None:
        self._database, self._backends = database, backends

    def read(self, sha256: str, home: str, start: int, stop: int) -> Iterator[bytes]:
        """The bytes [start, stop) in portions of a piece or less. Closing the iterator ends the transfer.

        Raises IntegrityFault when no replica holds the right bytes, StorageUnavailable when one might but
        cannot be reached; both also in the middle.
        """
        at = start
        tried: set[tuple[str, str]] = set()
        unreachable: StorageError | None = None
        while at < stop:
            replica = self._next(sha256, home, tried)
            if replica is None:
                if unreachable is not None:
                    raise StorageUnavailable(
                        unreachable.backend, "open", "cannot be reached"
                    ) from unreachable
                log.error("no replica of %s holds the right bytes", sha256)
                raise IntegrityFault("The bytes of this blob are gone or altered. This is not your doing.")
            tried.add((replica.storage_backend, replica.storage_key))
            try:
                for portion in self._portions(replica, at, stop):
                    at += len(portion)
                    yield portion
            except (StorageError, WrongBytes) as error:
                if isinstance(error, StorageUnavailable):
                    unreachable = error
                log.error(
                    "replica of %s on %s failed at byte %d: %s", sha256, replica.storage_backend, at, error
                )

    def _next(self, sha256: str, home: str, tried: set[tuple[str, str]]) -> Replica | None:
        """The best replica not tried yet: home first, marked bad last.

        Looked up anew each time: a blob that moved while it was read has its bytes elsewhere by now.
        """
        rows = self._database.read(
            lambda session: session.scalars(
                select(Replica).where(Replica.sha256 == sha256).options(undefer(Replica.pieces))
            ).all()
        )
        left = [row for row in rows if (row.storage_backend, row.storage_key) not in tried]
        return min(left, key=lambda row: (row.bad_at is not None, row.storage_backend != home), default=None)

    def _portions(self, replica: Replica, start: int, stop: int) -> Iterator[bytes]:
        pieces = Pieces(replica.size, replica.pieces)
        first, end = pieces.around(start, stop)
        storage = self._backends.use(replica.storage_backend)
        reader = storage.open(replica.storage_key, first, end)
        try:
            for at in range(first, end, pieces.length):
                piece = _exactly(reader, min(pieces.length, end - at))
                if not pieces.sound(at, piece):
                    piece = self._again(replica, pieces, at, len(piece))
                yield piece[max(0, start - at) : stop - at]
        finally:
            reader.close()

    def _again(self, replica: Replica, pieces: Pieces, at: int, got: int) -> bytes:
        """The piece, if a second look finds it right. If not, the replica is marked bad."""
        length = min(pieces.length, pieces.size - at)
        reader = self._backends.use(replica.storage_backend).open(replica.storage_key, at, at + length)
        try:
            piece = _exactly(reader, length)
        finally:
            reader.close()
        if pieces.sound(at, piece):
            return piece
        self._mark_bad(replica)
        raise WrongBytes(f"the piece at byte {at} is wrong ({got} of {length} bytes came)")

    def _mark_bad(self, replica: Replica) -> None:
        try:
            self._database.write(lambda session: mark_bad(session, replica.sha256, replica.storage_key))
        except DriveError as error:
            log.warning("could not mark the replica on %s bad: %s", replica.storage_backend, error)


def _exactly(reader: Reader, length: int) -> bytes:
    """`length` bytes, or fewer if there are no more."""
    data = reader.read(length)
    if len(data) in (0, length):
        return data
    parts = [data]
    left = length - len(data)
    while left and (data := reader.read(left)):
        parts.append(data)
        left -= len(data)
    return b"".join(parts)
