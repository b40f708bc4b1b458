"""Storing a large object in parts, several at a time.

Each part's digest is signed, so it has to be known before the part is sent. A staged file is therefore read
twice: once through the verifying reader, which makes the part's digest in passing, and again to send it. What
comes from elsewhere is written to a temporary file on the way, of which as much is in use as parts are in
flight. (UNSIGNED-PAYLOAD would need neither, but then only TLS, where there is any, guards the bytes on their
way; and signing piece by piece is not known to every server.) Memory stays at a few hundred KiB a part.
"""

import errno
import hashlib
import io
import os
import tempfile
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from threading import Event
from typing import IO

from simpledrive.errors import StorageError, StorageUnavailable
from simpledrive.storage.s3 import answers
from simpledrive.storage.s3.client import Client, Request
from simpledrive.storage.s3.content import SENT_AT_ONCE
from simpledrive.storage.s3.faults import NoSuchUpload, TimedOut
from simpledrive.storage.s3.options import S3Options
from simpledrive.streams.source import Reader, Source

MOST_PARTS = 10_000
SLOWEST_JOINING = 20 << 20
"""Bytes a second. Some servers copy the parts into one object, in silence."""


class MultipartUpload:
    """Stores one object in parts. When `store` raises, the upload is aborted, or `clean` will find it.

    A server that did not answer in time is not asked to abort: that would be waiting once more.
    """

    def __init__(self, client: Client, name: str, options: S3Options, key: str, source: Source) -> None:
        self._client, self._name, self._options = client, name, options
        self._key, self._source = key, source
        self.part_size = max(options.part_size, -(-source.size // MOST_PARTS))
        self._failed = Event()

    def store(self) -> None:
        begin = Request("put", "POST", self._key, [("uploads", "")], self._options.new_object_headers)
        upload = self._client.ask(begin, answers.upload_id)
        try:
            self._complete(upload, self._send_parts(upload))
        except TimedOut:
            raise
        except BaseException:
            with suppress(StorageError):
                abort(self._client, "put", self._key, upload)
            raise

    def _send_parts(self, upload: str) -> list[str]:
        """Sends all, and returns the ETag of each. The first error of all ends it."""
        at_once = self._options.parts_at_once
        sent: list[Future[str]] = []
        with self._file() as file, ThreadPoolExecutor(at_once, "s3-part") as pool:
            try:
                with self._source.open() as reader:
                    left = self._source.size
                    while left:
                        if len(sent) > at_once:
                            sent[-at_once - 1].result()
                        part = self._cut(reader, file, len(sent), min(left, self.part_size))
                        left -= part.size
                        sent.append(pool.submit(self._send, upload, len(sent) + 1, part))
                return [part.result() for part in sent]
            except BaseException:
                self._failed.set()
                raise

    @contextmanager
    def _file(self) -> Iterator[int]:
        """What parts are sent from: the staged file, or a temporary one with a slot for each in flight."""
        file: IO[bytes]
        with self._on_disk():
            path = self._source.path
            file = tempfile.TemporaryFile() if path is None else path.open("rb")  # noqa: SIM115 (below)
        with file:
            yield file.fileno()

    def _cut(self, reader: Reader, file: int, index: int, size: int) -> "_Part":
        """The next `size` bytes of the source, hashed, and where to read them again."""
        spooled = self._source.path is None
        slots = self._options.parts_at_once + 1
        offset = (index % slots if spooled else index) * self.part_size
        digest, done = hashlib.sha256(), 0
        while done < size:
            data = reader.read(min(SENT_AT_ONCE, size - done))
            digest.update(data)
            if spooled:
                with self._on_disk():
                    _write_all(file, data, offset + done)
            done += len(data)
        return _Part(self, file, offset, size, digest.hexdigest())

    def _send(self, upload: str, number: int, part: "_Part") -> str:
        query = [("partNumber", str(number)), ("uploadId", upload)]
        return self._client.ask(Request("put", "PUT", self._key, query, content=part), answers.etag)

    def _complete(self, upload: str, etags: list[str]) -> None:
        document = answers.completion(etags)
        content = Source(len(document), hashlib.sha256(document).hexdigest(), lambda: io.BytesIO(document))
        complete = Request(
            "put",
            "POST",
            self._key,
            [("uploadId", upload)],
            content=content,
            patience=self._source.size / SLOWEST_JOINING,
        )
        try:
            self._client.ask(complete, answers.completed)
        except NoSuchUpload:
            # Aborted by a cleaning, or completed by an attempt whose reply was lost: the object tells.
            if not self._client.holds("put", self._key):
                raise

    def read_again(self, file: int, size: int, offset: int) -> bytes:
        """Bytes of a part on their way to the server."""
        if self._failed.is_set():
            raise StorageUnavailable(self._name, "put", "another part failed")
        with self._on_disk():
            data = os.pread(file, size, offset)
            if size and not data:
                raise OSError(errno.EIO, "it is shorter than it was")
        return data

    @contextmanager
    def _on_disk(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            why = f"the file that its parts are sent from: {error.strerror}"
            raise StorageUnavailable(self._name, "put", why) from error


class _Part:
    """A part as the content of a request, which may be opened several times."""

    def __init__(self, upload: MultipartUpload, file: int, offset: int, size: int, sha256: str) -> None:
        self._upload, self._file, self._offset = upload, file, offset
        self.size, self.sha256 = size, sha256

    def open(self) -> "_PartReader":
        return _PartReader(self._upload, self._file, self._offset, self.size)


class _PartReader:
    def __init__(self, upload: MultipartUpload, file: int, at: int, left: int) -> None:
        self._upload, self._file, self._at, self._left = upload, file, at, left

    def read(self, size: int, /) -> bytes:
        data = self._upload.read_again(self._file, min(size, self._left), self._at)
        self._at, self._left = self._at + len(data), self._left - len(data)
        return data

    def close(self) -> None:
        pass


def abort(client: Client, operation: str, key: str, upload: str) -> None:
    """Forgets an upload and its parts. One that is not there any more is fine."""
    with suppress(NoSuchUpload):
        client.ask(Request(operation, "DELETE", key, [("uploadId", upload)]), bool)


def _write_all(file: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(file, view, offset)
        view, offset = view[written:], offset + written
