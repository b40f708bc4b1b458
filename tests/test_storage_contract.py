"""Each kind of storage keeps the promise, on the real thing (the places are in places.py).

What needs several processes is here: one that is killed, several that begin at once, and one whose memory is
measured from outside.
"""

from contextlib import ExitStack

import pytest

from simpledrive.storage.base import MARKER, Storage
from tests import storage_child
from tests.contract import LONG_AGO, MIB, Place, StorageContract, is_there, read_whole, tomorrow
from tests.needs import need
from tests.places import PLACES, PLACES_IN_PARTS, Config
from tests.sources import content
from tests.storage_child import child

SAFE_FOR_PROCESSES = [name for name in PLACES if not name.startswith("s3")]
"""Whether of a bucket's depends on the server and on a moment: test_s3.py tells when."""
MEMORY_LIMIT = 24 * MIB
SIZES = [pytest.param(80 * MIB, id="80 MiB"), pytest.param(1024 * MIB, id="1 GiB", marks=pytest.mark.soak)]
"""More than what is stored whole by default, of which a multiple of the limit would be kept in memory."""


class TestStorage(StorageContract):
    def test_a_killed_put_leaves_nothing_but_what_cleaning_removes(
        self, storage: Storage, configs: tuple[Config, Config]
    ) -> None:
        with child(storage_child.stuck, configs[0]) as one:
            key = one.answer()
            one.process.kill()
        assert not is_there(storage, key)
        assert list(storage.keys()) == []
        assert storage.clean(LONG_AGO) == 0
        assert storage.clean(tomorrow()) <= 1
        assert storage.clean(tomorrow()) == 0
        assert not is_there(storage, key)

    def test_processes_may_all_be_the_first(self, place: Place, configs: tuple[Config, Config]) -> None:
        with (
            child(storage_child.first, configs[0]) as one,
            child(storage_child.first, configs[0]) as two,
            child(storage_child.first, configs[0]) as three,
        ):
            for process in (one, two, three):
                assert process.answer() == "ready"
            for process in (one, two, three):
                process.tell("go")
            keys = [process.answer() for process in (one, two, three)]
        assert list(place.storage.keys()) == sorted(keys)
        for key in keys:
            assert read_whole(place.storage.open(key)) == content(5)

    @pytest.mark.parametrize("configs", SAFE_FOR_PROCESSES, indirect=True)
    def test_of_processes_that_mark_a_place_one_wins(
        self, place: Place, configs: tuple[Config, Config]
    ) -> None:
        drives = [b"one\n", b"two\n", b"three\n"]
        with ExitStack() as stack:
            processes = [
                stack.enter_context(child(storage_child.mark, configs[0], drive)) for drive in drives
            ]
            assert [process.answer() for process in processes] == ["ready"] * 3
            for process in processes:
                process.tell("go")
            won = [process.answer() for process in processes]
        assert read_whole(place.storage.open(MARKER)) == drives[won.index(True)]
        assert won.count(True) == 1

    @pytest.mark.parametrize("size", SIZES)
    def test_a_large_object_takes_a_few_mib_of_memory(
        self, configs: tuple[Config, Config], size: int
    ) -> None:
        need("procfs")
        with child(storage_child.memory, configs[0], size) as process:
            stored, read = process.answer()
        assert stored < MEMORY_LIMIT, f"{stored / MIB:.1f} MiB to store"
        assert read < MEMORY_LIMIT, f"{read / MIB:.1f} MiB to read"


class TestStorageInParts:
    """What a place does otherwise that stores large objects in parts: making them, whole or not at all."""

    @pytest.fixture(params=PLACES_IN_PARTS)
    def configs(self, request: pytest.FixtureRequest) -> tuple[Config, Config]:
        return PLACES_IN_PARTS[request.param](request)

    storage = StorageContract.storage
    test_what_is_put_is_what_is_read = StorageContract.test_what_is_put_is_what_is_read
    test_memory_stays_flat = StorageContract.test_memory_stays_flat
    test_a_failed_put_leaves_nothing = StorageContract.test_a_failed_put_leaves_nothing
    test_what_a_source_raises_passes_through_untouched = (
        StorageContract.test_what_a_source_raises_passes_through_untouched
    )
    test_an_object_in_the_making_is_not_there = StorageContract.test_an_object_in_the_making_is_not_there
    test_a_used_key_is_refused_and_keeps_what_it_holds = (
        StorageContract.test_a_used_key_is_refused_and_keeps_what_it_holds
    )
    test_of_puts_under_one_key_one_wins = StorageContract.test_of_puts_under_one_key_one_wins
    test_deleted_is_gone = StorageContract.test_deleted_is_gone
    test_cleaning_takes_no_object = StorageContract.test_cleaning_takes_no_object
    test_cleaning_leaves_young_puts_alone = StorageContract.test_cleaning_leaves_young_puts_alone
    test_a_put_that_was_cleaned_away_is_never_partial = (
        StorageContract.test_a_put_that_was_cleaned_away_is_never_partial
    )
    test_a_deleted_put_is_never_partial = StorageContract.test_a_deleted_put_is_never_partial
    test_a_killed_put_leaves_nothing_but_what_cleaning_removes = (
        TestStorage.test_a_killed_put_leaves_nothing_but_what_cleaning_removes
    )
    test_a_large_object_takes_a_few_mib_of_memory = TestStorage.test_a_large_object_takes_a_few_mib_of_memory
