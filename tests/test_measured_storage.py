"""A storage that is measured keeps the same promise, and every operation and byte of it is told."""

import inspect
from collections.abc import Callable
from itertools import islice
from typing import NamedTuple

import pytest

from simpledrive.errors import ObjectMissing, StorageUnavailable
from simpledrive.storage.base import new_key
from simpledrive.storage.measured import MeasuredStorage
from tests.broken_storages import MemoryOptions, MemoryStorage
from tests.contract import Place, StorageContract, tomorrow
from tests.sources import content, source_of

SENTENCES: dict[str, Callable[..., None]] = {
    name: test for name, test in vars(StorageContract).items() if name.startswith("test_")
}


class Told(NamedTuple):
    backend: str
    operation: str
    outcome: str
    read: int = 0
    written: int = 0


class Observer(list[Told]):
    def __call__(
        self, backend: str, operation: str, outcome: str, seconds: float, *, read: int = 0, written: int = 0
    ) -> None:
        assert seconds >= 0
        self.append(Told(backend, operation, outcome, read, written))


@pytest.fixture
def told() -> Observer:
    return Observer()


@pytest.fixture
def storage(told: Observer) -> MeasuredStorage:
    return MeasuredStorage(MemoryStorage("tried", MemoryOptions()), told)


@pytest.mark.parametrize("sentence", SENTENCES)
def test_it_keeps_the_promise(sentence: str, storage: MeasuredStorage, told: Observer) -> None:
    down = MemoryStorage("tried-down", MemoryOptions(down=True, password="secret"))
    given = {"storage": storage, "place": Place(storage, MeasuredStorage(down, told), ("secret",))}
    test = SENTENCES[sentence]
    names = inspect.signature(test).parameters
    test(StorageContract(), **{name: given[name] for name in names if name in given})


def test_every_operation_is_told_once(storage: MeasuredStorage, told: Observer) -> None:
    data = content(1000)
    source = source_of(data)
    key = new_key(source.sha256)
    storage.put(key, source)
    reader = storage.open(key, 100, 700)
    assert reader.read(250) + reader.read(1000) == data[100:700]
    assert told[-1].operation == "open"
    reader.close()
    reader.close()
    assert storage.size(key) == 1000
    assert list(storage.keys()) == [key]
    assert storage.clean(tomorrow()) == 0
    storage.delete(key)
    assert told == [
        Told("tried", "put", "ok", written=1000),
        Told("tried", "open", "ok"),
        Told("tried", "read", "ok", read=600),
        Told("tried", "size", "ok"),
        Told("tried", "keys", "ok"),
        Told("tried", "clean", "ok"),
        Told("tried", "delete", "ok"),
    ]


def test_a_probe_is_one_operation(storage: MeasuredStorage, told: Observer) -> None:
    storage.probe()
    assert told == [Told("tried", "probe", "ok")]


def test_a_listing_that_nobody_reads_to_the_end_is_told_too(storage: MeasuredStorage, told: Observer) -> None:
    for seed in range(3):
        source = source_of(content(10, seed))
        storage.put(new_key(source.sha256), source)
    told.clear()
    keys = storage.keys()
    assert len(list(islice(keys, 1))) == 1
    keys.close()
    assert told == [Told("tried", "keys", "ok")]


def test_what_goes_wrong_is_told_by_its_kind(
    storage: MeasuredStorage, told: Observer, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = source_of(b"bytes")
    key = new_key(source.sha256)
    with pytest.raises(ObjectMissing):
        storage.size(key)
    storage.put(key, source)
    reader = storage.open(key)

    class Passing(StorageUnavailable):
        """As kinds of storage have their own."""

    class Breaking:
        def read(self, size: int, /) -> bytes:
            raise Passing("tried", "read", "the connection broke")

        def close(self) -> None: ...

    monkeypatch.setattr(reader, "_reader", Breaking())
    with pytest.raises(StorageUnavailable):
        reader.read(1)
    reader.close()

    def faulty(_: str) -> None:
        raise RuntimeError

    monkeypatch.setattr(storage._storage, "delete", faulty)
    with pytest.raises(RuntimeError):
        storage.delete(key)
    assert [(one.operation, one.outcome) for one in told] == [
        ("size", "missing"),
        ("put", "ok"),
        ("open", "ok"),
        ("read", "unavailable"),
        ("delete", "error"),
    ]


def test_a_measured_storage_is_of_the_kind_that_it_measures(storage: MeasuredStorage) -> None:
    assert (storage.name, storage.kind) == ("tried", "memory")
