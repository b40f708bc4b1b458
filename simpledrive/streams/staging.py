"""The one door: bytes wait here while they are counted, limited, hashed and compared."""

import errno
import fcntl
import hashlib
import io
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from simpledrive.durable import write_all
from simpledrive.errors import BadRequest, DigestMismatch, StagingFull, TooLarge, TruncatedBody
from simpledrive.ids import uuid7
from simpledrive.streams.pieces import LEAF, Pieces, Summing
from simpledrive.streams.source import BLOCK, Closing, Reader, Source


@dataclass(frozen=True)
class Incoming:
    """A body on its way in, and what the caller said of it beforehand.

    `size` is the announced length in bytes, `digests` the announced digests by their hashlib name, `limit`
    the most bytes that are taken.
    """

    reader: Reader
    size: int | None = None
    digests: Mapping[str, bytes] = field(default_factory=dict)
    limit: int | None = None


_NAME = re.compile(r"[0-9a-f]{32}\.part")


class Staged(Closing):
    """Bytes that have arrived whole: counted, hashed, not yet stored. Closing it forgets them."""

    def __init__(
        self, content: bytes | None, path: Path | None, lock: int | None, sha256: str, pieces: Pieces
    ) -> None:
        self._content, self._path, self._lock = content, path, lock
        self.size, self.sha256, self.pieces = pieces.size, sha256, pieces

    @property
    def source(self) -> Source:
        return Source(self.size, self.sha256, self._open, self._path)

    def _open(self) -> Reader:
        if self._path is None:
            return io.BytesIO(self._content or b"")
        return self._path.open("rb")

    def close(self) -> None:
        self._content = None
        if self._path is not None:
            self._path.unlink(missing_ok=True)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


class Arrival:
    """Takes bytes in any portions; `finish` makes them a Staged, `close` without it forgets them.

    Up to `memory` bytes wait in memory, more in a file of the staging folder. Written like a file, so that a
    form parser may write to it directly. Raises TooLarge past `limit`, StagingFull when there is no room.
    """

    def __init__(
        self, folder: Path, memory: int, limit: int | None = None, also: tuple[str, ...] = ()
    ) -> None:
        self._folder, self._memory, self._limit = folder, memory, limit
        self._buffer = bytearray()
        self._file: int | None = None
        self._path: Path | None = None
        self._sha256 = hashlib.sha256()
        self._others = {name: hashlib.new(name) for name in also if name != "sha256"}
        self._sums = Summing()
        self.size = 0

    def write(self, data: bytes, /) -> int:
        self.size += len(data)
        if self._limit is not None and self.size > self._limit:
            raise TooLarge(f"More than {self._limit} bytes are not taken here.")
        self._sha256.update(data)
        for digest in self._others.values():
            digest.update(data)
        self._sums.update(data)
        with _staging_errors():
            if self._file is None and self.size > self._memory:
                self._path, self._file = _create(self._folder)
                write_all(self._file, self._buffer)
                self._buffer = bytearray()
            if self._file is None:
                self._buffer += data
            else:
                write_all(self._file, data)
        return len(data)

    def digest(self, name: str) -> bytes:
        return (self._sha256 if name == "sha256" else self._others[name]).digest()

    def finish(self) -> Staged:
        content = bytes(self._buffer) if self._file is None else None
        staged = Staged(content, self._path, self._file, self._sha256.hexdigest(), self._sums.pieces())
        self._file = self._path = None
        self._buffer = bytearray()
        return staged

    def close(self) -> None:
        if self._path is not None:
            self._path.unlink(missing_ok=True)
        if self._file is not None:
            os.close(self._file)
        self._file = self._path = None
        self._buffer = bytearray()


class Staging:
    """The one door. Bytes wait here while they are counted, limited, hashed and compared."""

    def __init__(self, folder: Path, memory: int = LEAF) -> None:
        self._folder, self._memory = folder, memory

    def begin(self, limit: int | None = None, *, in_memory: bool = True) -> Arrival:
        """An empty Arrival to write to; a small one waits in a file too if not `in_memory`."""
        return Arrival(self._folder, self._memory if in_memory else 0, limit)

    def receive(self, incoming: Incoming) -> Staged:
        """All of a body, and only if it is what was announced. The caller closes what is returned.

        Raises TruncatedBody, BadRequest (longer than announced), DigestMismatch, TooLarge or StagingFull;
        then nothing is left behind.
        """
        if incoming.limit is not None and (incoming.size or 0) > incoming.limit:
            raise TooLarge(f"More than {incoming.limit} bytes are not taken here.")
        arrival = Arrival(self._folder, self._memory, incoming.limit, tuple(incoming.digests))
        try:
            while data := incoming.reader.read(BLOCK):
                arrival.write(data)
            _compare(arrival, incoming)
            return arrival.finish()
        finally:
            arrival.close()

    def clean(self) -> int:
        """Removes what dead processes left behind; returns how many files. A live upload holds its lock.

        What is not ours by its name, or cannot be removed, stays: the folder may be anybody's.
        """
        found = [path for path in self._folder.glob("*.part") if _NAME.fullmatch(path.name)]
        return sum(map(_remove_if_dead, found))


def _compare(arrival: Arrival, incoming: Incoming) -> None:
    if incoming.size is not None and arrival.size < incoming.size:
        raise TruncatedBody(f"The body ended after {arrival.size} of {incoming.size} announced bytes.")
    if incoming.size is not None and arrival.size > incoming.size:
        raise BadRequest(f"The body has {arrival.size} bytes, {incoming.size} were announced.")
    for name, expected in incoming.digests.items():
        if arrival.digest(name) != expected:
            raise DigestMismatch(f"The {name} of the body is not the announced one.")


def _create(folder: Path) -> tuple[Path, int]:
    """A new file, locked for as long as it is open: that is how `Staging.clean` knows the living."""
    folder.mkdir(parents=True, exist_ok=True)
    while True:
        path = folder / f"{uuid7().hex}.part"
        file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(file, fcntl.LOCK_EX)
        # Between creation and lock, another process may have taken it for a dead one's.
        if path.exists():
            return path, file
        os.close(file)


def _remove_if_dead(path: Path) -> bool:
    with suppress(OSError):
        file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
            return True
        finally:
            os.close(file)
    return False


@contextmanager
def _staging_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise StagingFull("There is no room to receive these bytes.") from error
        raise StagingFull(f"The staging folder cannot be written to: {error.strerror}.") from error
