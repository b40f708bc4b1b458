"""A storage that is another storage, with every operation and every byte told to whoever counts them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Protocol

from simpledrive.errors import ObjectMissing, StorageFull, StorageRefused, StorageUnavailable
from simpledrive.storage.base import Begin, Storage
from simpledrive.streams.source import Reader, Source

OUTCOMES: dict[type[BaseException], str] = {
    ObjectMissing: "missing",
    StorageUnavailable: "unavailable",
    StorageRefused: "refused",
    StorageFull: "full",
}
"""What an operation may end with, beside "ok" and "error"."""


class Observe(Protocol):
    """Told of each operation when it has ended. `read` and `written` are bytes."""

    def __call__(
        self, backend: str, operation: str, outcome: str, seconds: float, *, read: int = 0, written: int = 0
    ) -> None: ...


class MeasuredStorage(Storage):
    """Does what `storage` does, and keeps the same promise.

    Reading is an operation of its own, `read`: from `open` until the reader is closed, without the time in
    which nobody waited for it.
    """

    def __init__(self, storage: Storage, observe: Observe) -> None:
        super().__init__(storage.name, storage.options)
        self.kind = storage.kind  # type: ignore[misc]
        self.is_near = storage.is_near  # type: ignore[misc]
        self._storage, self._observe = storage, observe

    @property
    def where(self) -> str:
        return self._storage.where

    def put(self, key: str, source: Source) -> None:
        with self._timed("put") as operation:
            self._storage.put(key, source)
            operation.written = source.size

    def open(self, key: str, start: int = 0, stop: int | None = None) -> Reader:
        with self._timed("open"):
            reader = self._storage.open(key, start, stop)
        return _MeasuredReader(reader, _Operation(self.name, "read", self._observe))

    def size(self, key: str) -> int:
        with self._timed("size"):
            return self._storage.size(key)

    def delete(self, key: str) -> None:
        with self._timed("delete"):
            self._storage.delete(key)

    def keys(self, after: str | None = None) -> Iterator[str]:
        operation = _Operation(self.name, "keys", self._observe)
        try:
            with operation.at_work():
                found = iter(self._storage.keys(after))
            while True:
                with operation.at_work():
                    key = next(found, None)
                if key is None:
                    return
                yield key
        finally:
            operation.end()

    def clean(self, before: datetime) -> int:
        with self._timed("clean"):
            return self._storage.clean(before)

    def probe(self, begin: Begin = lambda step: None) -> None:
        with self._timed("probe"):
            self._storage.probe(begin)

    def close(self) -> None:
        self._storage.close()

    @contextmanager
    def _timed(self, name: str) -> Iterator[_Operation]:
        operation = _Operation(self.name, name, self._observe)
        try:
            with operation.at_work():
                yield operation
        finally:
            operation.end()


class _Operation:
    """What is known of an operation until it ends. The work on it may come in several pieces."""

    def __init__(self, backend: str, name: str, observe: Observe) -> None:
        self._backend, self._name, self._observe = backend, name, observe
        self._outcome = "ok"
        self.seconds, self.read, self.written = 0.0, 0, 0

    @contextmanager
    def at_work(self) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        except BaseException as error:
            self.failed(error)
            raise
        finally:
            self.seconds += time.perf_counter() - began

    def failed(self, error: BaseException) -> None:
        self._outcome = next((OUTCOMES[kind] for kind in type(error).__mro__ if kind in OUTCOMES), "error")

    def end(self) -> None:
        self._observe(
            self._backend, self._name, self._outcome, self.seconds, read=self.read, written=self.written
        )


class _MeasuredReader:
    def __init__(self, reader: Reader, operation: _Operation) -> None:
        self._reader, self._operation = reader, operation
        self._is_closed = False

    def read(self, size: int, /) -> bytes:
        # Not `at_work`: this is called for each piece of every download.
        operation, began = self._operation, time.perf_counter()
        try:
            data = self._reader.read(size)
        except BaseException as error:
            operation.failed(error)
            raise
        finally:
            operation.seconds += time.perf_counter() - began
        operation.read += len(data)
        return data

    def close(self) -> None:
        try:
            self._reader.close()
        finally:
            if not self._is_closed:
                self._is_closed = True
                self._operation.end()
