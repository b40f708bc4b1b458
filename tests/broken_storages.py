"""A storage that keeps the promise, in memory, and storages that each break it in one way.

BROKEN names for each the sentence of the contract that it must not get through.
"""

import mmap
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime
from typing import Any

from simpledrive.errors import ObjectMissing, StorageError, StorageRefused, StorageUnavailable
from simpledrive.storage.base import KEY, Options, Storage
from simpledrive.streams.source import BLOCK, Reader, Source, VerifyingReader


class MemoryOptions(Options):
    down: bool = False
    password: str = "secret"


class MemoryStorage(Storage):
    """Keeps the promise. Its bytes lie in anonymous maps, which Python's own count of memory leaves out."""

    kind = "memory"
    Options = MemoryOptions

    def __init__(self, name: str, options: MemoryOptions) -> None:
        super().__init__(name, options)
        self._down, self._password = options.down, options.password
        self.objects: dict[str, tuple[int, mmap.mmap]] = {}
        self.lock = threading.Lock()

    def connect(self, operation: str) -> None:
        if self._down:
            raise StorageUnavailable(self.name, operation, "connection refused")

    def put(self, key: str, source: Source) -> None:
        self.connect("put")
        held = mmap.mmap(-1, source.size + 1)
        with source.open() as reader:
            while data := self.take(reader):
                held.write(data)
        self.publish(key, source.size, held)

    def take(self, reader: VerifyingReader) -> bytes:
        return reader.read(BLOCK)

    def publish(self, key: str, size: int, held: mmap.mmap) -> None:
        with self.lock:
            if key in self.objects:
                raise StorageRefused(self.name, "put", "the key is in use")
            self.objects[key] = size, held

    def open(self, key: str, start: int = 0, stop: int | None = None) -> Reader:
        size, held = self.find(key, "open")
        end = size if stop is None else min(stop, size)
        return MemoryReader(self, key, held, start, max(start, end))

    def find(self, key: str, operation: str) -> tuple[int, mmap.mmap]:
        self.connect(operation)
        try:
            return self.objects[key]
        except KeyError:
            raise ObjectMissing(self.name, operation, "there is no such object") from None

    def size(self, key: str) -> int:
        return self.find(key, "size")[0]

    def delete(self, key: str) -> None:
        self.connect("delete")
        self.objects.pop(key, None)

    def keys(self, after: str | None = None) -> Iterator[str]:
        self.connect("keys")
        yield from sorted(key for key in list(self.objects) if KEY.fullmatch(key) and key > (after or ""))

    def clean(self, before: datetime) -> int:
        self.connect("clean")
        return 0


class MemoryReader:
    def __init__(self, storage: MemoryStorage, key: str, held: mmap.mmap, at: int, stop: int) -> None:
        self.storage, self.key, self.held, self.at, self.stop = storage, key, held, at, stop

    def read(self, size: int, /) -> bytes:
        if self.key not in self.storage.objects:
            return self.gone()
        data = self.held[self.at : min(self.at + size, self.stop)]
        self.at += len(data)
        return data

    def gone(self) -> bytes:
        raise ObjectMissing(self.storage.name, "read", "the object is gone")

    def close(self) -> None:
        pass


BROKEN: dict[type[MemoryStorage], str] = {}


def must_not_pass(test: str) -> Callable[[type[MemoryStorage]], type[MemoryStorage]]:
    def note(storage: type[MemoryStorage]) -> type[MemoryStorage]:
        BROKEN[storage] = test
        return storage

    return note


