"""The promise of simpledrive/storage/base.py, sentence by sentence, put to a storage that nobody trusts.

A kind is tested by a fixture `place` that gives a fresh, empty Place. test_storage_contract.py does so for
every kind; test_contract_is_strict.py shows that storages broken in one way each do not get through.
"""

import errno
import hashlib
import io
import itertools
import random
import tempfile
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TypeVar

import pytest

from simpledrive.errors import IntegrityFault, ObjectMissing, StorageError, StorageRefused
from simpledrive.storage.base import KEY, MARKER, Storage, new_key
from simpledrive.streams.pieces import LEAF
from simpledrive.streams.source import BLOCK, Reader, Source
from tests.metering import metered
from tests.sources import Gate, Portions, Raising, content, endless_source, read_whole, source_of

T = TypeVar("T")
R = TypeVar("R")

MIB = 1 << 20
LIMIT = 12 * MIB
LONG_AGO = datetime(2001, 1, 1, tzinfo=UTC)
SIZES = (0, 1, LEAF - 1, LEAF, LEAF + 1, BLOCK - 1, BLOCK, BLOCK + 1, 4 * BLOCK, 4 * BLOCK + 1, 20 * MIB)


@dataclass(frozen=True)
class Place:
    """What the contract needs of a kind.

    `storage` works and is empty; `down` is of the same kind, over a place that does not work, and its errors
    must show none of `secrets`. Where bytes come over TCP, `again` makes another storage of the same place,
    which has no connection yet.
    """

    storage: Storage
    down: Storage
    secrets: tuple[str, ...]
    again: Callable[[], Storage] | None = None


