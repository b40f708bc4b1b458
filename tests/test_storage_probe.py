"""A storage's probe of itself: which step notices what, and what stays behind when one fails."""

from collections.abc import Iterator

import pytest

from simpledrive.errors import ObjectMissing, StorageError, StorageRefused, StorageUnavailable
from tests.broken_storages import (
    DeletesNothing,
    ForgetsTheLastByte,
    MemoryOptions,
    MemoryStorage,
    StoresNothing,
)


class MayNotBeListed(MemoryStorage):
    def keys(self, after: str | None = None) -> Iterator[str]:
        raise StorageRefused(self.name, "keys", "listing is forbidden")


class MayNotBeDeletedFrom(MemoryStorage):
    def delete(self, key: str) -> None:
        raise StorageRefused(self.name, "delete", "deleting is forbidden")


@pytest.mark.parametrize(
    ("kind", "step", "error", "why"),
    [
        (StoresNothing, "read", ObjectMissing, "there is no such object"),
        (ForgetsTheLastByte, "compare", StorageUnavailable, "what was read is not what was written"),
        (MayNotBeListed, "list", StorageRefused, "listing is forbidden"),
        (MayNotBeDeletedFrom, "delete", StorageRefused, "deleting is forbidden"),
        (DeletesNothing, "delete", StorageUnavailable, "the object is still there after it was deleted"),
    ],
)
def test_the_step_that_fails_is_the_last_one_begun(
    kind: type[MemoryStorage], step: str, error: type[StorageError], why: str
) -> None:
    storage, begun = kind("tried", MemoryOptions()), list[str]()
    with pytest.raises(error, match=why):
        storage.probe(begun.append)
    assert begun[-1] == step
    assert bool(storage.objects) == (step == "delete"), "what can be deleted is"


def test_a_place_that_is_down_fails_at_the_first_step() -> None:
    begun = list[str]()
    with pytest.raises(StorageUnavailable):
        MemoryStorage("tried", MemoryOptions(down=True)).probe(begun.append)
    assert begun == ["write"]


def test_the_list_is_asked_for_from_the_object_on_and_no_further() -> None:
    class Many(MemoryStorage):
        def keys(self, after: str | None = None) -> Iterator[str]:
            (held,) = self.objects
            assert held.startswith(str(after))
            yield held
            pytest.fail("a second key was asked for")

    Many("tried", MemoryOptions()).probe()