@must_not_pass("test_a_failed_put_leaves_nothing")
class LeavesPartialObject(MemoryStorage):
    def put(self, key: str, source: Source) -> None:
        try:
            super().put(key, source)
        except BaseException:
            with source.opener() as reader:  # type: ignore[attr-defined]
                data = reader.read(source.size // 2)
            held = mmap.mmap(-1, len(data) + 1)
            held.write(data)
            self.publish(key, len(data), held)
            raise


@must_not_pass("test_an_object_in_the_making_is_not_there")
class WritesInPlace(MemoryStorage):
    def put(self, key: str, source: Source) -> None:
        self.publish(key, 0, mmap.mmap(-1, 1))
        try:
            held = mmap.mmap(-1, source.size + 1)
            with source.open() as reader:
                while data := reader.read(BLOCK):
                    held.write(data)
                    self.objects[key] = held.tell(), held
        except BaseException:
            self.delete(key)
            raise


@must_not_pass("test_what_is_put_is_what_is_read")
class StoresNothing(MemoryStorage):
    def publish(self, key: str, size: int, held: mmap.mmap) -> None:
        pass


@must_not_pass("test_what_is_put_is_what_is_read")
class ForgetsTheLastByte(MemoryStorage):
    def publish(self, key: str, size: int, held: mmap.mmap) -> None:
        super().publish(key, max(0, size - 1), held)


@must_not_pass("test_portions_may_be_of_any_size")
class TakesAShortPortionForTheEnd(MemoryStorage):
    def take(self, reader: VerifyingReader) -> bytes:
        data = reader.read(BLOCK)
        while len(data) < BLOCK and reader.read(BLOCK):
            pass
        return data


@must_not_pass("test_what_a_source_raises_passes_through_untouched")
class TakesSourceErrorsForItsOwn(MemoryStorage):
    def put(self, key: str, source: Source) -> None:
        try:
            super().put(key, source)
        except OSError as error:
            raise StorageUnavailable(self.name, "put", "input/output error") from error


@must_not_pass("test_a_used_key_is_refused_and_keeps_what_it_holds")
class Overwrites(MemoryStorage):
    def publish(self, key: str, size: int, held: mmap.mmap) -> None:
        self.objects[key] = size, held


@must_not_pass("test_a_used_key_is_refused_and_keeps_what_it_holds")
class KeepsTheOldWithoutAWord(MemoryStorage):
    def publish(self, key: str, size: int, held: mmap.mmap) -> None:
        self.objects.setdefault(key, (size, held))


@must_not_pass("test_of_puts_under_one_key_one_wins")
class ChecksLongBeforeItWrites(MemoryStorage):
    def put(self, key: str, source: Source) -> None:
        if key in self.objects:
            raise StorageRefused(self.name, "put", "the key is in use")
        super().put(key, source)

    def publish(self, key: str, size: int, held: mmap.mmap) -> None:
        self.objects[key] = size, held


@must_not_pass("test_memory_stays_flat")
class StoresFromMemory(MemoryStorage):
    def take(self, reader: VerifyingReader) -> bytes:
        return b"".join(iter(lambda: reader.read(BLOCK), b""))


class Proxy(MemoryStorage):
    """Broken in what `open` returns: `reader` makes that from the right one."""

    reader: Callable[[MemoryReader], Any]

    def open(self, key: str, start: int = 0, stop: int | None = None) -> Reader:
        right = super().open(key, start, stop)
        assert isinstance(right, MemoryReader)
        return type(self).reader(right)  # type: ignore[no-any-return]


class EndsShort(MemoryReader):
    def __init__(self, right: MemoryReader) -> None:
        super().__init__(right.storage, right.key, right.held, right.at, right.stop)

    def gone(self) -> bytes:
        return b""


class Leaking(EndsShort):
    def gone(self) -> bytes:
        raise OSError("stale file handle")


class Whole(EndsShort):
    def __init__(self, right: MemoryReader) -> None:
        super().__init__(right)
        self.whole = self.held[:]


class Generous(EndsShort):
    def read(self, size: int, /) -> bytes:
        return super().read(max(size, 1000))


class Stuttering(EndsShort):
    def read(self, size: int, /) -> bytes:
        data = super().read(size)
        self.at = max(0, self.at - (len(data) < size))
        return data


@must_not_pass("test_a_reader_whose_object_is_deleted_never_ends_short")
class ShortReadLooksLikeTheEnd(Proxy):
    reader = EndsShort


@must_not_pass("test_a_reader_whose_object_is_deleted_never_ends_short")
class LeaksForeignErrorsFromReading(Proxy):
    reader = Leaking


@must_not_pass("test_one_byte_of_a_large_object_is_a_small_transfer")
class ReadsAllForOneByte(Proxy):
    reader = Whole


class Served(MemoryStorage):
    """Keeps the promise, too. Its bytes come over TCP, from a thread that sends those from `first` on."""

    def open(self, key: str, start: int = 0, stop: int | None = None) -> Reader:
        size, held = self.find(key, "open")
        end = size if stop is None else min(stop, size)
        return Connected(held, self.first(start), start, max(start, end))

    def first(self, start: int) -> int:
        return start


class Connected:
    """Reads bytes [at, stop) from a connection on which they begin with `first`."""

    def __init__(self, held: mmap.mmap, first: int, at: int, stop: int) -> None:
        listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._send, args=(listener, held, first, stop), daemon=True).start()
        self._connection = socket.create_connection(listener.getsockname())
        self._bytes = self._connection.makefile("rb")
        for skipped in range(first, at, BLOCK):
            self._bytes.read(min(BLOCK, at - skipped))

    @staticmethod
    def _send(listener: socket.socket, held: mmap.mmap, at: int, stop: int) -> None:
        with listener, listener.accept()[0] as connection, suppress(OSError):
            for start in range(at, stop, BLOCK):
                connection.sendall(held[start : min(start + BLOCK, stop)])

    def read(self, size: int, /) -> bytes:
        return self._bytes.read(size)

    def close(self) -> None:
        self._bytes.close()
        self._connection.close()


@must_not_pass("test_one_byte_of_a_large_object_is_a_small_transfer")
class DownloadsFromTheBeginning(Served):
    def first(self, start: int) -> int:
        return 0


