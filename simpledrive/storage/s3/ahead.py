"""Reading long ranges ahead, by several requests at a time.

One connection seldom gives what a network and a server have to give. So a long range is read in segments, of
which the next ones are on their way while one is handed over. A few readers do that at a time, which bounds
the memory of a process; the others read by one request each, and are many connections already.
"""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from functools import partial
from threading import BoundedSemaphore, Lock

from simpledrive.storage.s3.client import Client
from simpledrive.storage.s3.stream import Range
from simpledrive.streams.source import BLOCK, Reader

SEGMENT = 3 * BLOCK
LONG = 2 * SEGMENT
"""Bytes up to which a range is one request."""
PORTION = 256 << 10
SEGMENTS_AHEAD = 2
READERS_AHEAD = 4
"""In a process. Each holds up to SEGMENTS_AHEAD and the one that is handed over: 9 MiB."""
CASUAL = BLOCK
"""Who has read no more than this may be content with it: nothing is fetched ahead for him."""


_PERMITS = BoundedSemaphore(READERS_AHEAD)


class Opener:
    """Makes the readers of one bucket's objects. Safe from several threads."""

    def __init__(self, client: Client, name: str) -> None:
        self._range = partial(Range, client, name)
        self._pool = ThreadPoolExecutor(READERS_AHEAD * SEGMENTS_AHEAD, "s3-ahead")

    def open(self, path: str, start: int, stop: int | None) -> Reader:
        """A reader of what there is of bytes [start, stop), which are some. Raises ObjectMissing."""
        if stop is not None and stop - start <= LONG:
            return self._range(path, start, stop)
        if not _PERMITS.acquire(blocking=False):
            return self._range(path, start, stop)
        reader: Reader | None = None
        try:
            first = self._range(path, start, start + SEGMENT)
            end = first.total if stop is None else min(stop, first.total)
            if end <= start + SEGMENT:
                return first
            if not first.obeyed:
                first.close()
                return self._range(path, start, stop)
            ranges = partial(self._range, path, operation="read")
            reader = _Segments(first, ranges, self._pool, start + SEGMENT, end, _PERMITS.release)
            return reader
        finally:
            if reader is None:
                _PERMITS.release()

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)


class _Last:
    """Calls `then` when `count` futures have ended; at once for none."""

    def __init__(self, count: int, then: Callable[[], None]) -> None:
        self._left, self._then, self._lock = count, then, Lock()
        if not count:
            then()

    def __call__(self, _future: Future[deque[bytes]]) -> None:
        with self._lock:
            self._left -= 1
            over = not self._left
        if over:
            self._then()


class _Segments:
    """Reads `first`, and behind it bytes [at, end) by `ranges`, in segments that `pool` fetches."""

    def __init__(
        self,
        first: Range,
        ranges: Callable[[int, int], Range],
        pool: Executor,
        at: int,
        end: int,
        closed: Callable[[], None],
    ) -> None:
        self._first, self._ranges, self._pool = first, ranges, pool
        self._at, self._end, self._when_closed = at, end, closed
        self._given, self._closed = 0, False
        self._ahead = deque[Future[deque[bytes]]]()
        self._going: list[Range] = []
        self._blocks = deque[bytes]()

    def read(self, size: int, /) -> bytes:
        if self._closed:
            raise ValueError("read from a closed reader")
        data = self._first.read(size) or self._next(size)
        self._given += len(data)
        if self._given > CASUAL:
            self._look_ahead()
        return data

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            try:
                self._first.close()
                for segment in self._going.copy():
                    segment.stop()
            finally:
                # Who has a permit finds a thread: it is given back when the last fetch has ended, too.
                going = [future for future in self._ahead if not future.cancel()]
                over = _Last(len(going), self._when_closed)
                for future in going:
                    future.add_done_callback(over)

    def _next(self, size: int) -> bytes:
        """Of the segments behind the first."""
        if not size:
            return b""
        if not self._blocks:
            self._look_ahead()
            if not self._ahead:
                return b""
            self._blocks = self._ahead[0].result()  # what failed stays, so that reading on fails again
            self._ahead.popleft()
        block = self._blocks.popleft()
        if len(block) > size:
            self._blocks.appendleft(block[size:])
        return block[:size]

    def _look_ahead(self) -> None:
        while self._at < self._end and len(self._ahead) < SEGMENTS_AHEAD:
            stop = min(self._at + SEGMENT, self._end)
            self._ahead.append(self._pool.submit(self._fetch, self._at, stop))
            self._at = stop

    def _fetch(self, start: int, stop: int) -> deque[bytes]:
        blocks = deque[bytes]()
        with self._segment(start, stop) as segment:
            segment.check_total(self._first.total)
            while not self._closed and (data := segment.read(PORTION)):
                blocks.append(data)
        return blocks

    @contextmanager
    def _segment(self, start: int, stop: int) -> Iterator[Range]:
        """A range that `close` stops, so that nobody waits for what nobody wants."""
        with closing(self._ranges(start, stop)) as segment:
            self._going.append(segment)
            try:
                yield segment
            finally:
                self._going.remove(segment)
