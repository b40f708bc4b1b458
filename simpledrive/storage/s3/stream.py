"""An object's bytes on their way from the server."""

from simpledrive.errors import StorageError, StorageUnavailable
from simpledrive.storage.s3.answers import Unreadable, extent
from simpledrive.storage.s3.client import Client, Request
from simpledrive.storage.s3.faults import Passing
from simpledrive.storage.s3.transport import Response

RESUMPTIONS = 3
SKIPPED_AT_ONCE = 256 << 10


class Range:
    """What there is of bytes [start, stop) of an object of `total` bytes; `stop` None is the end.

    The first request is sent when it is made, and raises. A transfer that breaks goes on where it was by
    another request, as long as it gets further: keys are never used again, so the bytes are the same. One
    that cannot go on raises. `obeyed` says whether the server sent a range, if it was asked for one.
    """

    def __init__(
        self, client: Client, name: str, key: str, start: int, stop: int | None, operation: str = "open"
    ) -> None:
        self._client, self._name, self._key = client, name, key
        self._at, self._failures, self._closed = start, 0, False
        self._part = self._ask(operation, start, stop)
        self.total, self.obeyed = self._part.total, self._part.obeyed
        self._stop = self.total if stop is None else min(stop, self.total)

    def read(self, size: int, /) -> bytes:
        if self._closed:
            raise ValueError("read from a closed reader")
        while size and self._at < self._stop:
            try:
                data = self._part.read(min(size, self._stop - self._at))
                if not data:
                    raise Passing(self._name, "read", f"the transfer ended at byte {self._at}")
            except Passing as error:
                self._resume(error)
            else:
                self._at, self._failures = self._at + len(data), 0
                return data
        return b""

    def close(self) -> None:
        self._closed = True
        self._part.close()

    def stop(self) -> None:
        """Ends the transfer, from any thread: who is reading from it gets an error, and closes it."""
        self._closed = True
        self._part.stop()

    def _resume(self, error: StorageError) -> None:
        self._failures += 1
        if self._closed or self._failures > RESUMPTIONS:
            raise error
        self._part.close()
        self._part = self._ask("read", self._at, self._stop)
        if self._closed:
            raise error
        self.check_total(self._part.total)

    def check_total(self, total: int) -> None:
        """Raises if the object's size is another one: then it is not the same object."""
        if total != self.total:
            raise StorageUnavailable(self._name, "read", "the object has another size than before")

    def _ask(self, operation: str, start: int, stop: int | None) -> "_Part":
        headers = {}
        if start or stop is not None:
            headers["Range"] = f"bytes={start}-" + ("" if stop is None else str(stop - 1))
        request = Request(operation, "GET", self._key, headers=headers, fine=frozenset({416}))
        return self._client.stream(request, lambda response: _Part(self._client, response, start))


class _Part:
    """One answer: the object's bytes from `start` on, as many as the server cares to send.

    A server that does not know ranges sends the object from its beginning, which is then skipped.
    """

    def __init__(self, client: Client, response: Response, start: int) -> None:
        self._client, self._response = client, response
        if response.status == 416:  # from behind the end, where nothing is
            response.close()
            self.total, self.obeyed = 0, True
            return
        self.obeyed = "Content-Range" in response.headers
        first, self.total = extent(response.status, response.headers)
        if first > start:
            raise Unreadable("the server sends another range than it was asked for")
        left = start - first
        while left and (skipped := self.read(min(left, SKIPPED_AT_ONCE))):
            left -= len(skipped)

    def read(self, size: int) -> bytes:
        with self._client.errors("read"):
            return self._response.read(size)

    def close(self) -> None:
        self._response.close()

    def stop(self) -> None:
        self._response.stop()
