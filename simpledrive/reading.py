"""Reading a blob, every piece checked, from whichever replica can give it.

The home is asked first, unless it did not answer a moment ago (outages.py). A reader either gets the right
bytes or an error: never a complete wrong answer. A piece that is wrong or cannot be fetched is taken from
another replica of the same digest, from the same byte on, and the reader notices nothing. With none left the
transfer is cut.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator
from contextlib import closing

from sqlalchemy import select
from sqlalchemy.orm import undefer

from simpledrive.backends import Backends
from simpledrive.errors import (
    BlobNotFound,
    DriveError,
    IntegrityFault,
    ObjectMissing,
    StorageError,
    StorageUnavailable,
)
from simpledrive.models import Replica
from simpledrive.outages import Outages
from simpledrive.replicas import mark_bad
from simpledrive.sql import Database
from simpledrive.streams.pieces import Pieces
from simpledrive.streams.source import Reader

log = logging.getLogger(__name__)


class WrongBytes(DriveError):
    """A piece at this replica is not what was stored, also when asked for a second time."""


class Reading:
    """Reads ranges of recorded bytes.

    `elsewhere` is told of each read of which another backend than the home has served a part: home, backend.
    """

    def __init__(
        self,
        database: Database,
        backends: Backends,
        outages: Outages,
        elsewhere: Callable[[str, str], object] = lambda home, backend: None,
    ) -> None:
        self._database, self._backends = database, backends
        self._outages, self._elsewhere = outages, elsewhere

    def read(self, sha256: str, home: str, start: int, stop: int) -> Generator[bytes, None, None]:
        """The bytes [start, stop) in portions of a piece or less. Closing the iterator ends the transfer.

        Raises IntegrityFault when no replica holds the right bytes, the StorageError of one that might but
        does not answer, BlobNotFound when nothing needs these bytes any more; all also in the middle.
        """
        at = start
        # By storage key, the byte at which it is no use to ask a replica; behind that it may be asked again.
        failed: dict[str, int] = {}
        silent: dict[str, StorageError] = {}  # those of which it is open what they hold
        served = {home}
        while at < stop:
            replica, began = self._next(sha256, home, failed, at), at
            if replica is None:
                if silent:
                    raise next(iter(silent.values()))
                log.error("no replica of %s holds the right bytes; its home is %s", sha256, home)
                raise IntegrityFault("The bytes of this blob are gone or altered. This is not your doing.")
            try:
                with closing(self._portions(replica, at, stop)) as portions:
                    for portion in portions:
                        if replica.storage_backend not in served:
                            served.add(replica.storage_backend)
                            self._note(replica, home, at)
                        at += len(portion)
                        yield portion
            except (StorageError, WrongBytes) as error:
                # A transfer that broke may go on where it was, as long as it gets further each time.
                failed[replica.storage_key] = began if isinstance(error, StorageUnavailable) else at
                silent.pop(replica.storage_key, None)
                if (silence := self._judge(replica, at, error)) is not None:
                    silent[replica.storage_key] = silence

    def _next(self, sha256: str, home: str, failed: dict[str, int], at: int) -> Replica | None:
        """The best replica to read from this byte on: home first, the silent, failed and bad ones last.

        Looked up anew each time: a blob that moved while it was read has its bytes elsewhere by now.
        """
        rows = self._database.read(
            lambda session: session.scalars(
                select(Replica).where(Replica.sha256 == sha256).options(undefer(Replica.pieces))
            ).all()
        )
        if not rows:
            raise BlobNotFound("This blob was deleted or replaced while it was read.")
        left = [row for row in rows if failed.get(row.storage_key) != at]

        def rank(row: Replica) -> tuple[bool, ...]:
            is_silent = self._outages.includes(row.storage_backend)
            has_failed = row.storage_key in failed
            return row.bad_at is not None, has_failed, is_silent, row.storage_backend != home

        return min(left, key=rank, default=None)

    def _note(self, replica: Replica, home: str, at: int) -> None:
        backend = replica.storage_backend
        log.info("%s is read from %s from byte %d on; its home is %s", replica.sha256, backend, at, home)
        self._elsewhere(home, backend)

    def _judge(self, replica: Replica, at: int, error: StorageError | WrongBytes) -> StorageError | None:
        """Logs why a replica failed, and marks it bad if its bytes are not there. That error, if open."""
        backend = replica.storage_backend
        if isinstance(error, ObjectMissing):
            try:
                self._backends.check(backend)
            except StorageError as other:
                error = other  # a disk that is not mounted has lost nothing
        if isinstance(error, StorageError) and not isinstance(error, ObjectMissing):
            log.error("the replica of %s on %s failed at byte %d: %s", replica.sha256, backend, at, error)
            return error
        if self._mark_bad(replica):
            log.error("the replica of %s on %s is bad at byte %d: %s", replica.sha256, backend, at, error)
        else:
            log.info("replica of %s on %s was swept or known to be bad: %s", replica.sha256, backend, error)
        return None

    def _portions(self, replica: Replica, start: int, stop: int) -> Generator[bytes, None, None]:
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
        """The piece, if a second look finds it right."""
        length = min(pieces.length, pieces.size - at)
        reader = self._backends.use(replica.storage_backend).open(replica.storage_key, at, at + length)
        try:
            piece = _exactly(reader, length)
        finally:
            reader.close()
        if pieces.sound(at, piece):
            return piece
        raise WrongBytes(f"the piece at byte {at} is wrong ({got} of {length} bytes came)")

    def _mark_bad(self, replica: Replica) -> bool:
        """Whether the replica was not known to be bad and is still there."""
        try:
            return self._database.write(
                lambda session: mark_bad(session, replica.sha256, replica.storage_key)
            )
        except DriveError as error:
            log.warning("could not mark the replica on %s bad: %s", replica.storage_backend, error)
            return True


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