@must_not_pass("test_portions_may_be_of_any_size")
class GivesMoreThanAskedFor(Proxy):
    reader = Generous


@must_not_pass("test_the_end_stays_the_end")
class ReadsTheLastByteAgain(Proxy):
    reader = Stuttering


@must_not_pass("test_readers_do_not_disturb_each_other")
class SharesOnePosition(MemoryStorage):
    def open(self, key: str, start: int = 0, stop: int | None = None) -> Reader:
        reader = super().open(key, start, stop)
        self.shared = getattr(self, "shared", reader)
        return self.shared


@must_not_pass("test_missing_raises_at_once")
class MissesAtTheFirstReadOnly(MemoryStorage):
    def open(self, key: str, start: int = 0, stop: int | None = None) -> Reader:
        try:
            return super().open(key, start, stop)
        except ObjectMissing:
            self.connect("open")
            return MemoryReader(self, key, mmap.mmap(-1, 1), 0, 0)


@must_not_pass("test_missing_raises_at_once")
class MissingIsEmpty(MemoryStorage):
    def size(self, key: str) -> int:
        return self.objects[key][0] if key in self.objects else 0


@must_not_pass("test_every_range_gives_what_there_is_of_it")
class RangesIncludeTheirEnd(MemoryStorage):
    def open(self, key: str, start: int = 0, stop: int | None = None) -> Reader:
        return super().open(key, start, None if stop is None else stop + 1)


@must_not_pass("test_every_range_gives_what_there_is_of_it")
class RefusesRangesPastTheEnd(MemoryStorage):
    def open(self, key: str, start: int = 0, stop: int | None = None) -> Reader:
        if start >= self.size(key) > 0:
            raise StorageRefused(self.name, "open", "416 Range Not Satisfiable")
        return super().open(key, start, stop)


@must_not_pass("test_deleting_what_is_not_there_is_fine")
class DeletingWhatIsMissingRaises(MemoryStorage):
    def delete(self, key: str) -> None:
        self.find(key, "delete")
        super().delete(key)


@must_not_pass("test_deleted_is_gone")
class DeletesSiblings(MemoryStorage):
    def delete(self, key: str) -> None:
        digest = key.partition(".")[0]
        for other in [other for other in self.objects if other.startswith(digest)]:
            super().delete(other)


@must_not_pass("test_deleted_is_gone")
class DeletesNothing(MemoryStorage):
    def delete(self, key: str) -> None:
        self.connect("delete")


@must_not_pass("test_keys_come_in_order_and_after")
class KeysInNoOrder(MemoryStorage):
    def keys(self, after: str | None = None) -> Iterator[str]:
        return iter(sorted(super().keys(after), key=lambda key: key[::-1]))


@must_not_pass("test_keys_come_in_order_and_after")
class KeysFromTheBeginning(MemoryStorage):
    def keys(self, after: str | None = None) -> Iterator[str]:
        return super().keys()


@must_not_pass("test_keys_come_in_order_and_after")
class KeysFromAndWithAfter(MemoryStorage):
    def keys(self, after: str | None = None) -> Iterator[str]:
        return iter(sorted(key for key in super().keys() if key >= (after or "")))


@must_not_pass("test_keys_come_in_order_and_after")
class KeysOfOnePage(MemoryStorage):
    def keys(self, after: str | None = None) -> Iterator[str]:
        return iter(list(super().keys(after))[:100])


@must_not_pass("test_keys_come_in_order_and_after")
class ListsTheMarker(MemoryStorage):
    def keys(self, after: str | None = None) -> Iterator[str]:
        return iter(sorted(key for key in self.objects if key > (after or "")))


@must_not_pass("test_cleaning_takes_no_object")
class CleansObjectsAway(MemoryStorage):
    def clean(self, before: datetime) -> int:
        cleaned = len(self.objects)
        self.objects.clear()
        return cleaned


@must_not_pass("test_a_place_that_does_not_work_raises_storage_errors_without_secrets")
class TellsThePassword(MemoryStorage):
    def connect(self, operation: str) -> None:
        if self._down:
            raise StorageUnavailable(self.name, operation, f"login failed: me:{self._password}@host")


@must_not_pass("test_a_place_that_does_not_work_raises_storage_errors_without_secrets")
class LeaksForeignErrorsFromCalls(MemoryStorage):
    def connect(self, operation: str) -> None:
        if self._down:
            raise ConnectionRefusedError


@must_not_pass("test_a_place_that_does_not_work_raises_storage_errors_without_secrets")
class TakesUnreachableForMissing(MemoryStorage):
    def open(self, key: str, start: int = 0, stop: int | None = None) -> Reader:
        try:
            return super().open(key, start, stop)
        except StorageError as error:
            raise ObjectMissing(self.name, "open", "550") from error
