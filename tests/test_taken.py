"""Which keys need not be asked for before they are put."""

import threading
import time

import pytest

from simpledrive.errors import StorageRefused
from simpledrive.storage import taken
from simpledrive.storage.base import MARKER, new_key
from simpledrive.storage.taken import Taken

DIGEST = "ab" * 32


def key_of(seconds: float) -> str:
    """A key that was made so many seconds ago."""
    milliseconds = int((time.time() - seconds) * 1000)
    return f"{DIGEST}.{milliseconds:012x}{new_key(DIGEST)[-20:]}"


def certain(taken: Taken, key: str) -> bool:
    with taken.taking(key) as unused:
        return unused


def test_a_key_that_was_made_just_now_is_unused_once() -> None:
    keys, key = Taken("far"), new_key(DIGEST)
    assert certain(keys, key)
    assert not certain(keys, key)
    assert certain(keys, new_key(DIGEST))


@pytest.mark.parametrize("key", [MARKER, f"{DIGEST}.{'f' * 32}", "", "x"])
def test_any_other_key_may_be_in_use(key: str) -> None:
    assert not certain(Taken("far"), key)


@pytest.mark.parametrize("seconds", [60, -60])
def test_a_key_of_another_time_may_be_in_use(seconds: int) -> None:
    assert not certain(Taken("far"), key_of(seconds))


def test_a_put_that_failed_has_taken_its_key_too() -> None:
    keys, key = Taken("far"), new_key(DIGEST)
    with pytest.raises(OSError, match="no"), keys.taking(key):
        raise OSError("no")
    assert not certain(keys, key)


def test_a_second_put_is_refused_while_the_first_goes_on() -> None:
    keys, key = Taken("far"), new_key(DIGEST)
    with keys.taking(key):
        with pytest.raises(StorageRefused, match="far: put: the key is in use"), keys.taking(key):
            pass
        with keys.taking(new_key(DIGEST)):
            pass
    assert not certain(keys, key)


def test_of_many_threads_one_is_certain() -> None:
    keys, key, start = Taken("far"), new_key(DIGEST), threading.Barrier(8)
    found: list[bool] = []

    def take() -> None:
        start.wait()
        try:
            found.append(certain(keys, key))
        except StorageRefused:
            found.append(False)

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(found) == 1


def test_keys_are_forgotten_when_they_are_no_longer_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = Taken("far")
    monkeypatch.setattr(taken, "MOMENT", 0.0)
    for _ in range(1000):
        assert not certain(keys, new_key(DIGEST))
    assert len(keys._recent) < 10
