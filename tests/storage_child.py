"""What another process does with a storage, and how a test talks with it.

The processes are forked from one that has imported everything already: to start Python takes longer than what
most of them do.
"""

import multiprocessing
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from simpledrive.errors import StorageRefused
from simpledrive.storage.base import MARKER, Storage, new_key
from simpledrive.storage.registry import build
from simpledrive.streams.ahead import drain
from simpledrive.streams.source import BLOCK, Source
from tests.sources import Gate, content, endless_source, source_of

FORKED = multiprocessing.get_context("forkserver")
FORKED.set_forkserver_preload([__name__])
PATIENCE = 30


@dataclass(frozen=True)
class Child:
    """A process that does something with a storage, and what leads to it."""

    process: BaseProcess
    line: Connection

    def answer(self) -> Any:
        """What it says next. Raises EOFError if it has died."""
        return self.line.recv()

    def tell(self, word: object) -> None:
        self.line.send(word)


@contextmanager
def child(work: Callable[..., None], config: dict[str, str], *arguments: object) -> Iterator[Child]:
    """A process that does this work with a storage of that configuration. It is over afterwards."""
    here, there = FORKED.Pipe()
    process = FORKED.Process(target=_work, args=(work, config, there, *arguments), daemon=True)
    with here:
        with there:
            process.start()
        try:
            yield Child(process, here)
            process.join(PATIENCE)
            assert process.exitcode is not None, "the child does not end"
        finally:
            process.kill()
            process.join()


def _work(work: Callable[..., None], config: dict[str, str], line: Connection, *arguments: object) -> None:
    work(build("child", config), line, *arguments)


def stuck(storage: Storage, line: Connection) -> None:
    """Says its key when it has read two thirds of an object, and goes no further."""
    data = content(9 * BLOCK)

    class Saying(Gate):
        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell() >= 6 * BLOCK:
                line.send(key)
                line.recv()
            return super().read(size)

    source = source_of(data)
    key = new_key(source.sha256)
    storage.put(key, replace(source, opener=lambda: Saying(data, len(data))))


def first(storage: Storage, line: Connection) -> None:
    """Stores one small object as soon as it is told to, and says its key."""
    source = source_of(content(5))
    key = new_key(source.sha256)
    line.send("ready")
    line.recv()
    storage.put(key, source)
    line.send(key)


def mark(storage: Storage, line: Connection, whose: bytes) -> None:
    """Puts the marker as soon as it is told to, and says whether it could."""
    line.send("ready")
    line.recv()
    try:
        storage.put(MARKER, source_of(whose))
    except StorageRefused:
        line.send(False)
    else:
        line.send(True)


def memory(storage: Storage, line: Connection, size: int) -> None:
    """Says by how many bytes storing and reading a large object raised the process's peak of memory."""
    storage.probe()
    source = endless_source(size)
    key = new_key(source.sha256)
    stored = _grown(lambda: storage.put(key, source))
    read = _grown(lambda: drain(Source(source.size, source.sha256, lambda: storage.open(key))))
    line.send((stored, read))


def _grown(work: Callable[[], None]) -> int:
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = _peak()
    work()
    return _peak() - before


def _peak() -> int:
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) << 10
