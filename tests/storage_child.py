"""What another process does with a storage: `python -m tests.storage_child WHAT CONFIG`. Answers in lines."""

import json
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from simpledrive.storage.base import Storage, new_key
from simpledrive.storage.registry import build
from simpledrive.streams.source import BLOCK, Source, drain
from tests.sources import Gate, content, endless_source, source_of

LARGE = 256 << 20


def stuck(storage: Storage) -> None:
    """Says its key when it has read two thirds of an object, and goes no further."""
    data = content(9 * BLOCK)

    class Saying(Gate):
        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell() >= 6 * BLOCK:
                print(key, flush=True)
                sys.stdin.readline()
            return super().read(size)

    source = source_of(data)
    key = new_key(source.sha256)
    storage.put(key, replace(source, opener=lambda: Saying(data, len(data))))


def first(storage: Storage) -> None:
    """Stores one small object as soon as it is told to, and says its key."""
    source = source_of(content(5))
    key = new_key(source.sha256)
    print("ready", flush=True)
    sys.stdin.readline()
    storage.put(key, source)
    print(key, flush=True)


def memory(storage: Storage) -> None:
    """Says by how many bytes storing and reading a large object raised the process's peak of memory."""
    storage.probe()
    source = endless_source(LARGE)
    key = new_key(source.sha256)
    stored = _grown(lambda: storage.put(key, source))
    read = _grown(lambda: drain(Source(source.size, source.sha256, lambda: storage.open(key))))
    print(json.dumps({"put": stored, "read": read}), flush=True)


def _grown(work: Callable[[], None]) -> int:
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = _peak()
    work()
    return _peak() - before


def _peak() -> int:
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) << 10


if __name__ == "__main__":
    what = {work.__name__: work for work in (stuck, first, memory)}[sys.argv[1]]
    what(build("child", json.loads(sys.argv[2])))
