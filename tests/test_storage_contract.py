"""Each kind of storage keeps the promise, on the real thing (the places are in places.py).

What needs several processes is here: one that is killed, several that begin at once, and one whose memory is
measured from outside.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from simpledrive.storage.base import Storage
from tests import storage_child
from tests.contract import LONG_AGO, MIB, Place, StorageContract, is_there, read_whole, tomorrow
from tests.needs import need
from tests.places import Config
from tests.sources import content

MEMORY_LIMIT = 24 * MIB


class TestStorage(StorageContract):
    def test_a_killed_put_leaves_nothing_but_what_cleaning_removes(
        self, storage: Storage, configs: tuple[Config, Config]
    ) -> None:
        with child("stuck", configs[0]) as process:
            key = answer(process)
            process.kill()
        assert not is_there(storage, key)
        assert list(storage.keys()) == []
        assert storage.clean(LONG_AGO) == 0
        assert storage.clean(tomorrow()) <= 1
        assert storage.clean(tomorrow()) == 0
        assert not is_there(storage, key)

    def test_processes_may_all_be_the_first(self, place: Place, configs: tuple[Config, Config]) -> None:
        with (
            child("first", configs[0]) as one,
            child("first", configs[0]) as two,
            child("first", configs[0]) as three,
        ):
            processes = one, two, three
            for process in processes:
                assert answer(process) == "ready"
            for process in processes:
                tell(process, "go")
            keys = [answer(process) for process in processes]
        assert list(place.storage.keys()) == sorted(keys)
        for key in keys:
            assert read_whole(place.storage.open(key)) == content(5)

    def test_256_mib_take_a_few_mib_of_memory(self, configs: tuple[Config, Config]) -> None:
        need("procfs")
        with child("memory", configs[0]) as process:
            grown = json.loads(answer(process))
        assert grown["put"] < MEMORY_LIMIT, f"{grown['put'] / MIB:.1f} MiB to store"
        assert grown["read"] < MEMORY_LIMIT, f"{grown['read'] / MIB:.1f} MiB to read"


@contextmanager
def child(what: str, config: Config) -> Iterator[subprocess.Popen[str]]:
    """A process that does one of storage_child.py's things. It is over afterwards."""
    process = subprocess.Popen(
        [sys.executable, "-m", storage_child.__name__, what, json.dumps(config)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    with process:
        try:
            yield process
            process.wait(30)
        finally:
            process.kill()


def answer(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.endswith("\n"), "the child died"
    return line.strip()


def tell(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdin is not None
    process.stdin.write(line + "\n")
    process.stdin.flush()
