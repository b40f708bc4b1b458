"""Reading ahead, so that where bytes come from and where they go work at the same time."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from queue import SimpleQueue
from threading import Event, Thread

from simpledrive.streams.source import BLOCK, Closing, Reader, Source, VerifyingReader

BLOCKS_AHEAD = 2
WORTH_A_THREAD = 4 * BLOCK
"""Bytes from which on it pays to begin a thread."""


@contextmanager
def blocks_of(source: Source) -> Iterator[Callable[[], bytes]]:
    """What hands over a source block by block, b"" at the end; a large one is read and verified ahead.

    What the source raises passes through untouched.
    """
    if source.size < WORTH_A_THREAD:
        with source.open() as reader:
            yield partial(reader.read, BLOCK)
    else:
        with ReadAhead(source.open()) as ahead:
            yield ahead.read


def drain(source: Source) -> None:
    """Reads everything once and keeps nothing: returns if the bytes are right, raises if not.

    While those of a large one come they are hashed.
    """
    reader = source.opener()
    if source.size >= WORTH_A_THREAD:
        reader = ReadAhead(reader)
    with VerifyingReader(reader, source.size, source.sha256) as verifying:
        while verifying.read(BLOCK):
            pass


class ReadAhead(Closing):
    """What another reader reads, in its blocks, up to three of which are read before they are asked for.

    A thread of its own reads, and nobody else may meanwhile. What the reader raises is raised here, the same
    error, behind the blocks before it. Closing waits for a read that is going on, and then closes the reader.
    """

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._blocks: SimpleQueue[bytes | BaseException] = SimpleQueue()
        self._room: SimpleQueue[None] = SimpleQueue()
        for _ in range(BLOCKS_AHEAD):
            self._room.put(None)
        self._closed = Event()
        self._thread = Thread(target=self._read_all, name="read-ahead", daemon=True)
        self._thread.start()

    def read(self, _size: int = BLOCK, /) -> bytes:
        """The next block as it came; b"" at the end. Not to be called behind the end or an error."""
        block = self._blocks.get()
        if isinstance(block, BaseException):
            raise block
        self._room.put(None)
        return block

    def close(self) -> None:
        self._closed.set()
        self._room.put(None)  # so that the thread is not kept waiting for any
        self._thread.join()
        self._reader.close()

    def _read_all(self) -> None:
        while not self._closed.is_set():
            try:
                block = self._reader.read(BLOCK)
            except BaseException as error:  # noqa: BLE001 (`read` raises it)
                self._blocks.put(error)
                return
            self._room.get()
            self._blocks.put(block)
            if not block:
                return
