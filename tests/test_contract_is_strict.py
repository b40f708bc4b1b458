"""The contract lets a right storage through, and none that is broken on purpose."""

import inspect
from collections.abc import Callable

import pytest

from simpledrive.errors import StorageError
from tests.broken_storages import BROKEN, MemoryOptions, MemoryStorage, Served
from tests.contract import Place, StorageContract

SENTENCES: dict[str, Callable[..., None]] = {
    name: test for name, test in vars(StorageContract).items() if name.startswith("test_")
}

CAUGHT = (AssertionError, pytest.fail.Exception, StorageError, OSError)
"""How a test fails because of what it tests. Others, a TypeError say, would be the broken storage's own."""


def ask(storage: type[MemoryStorage], sentence: str) -> None:
    """Runs one test of the contract on a fresh place of that kind."""
    test = SENTENCES[sentence]
    works = storage("tried", MemoryOptions())
    down = storage("tried-down", MemoryOptions(down=True, password="secret"))
    place = Place(works, down, ("secret",), (lambda: works) if isinstance(works, Served) else None)
    given = {"storage": works, "place": place}
    test(
        StorageContract(),
        **{name: given[name] for name in inspect.signature(test).parameters if name in given},
    )


@pytest.mark.parametrize("sentence", SENTENCES)
def test_a_right_storage_passes(sentence: str) -> None:
    ask(MemoryStorage, sentence)


def test_a_right_storage_passes_by_its_connections() -> None:
    ask(Served, "test_one_byte_of_a_large_object_is_a_small_transfer")


@pytest.mark.parametrize(("storage", "sentence"), BROKEN.items(), ids=[kind.__name__ for kind in BROKEN])
def test_a_broken_storage_fails(storage: type[MemoryStorage], sentence: str) -> None:
    with pytest.raises(CAUGHT):
        ask(storage, sentence)
