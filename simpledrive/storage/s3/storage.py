"""Objects in a bucket, under PREFIX and their key.

An object is there from the moment on when the server has all of it: S3 shows none that is half stored. This
module checks no digests, makes no buckets, and relies on nothing that servers do not agree on (docs/s3.md).
"""

import io
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import datetime
from http import HTTPStatus
from time import sleep

from simpledrive.errors import ObjectMissing, StorageError, StorageRefused, StorageUnavailable
from simpledrive.storage.base import KEY, MARKER, Storage
from simpledrive.storage.s3 import answers, parts
from simpledrive.storage.s3.ahead import Opener
from simpledrive.storage.s3.client import LONGEST_LIST, Client, Request
from simpledrive.storage.s3.content import Tallied
from simpledrive.storage.s3.faults import NoSuchUpload
from simpledrive.storage.s3.options import S3Options, bucket_of
from simpledrive.storage.taken import Taken
from simpledrive.streams.source import Reader, Source, first_bytes

PAGE = 1000
MOST_IDLE_PAGES = 100
"""Pages of a list that may come one after another without getting further. Some servers send a few."""
AT_THE_SAME_MOMENT = 1.0
"""Seconds within which of two drives both have looked for a marker, found none, and put theirs."""
CONDITION_REFUSED = frozenset(
    {HTTPStatus.PRECONDITION_FAILED, HTTPStatus.NOT_IMPLEMENTED, HTTPStatus.BAD_REQUEST}
)


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
        bucket = bucket_of(self._options)
        return f"{bucket.origin}{bucket.root}{self._options.prefix}"

    def put(self, key: str, source: Source) -> None:
        path = self._path("put", key)
        # Servers do not agree on If-None-Match: what they hold is asked of them, if it can be anything.
        with self._taken.taking(key) as unused:
            if not unused and self._client.holds("put", path):
                raise StorageRefused(self.name, "put", "the key is in use")
            if source.size > self._options.multipart_size:
                parts.MultipartUpload(self._client, self.name, self._options, path, source).store()
                proven = False
            elif key == MARKER:
                proven = self._store_first(path, source)
            else:
                proven = self._store(path, source)
            if not proven:
                self._check_size(key, source.size)

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
        progress = _Progress(self.name, "keys")
        while True:
            request = Request("keys", "GET", query=[*query, *more], longest=LONGEST_LIST)
            page = self._client.ask(request, answers.page_of_keys)
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
            progress.note(max(page.paths, default=""))
            more = [("continuation-token", page.next_token)]

    def clean(self, before: datetime) -> int:
        removed = 0
        for upload in self._uploads():
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

    def _store_first(self, path: str, source: Source) -> bool:
        """The same for what another drive may be storing at this moment: of the two one is refused.

        A server that knows the condition sees to it, and refuses when it is asked a second time. One that
        ignores it, or refuses it as such, lets the later put replace the earlier: so it is looked at again
        when both are over.
        """
        content = Tallied(source)
        headers = {**self._options.new_object_headers, "If-None-Match": "*"}
        request = Request("put", "PUT", path, headers=headers, content=content, fine=CONDITION_REFUSED)
        answer = self._client.ask(request, lambda answer: answer)
        if answer.status not in CONDITION_REFUSED:
            proven = answer.headers.get("ETag") == content.etag
            if self._client.ask(request, lambda answer: answer.status) == HTTPStatus.PRECONDITION_FAILED:
                return proven
        elif self._client.holds("put", path):
            raise StorageRefused(self.name, "put", "the key is in use")
        else:
            proven = self._store(path, source)
        if not proven:
            self._check_size(MARKER, source.size)
        sleep(AT_THE_SAME_MOMENT)
        there = first_bytes(self.open(MARKER), source.size + 1)
        if there != first_bytes(source.open(), source.size):
            raise StorageRefused(self.name, "put", "the key is in use")
        return True

    def _check_size(self, key: str, size: int) -> None:
        """Raises if what the server acknowledged is not there in full, and removes what is.

        But not the marker: of another size, it may be another drive's, which came a moment later.
        """
        path = self._path("put", key)
        try:
            held = self._client.size("put", path)
        except ObjectMissing as error:
            why = "the server acknowledged an object that is not there"
            raise StorageUnavailable(self.name, "put", why) from error
        if held != size:
            if key != MARKER:
                with suppress(StorageError):
                    self._client.ask(Request("put", "DELETE", path), bool)
            why = f"the server acknowledged {size} bytes and holds {held}"
            raise StorageUnavailable(self.name, "put", why)

    def _uploads(self) -> Iterator[answers.UnfinishedUpload]:
        query = [("uploads", ""), ("prefix", self._options.prefix), ("encoding-type", "url")]
        more: list[tuple[str, str]] = []
        progress = _Progress(self.name, "clean")
        while True:
            request = Request("clean", "GET", query=[*query, *more], longest=LONGEST_LIST)
            try:
                page = self._client.ask(request, answers.page_of_uploads)
            except NoSuchUpload:
                return  # how one server says that there are none
            yield from page.uploads
            if page.next_path is None:
                return
            after, more = more, [("key-marker", page.next_path), ("upload-id-marker", page.next_id)]
            if more == after:
                raise StorageRefused(self.name, "clean", "the server lists the same page again and again")
            progress.note(page.next_path)

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


class _Progress:
    """Sees to it that a list gets further, in order of names, and so comes to an end."""

    def __init__(self, name: str, operation: str) -> None:
        self._name, self._operation = name, operation
        self._furthest, self._idle = "", 0

    def note(self, path: str) -> None:
        """A page goes as far as `path`, and is not the last. Raises StorageRefused if too many do not."""
        self._idle = self._idle + 1 if path <= self._furthest else 0
        self._furthest = max(self._furthest, path)
        if self._idle > MOST_IDLE_PAGES:
            why = f"the server lists page after page, and for {MOST_IDLE_PAGES} pages nothing new"
            raise StorageRefused(self._name, self._operation, why)