class StorageContract:
    """Every test is a sentence of the promise."""

    @pytest.fixture
    def storage(self, place: Place) -> Storage:
        return place.storage

    # put and open

    def test_what_is_put_is_what_is_read(self, storage: Storage) -> None:
        for size in SIZES:
            key = put(storage, content(size))
            assert read_whole(storage.open(key)) == content(size), f"{size} bytes"
            assert storage.size(key) == size

    def test_portions_may_be_of_any_size(self, storage: Storage) -> None:
        data = content(3 * BLOCK + 17)
        key = new_key(source_of(data).sha256)
        storage.put(key, source_of(data, Portions))
        assert storage.size(key) == len(data)
        for portion in (LEAF - 1, BLOCK, BLOCK + 1, 9 * BLOCK):
            assert read_whole(storage.open(key), portion) == data
        assert read_whole(storage.open(key, BLOCK - 5, BLOCK + 5), 1) == data[BLOCK - 5 : BLOCK + 5]

    def test_reading_nothing_is_not_the_end(self, storage: Storage) -> None:
        reader = storage.open(put(storage, b"abc"))
        assert reader.read(0) == b""
        assert read_whole(reader) == b"abc"

    def test_the_end_stays_the_end(self, storage: Storage) -> None:
        reader = storage.open(put(storage, b"abc"))
        assert b"".join(reader.read(BLOCK) for _ in range(9)) == b"abc"
        reader.close()
        reader.close()

    def test_every_range_gives_what_there_is_of_it(self, storage: Storage) -> None:
        data = content(2 * BLOCK + 17)
        key = put(storage, data)
        edges = [LEAF, BLOCK, 2 * BLOCK, len(data)]
        points = sorted({0, 1, len(data) + BLOCK, *(edge + near for edge in edges for near in (-1, 0, 1))})
        for start, stop in itertools.combinations_with_replacement(points, 2):
            assert read_whole(storage.open(key, start, stop)) == data[start:stop], f"[{start}, {stop})"
        for start in points:
            assert read_whole(storage.open(key, start)) == data[start:], f"[{start}, end)"
        assert read_whole(storage.open(key, 5, 3)) == b""
        assert read_whole(storage.open(put(storage, b""), 0, 5)) == b""

    def test_one_byte_of_a_large_object_is_a_small_transfer(self, place: Place) -> None:
        data, middle = content(20 * MIB), 10 * MIB
        key = put(place.storage, data)
        expected = data[middle : middle + 1]
        again = place.again() if place.again else place.storage
        with metered() as meter, closing(again) as storage, memory_within(3 * MIB):
            assert read_whole(storage.open(key, middle, middle + 1)) == expected
        assert meter.bytes < 3 * MIB, f"{meter.bytes / MIB:.1f} MiB were transferred"
        assert meter.bytes or not place.again, "its connections are not counted"

    def test_readers_do_not_disturb_each_other(self, storage: Storage) -> None:
        data = content(2 * BLOCK + 17)
        key = put(storage, data)
        first, second = storage.open(key), storage.open(key, 7)
        got = first.read(1000), second.read(1000), first.read(1000), second.read(1000)
        rest = read_whole(first), read_whole(second)
        assert got[0] + got[2] + rest[0] == data
        assert got[1] + got[3] + rest[1] == data[7:]

    def test_memory_stays_flat(self, storage: Storage) -> None:
        source = endless_source(48 * MIB)
        key = new_key(source.sha256)
        with memory_within(LIMIT):
            storage.put(key, source)
        with memory_within(LIMIT):
            assert digest_of(storage.open(key)) == source.sha256

    def test_a_source_with_a_file_is_stored_and_its_file_let_be(self, storage: Storage) -> None:
        data = content(BLOCK + 1)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "staged")
            file.write_bytes(data)
            key = new_key(source_of(data).sha256)
            storage.put(key, replace(source_of(data), path=file))
            assert file.read_bytes() == data
            file.unlink()
        assert read_whole(storage.open(key)) == data

    def test_the_marker_is_an_object(self, storage: Storage) -> None:
        with pytest.raises(ObjectMissing):
            storage.open(MARKER)
        storage.put(MARKER, source_of(b"whose this is"))
        assert read_whole(storage.open(MARKER)) == b"whose this is"
        with pytest.raises(StorageRefused):
            storage.put(MARKER, source_of(b"somebody else's"))
        assert storage.size(MARKER) == len(b"whose this is")
        storage.delete(MARKER)
        assert not is_there(storage, MARKER)

    # what is not there

    def test_missing_raises_at_once(self, storage: Storage) -> None:
        put(storage, b"another")
        for key in (new_key("ab" * 32), new_key(source_of(b"another").sha256), MARKER):
            calls: list[Callable[..., object]] = [
                storage.size,
                storage.open,
                lambda key: storage.open(key, 5),
                lambda key: storage.open(key, 0, 0),
            ]
            for call in calls:
                with pytest.raises(ObjectMissing) as caught:
                    call(key)
                assert caught.value.backend == storage.name
                assert caught.value.operation in ("open", "size")

    def test_a_failed_put_leaves_nothing(self, storage: Storage) -> None:
        for size in (5, BLOCK, 9 * BLOCK + 5):
            for what, source in broken_sources(content(size)):
                key = new_key(source.sha256)
                # Its own errors, or the verifying reader's: never the storage's.
                with pytest.raises((IntegrityFault, RuntimeError)):
                    storage.put(key, source)
                assert not is_there(storage, key), f"{size} bytes, {what}: something is left"
                assert key not in storage.keys()

    def test_what_a_source_raises_passes_through_untouched(self, storage: Storage) -> None:
        errors = (
            OSError(errno.ENOSPC, "the staging's disk, not the storage's"),
            FileNotFoundError(errno.ENOENT, "the staged file"),
            ObjectMissing("elsewhere", "read", "the source of a migration"),
            ConnectionResetError(),
            KeyboardInterrupt(),
        )
        for error in errors:
            for at in (0, 6 * BLOCK):
                data = content(9 * BLOCK)
                source = source_of(data, partial(Raising, at=at, error=error))
                key = new_key(source.sha256)
                with pytest.raises(type(error)) as caught:
                    storage.put(key, source)
                assert caught.value is error
                assert not is_there(storage, key)

    def test_an_object_in_the_making_is_not_there(self, storage: Storage) -> None:
        with half_put(storage, content(9 * BLOCK), 6 * BLOCK) as (key, finish):
            assert not is_there(storage, key)
            assert list(storage.keys()) == []
            with pytest.raises(ObjectMissing):
                storage.open(key, 0, 1)
            assert finish() is None
        assert list(storage.keys()) == [key]
        assert read_whole(storage.open(key)) == content(9 * BLOCK)

    # keys are used once

    def test_a_used_key_is_refused_and_keeps_what_it_holds(self, storage: Storage) -> None:
        for old in (b"", content(9 * BLOCK)):
            key = put(storage, old)
            for new in (b"", b"new", content(5 * BLOCK, seed=1)):
                with pytest.raises(StorageRefused):
                    storage.put(key, source_of(new))
                assert read_whole(storage.open(key)) == old
            with pytest.raises((IntegrityFault, StorageRefused)):
                storage.put(key, replace(source_of(b"new"), sha256="0" * 64))
            assert read_whole(storage.open(key)) == old
            with tempfile.NamedTemporaryFile() as file:
                file.write(b"new")
                file.flush()
                with pytest.raises(StorageRefused):
                    storage.put(key, replace(source_of(b"new"), path=Path(file.name)))
            assert read_whole(storage.open(key)) == old

    def test_of_puts_under_one_key_one_wins(self, storage: Storage) -> None:
        for size in (1000, 6 * BLOCK):
            key = new_key("ab" * 32)
            candidates = [content(size, seed=seed) for seed in range(8)]
            start = threading.Barrier(len(candidates))

            def race(data: bytes, key: str = key, start: threading.Barrier = start) -> bytes | None:
                start.wait()
                try:
                    storage.put(key, source_of(data))
                except StorageRefused:
                    return None
                return data

            winners = [data for data in in_threads(race, candidates) if data is not None]
            assert len(winners) == 1, f"{len(winners)} puts under one key succeeded"
            assert read_whole(storage.open(key)) == winners[0]

    # delete

    def test_deleted_is_gone(self, storage: Storage) -> None:
        for size in (0, 1, 9 * BLOCK + 1):
            key, sibling = put(storage, content(size)), put(storage, content(size))
            storage.delete(key)
            assert not is_there(storage, key)
            assert list(storage.keys()) == [sibling]
            assert read_whole(storage.open(sibling)) == content(size)
            storage.delete(sibling)

    def test_deleting_what_is_not_there_is_fine(self, storage: Storage) -> None:
        key = new_key("ab" * 32)
        storage.delete(key)
        storage.delete(MARKER)
        key = put(storage, b"abc")
        storage.delete(key)
        storage.delete(key)

    def test_a_reader_whose_object_is_deleted_never_ends_short(self, storage: Storage) -> None:
        data = content(12 * BLOCK)
        for at in (0, 1, BLOCK, 5 * BLOCK + 1):
            key = put(storage, data)
            reader = storage.open(key)
            got = b""
            while len(got) < at:
                got += reader.read(at - len(got))
            storage.delete(key)
            with suppress(StorageError):
                assert got + read_whole(reader) == data
            assert not is_there(storage, key)

    # keys

    def test_keys_come_in_order_and_after(self, storage: Storage) -> None:
        assert list(storage.keys()) == []
        assert list(storage.keys("f" * 97)) == []
        # Many of one digest, which share whatever folder or page there is, and many of others; one marker.
        contents = [b"the same"] * 100 + [bytes([number]) for number in range(60)]
        random.Random(7).shuffle(contents)
        storage.put(MARKER, source_of(b"no key"))
        keys = sorted(in_threads(lambda data: put(storage, data), contents))
        assert list(storage.keys()) == keys
        assert list(storage.keys("")) == keys
        for index in (0, 49, 50, len(keys) - 1):
            assert list(storage.keys(keys[index])) == keys[index + 1 :]
        # Names that are no keys: one that many begin with, and others from end to end.
        for after in (keys[len(keys) // 2][:-1], "0", "8", "ff", "c0ffee", "~"):
            assert list(storage.keys(after)) == [key for key in keys if key > after]
        assert all(KEY.fullmatch(key) for key in keys)
        # As sweeping does: each is deleted while they are listed.
        seen = []
        for key in storage.keys():
            storage.delete(key)
            seen.append(key)
        assert seen == keys
        assert list(storage.keys()) == []

    # clean and probe

    def test_cleaning_takes_no_object(self, storage: Storage) -> None:
        assert storage.clean(tomorrow()) == 0
        keys = sorted([put(storage, b""), put(storage, b"abc"), put(storage, content(9 * BLOCK))])
        storage.put(MARKER, source_of(b"mine"))
        assert storage.clean(LONG_AGO) == 0
        assert storage.clean(tomorrow()) == 0
        assert list(storage.keys()) == keys
        assert read_whole(storage.open(MARKER)) == b"mine"

    def test_cleaning_leaves_young_puts_alone(self, storage: Storage) -> None:
        with half_put(storage, content(9 * BLOCK), 6 * BLOCK) as (key, finish):
            assert storage.clean(LONG_AGO) == 0
            assert finish() is None
        assert read_whole(storage.open(key)) == content(9 * BLOCK)

    def test_a_put_that_was_cleaned_away_is_never_partial(self, storage: Storage) -> None:
        with half_put(storage, content(9 * BLOCK), 6 * BLOCK) as (key, finish):
            removed = storage.clean(tomorrow())
            error = finish()
        if error is not None or removed:
            assert isinstance(error, StorageError), "the put was cleaned away and says that it succeeded"
            assert not is_there(storage, key)
        else:
            assert read_whole(storage.open(key)) == content(9 * BLOCK)
        assert storage.clean(tomorrow()) == 0

    def test_a_deleted_put_is_never_partial(self, storage: Storage) -> None:
        with half_put(storage, content(9 * BLOCK), 6 * BLOCK) as (key, finish):
            storage.delete(key)
            error = finish()
        if error is None:
            assert read_whole(storage.open(key)) == content(9 * BLOCK)
        else:
            assert isinstance(error, StorageError)
            assert not is_there(storage, key)

    def test_probing_goes_through_its_steps_and_leaves_nothing(self, storage: Storage) -> None:
        steps: list[str] = []
        storage.probe(steps.append)
        assert steps == ["write", "read", "compare", "list", "delete"]
        assert list(storage.keys()) == []
        assert storage.clean(tomorrow()) == 0

    # all at once, and nothing at all

    def test_sixteen_threads_at_once(self, storage: Storage) -> None:
        start = threading.Barrier(16)

        def work(seed: int) -> None:
            start.wait()
            for size in (1, 3 * BLOCK):
                data = content(size, seed)
                key = put(storage, data)
                assert read_whole(storage.open(key)) == data
                assert read_whole(storage.open(key, size // 2, size // 2 + 9)) == data[size // 2 :][:9]
                assert storage.size(key) == size
                assert key in storage.keys()
                storage.delete(key)
                assert not is_there(storage, key)

        in_threads(work, range(16))
        assert list(storage.keys()) == []

    def test_a_place_that_does_not_work_raises_storage_errors_without_secrets(self, place: Place) -> None:
        key = new_key("ab" * 32)
        calls: dict[str, Callable[[], object]] = {
            "put": lambda: place.down.put(key, source_of(b"abc")),
            "open": lambda: read_whole(place.down.open(key)),
            "size": lambda: place.down.size(key),
            "delete": lambda: place.down.delete(key),
            "keys": lambda: list(place.down.keys()),
            "clean": lambda: place.down.clean(tomorrow()),
            "probe": place.down.probe,
        }
        raised: dict[str, StorageError] = {}
        for operation, call in calls.items():
            try:
                call()
            except StorageError as error:
                raised[operation] = error
        for operation, error in raised.items():
            assert error.backend == place.down.name
            assert not isinstance(error, ObjectMissing), f"{operation} takes a dead place for an empty one"
            for secret in place.secrets:
                assert secret not in str(error), f"{operation} tells a secret: {error}"
        # An empty place and one that does not work may look alike to those that only look.
        assert {"put", "open", "size", "probe"} <= raised.keys()


def put(storage: Storage, data: bytes) -> str:
    source = source_of(data)
    key = new_key(source.sha256)
    storage.put(key, source)
    return key


def is_there(storage: Storage, key: str) -> bool:
    """Whether the key is there, as far as every call agrees that it is not."""
    answers = set()
    for call in (storage.size, lambda key: storage.open(key).close()):
        try:
            call(key)
        except ObjectMissing:
            answers.add(False)
        else:
            answers.add(True)
    if key != MARKER:
        answers.add(key in storage.keys())
    return answers != {False}


def broken_sources(data: bytes) -> Iterator[tuple[str, Source]]:
    """Sources that break their word: as storages get them, behind the verifying reader."""
    whole = source_of(data)
    yield "ends early", replace(whole, opener=lambda: io.BytesIO(data[:-1]))
    yield "ends at once", replace(whole, opener=io.BytesIO)
    yield "longer than said", replace(whole, opener=lambda: io.BytesIO(data + b"x"))
    yield "has another digest", replace(whole, sha256="0" * 64)
    flipped = data[:-1] + bytes([data[-1] ^ 1])
    yield "last bit flipped", replace(whole, opener=lambda: io.BytesIO(flipped))
    for at in sorted({0, 1, len(data) // 2, max(0, len(data) - 1)}):
        error = RuntimeError(f"at {at}")
        yield str(error), source_of(data, partial(Raising, at=at, error=error))

    def cannot_open() -> Reader:
        raise RuntimeError("cannot be opened")

    yield "cannot be opened", replace(whole, opener=cannot_open)


@contextmanager
def half_put(
    storage: Storage, data: bytes, at: int
) -> Iterator[tuple[str, Callable[[], BaseException | None]]]:
    """A put of which `at` bytes were read; the function lets it finish and returns what it raised."""
    gate = Gate(data, at)
    source = replace(source_of(data), opener=lambda: gate)
    key = new_key(source.sha256)
    with ThreadPoolExecutor(1) as pool:
        going = pool.submit(storage.put, key, source)

        def finish() -> BaseException | None:
            gate.opened.set()
            return going.exception(60)

        try:
            until = time.monotonic() + 30
            while not gate.reached.wait(0.01):
                assert not going.done(), "the put did not read its source"
                assert time.monotonic() < until
            yield key, finish
        finally:
            finish()


@contextmanager
def memory_within(limit: int) -> Iterator[None]:
    """Fails if Python ever held that many bytes more than at the beginning."""
    tracemalloc.start(1)
    try:
        before = tracemalloc.get_traced_memory()[0]
        yield
        grown = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert grown < limit, f"memory grew by {grown / MIB:.1f} MiB"


def digest_of(reader: Reader) -> str:
    digest = hashlib.sha256()
    try:
        while data := reader.read(BLOCK):
            digest.update(data)
    finally:
        reader.close()
    return digest.hexdigest()


def in_threads(work: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """What `work` returned for each, in order, by sixteen threads; raises what the first that failed did."""
    with ThreadPoolExecutor(16) as pool:
        return list(pool.map(work, items))


def tomorrow() -> datetime:
    return datetime.now(UTC) + timedelta(days=1)
