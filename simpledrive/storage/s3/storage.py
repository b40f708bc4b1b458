"""Objects in a bucket, under PREFIX and their key.

An object is there from the moment on when the server has all of it: S3 shows none that is half stored. This
module checks no digests, makes no buckets, and relies on nothing that servers do not agree on (docs/s3.md).
"""

import io
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import datetime

from simpledrive.errors import ObjectMissing, StorageError, StorageRefused, StorageUnavailable
from simpledrive.storage.base import KEY, MARKER, Storage
from simpledrive.storage.s3 import answers, parts
from simpledrive.storage.s3.ahead import Opener
from simpledrive.storage.s3.client import Client, Request
from simpledrive.storage.s3.content import Tallied
from simpledrive.storage.s3.faults import NoSuchUpload
from simpledrive.storage.s3.options import S3Options, place_of
from simpledrive.storage.taken import Taken
from simpledrive.streams.source import Reader, Source

PAGE = 1000


class S3Storage(Storage):
    """Keeps objects in the bucket of a service that speaks S3, Amazon's or another one."""

    kind = "s3"
    Options = S3Options

    def __init__(self, name: str, options: S3Options) -> None:
        super().__init__(name, options)
        self._options = options
        self._client = Client(name, options)
        self._opener = Opener(self._client, name)
        self._taken = Taken(name)

    @property
    def where(self) -> str:
        place = place_of(self._options)
        return f"{place.origin}{place.root}{self._options.prefix}"

    def put(self, key: str, source: Source) -> None:
        path = self._path("put", key)
        # Servers do not agree on If-None-Match: what they hold is asked of them, if it can be anything.
        with self._taken.taking(key) as unused:
            if not unused and self._client.holds("put", path):
                raise StorageRefused(self.name, "put", "the key is in use")
            if source.size > self._options.multipart_size:
                parts.Upload(self._client, self.name, self._options, path, source).store()
                proven = False
            else:
                proven = self._store(path, source)
            if not proven:
                self._check_size(path, source.size)

    def open(self, key: str, start: int = 0, stop: int | None = None) -> Reader:
        path = self._path("open", key)
        if stop is not None and stop <= start:
            self._client.size("open", path)  # no Range header asks for nothing
            return io.BytesIO()
        return self._opener.open(path, start, stop)

    def size(self, key: str) -> int:
        return self._client.size("size", self._path("size", key))

    def delete(self, key: str) -> None:
        path = self._path("delete", key)
        with suppress(ObjectMissing):
            self._client.ask(Request("delete", "DELETE", path), bool)

    def keys(self, after: str | None = None) -> Iterator[str]:
        last = after or ""
        query = [("list-type", "2"), ("prefix", self._options.prefix), ("encoding-type", "url")]
        query.append(("max-keys", str(PAGE)))
        more = [("start-after", self._options.prefix + after)] if after else []
        while True:
            page = self._client.ask(Request("keys", "GET", query=[*query, *more]), answers.page_of_keys)
            # Some servers do not know `start-after`.
            for key in filter(lambda key: key > (after or ""), self._keys(page.paths)):
                if key <= last:
                    raise StorageRefused(self.name, "keys", "the server does not list in order of names")
                last = key
                yield key
            if page.next_token is None:
                return
            if more == [("continuation-token", page.next_token)]:
                raise StorageRefused(self.name, "keys", "the server lists the same page again and again")
            more = [("continuation-token", page.next_token)]

    def clean(self, before: datetime) -> int:
        removed = 0
        for upload in list(self._uploads()):
            if upload.began < before and self._is_ours(upload.path):
                parts.abort(self._client, "clean", upload.path, upload.id)
                removed += 1
        return removed

    def close(self) -> None:
        self._opener.close()
        self._client.close()

    def _store(self, path: str, source: Source) -> bool:
        """Stores an object by one request; whether the answer proves that the server has all of it."""
        content = Tallied(source)
        request = Request("put", "PUT", path, headers=self._options.new_object_headers, content=content)
        # Any other ETag proves nothing: encrypted objects, and some servers, have something else there.
        return self._client.ask(request, lambda answer: answer.headers.get("ETag")) == content.etag

    def _check_size(self, path: str, size: int) -> None:
        """Raises if what the server acknowledged is not there in full, and removes what is."""
        try:
            held = self._client.size("put", path)
        except ObjectMissing as error:
            why = "the server acknowledged an object that is not there"
            raise StorageUnavailable(self.name, "put", why) from error
        if held != size:
            with suppress(StorageError):
                self._client.ask(Request("put", "DELETE", path), bool)
            why = f"the server acknowledged {size} bytes and holds {held}"
            raise StorageUnavailable(self.name, "put", why)

    def _uploads(self) -> Iterator[answers.Upload]:
        query = [("uploads", ""), ("prefix", self._options.prefix), ("encoding-type", "url")]
        more: list[tuple[str, str]] = []
        while True:
            try:
                page = self._client.ask(
                    Request("clean", "GET", query=[*query, *more]), answers.page_of_uploads
                )
            except NoSuchUpload:
                return  # how one server says that there are none
            yield from page.uploads
            if page.next_path is None:
                return
            after, more = more, [("key-marker", page.next_path), ("upload-id-marker", page.next_id)]
            if more == after:
                raise StorageRefused(self.name, "clean", "the server lists the same page again and again")

    def _path(self, operation: str, key: str) -> str:
        """The object's name in the bucket. Only keys of ours have one, so none leads anywhere else."""
        if not KEY.fullmatch(key) and key != MARKER:
            raise StorageRefused(self.name, operation, "not a storage key")
        return self._options.prefix + key

    def _keys(self, paths: Iterable[str]) -> Iterator[str]:
        """The keys among the names in the bucket."""
        prefix = self._options.prefix
        keys = (path.removeprefix(prefix) for path in paths if path.startswith(prefix))
        return filter(KEY.fullmatch, keys)

    def _is_ours(self, path: str) -> bool:
        return path == self._options.prefix + MARKER or any(self._keys([path]))
