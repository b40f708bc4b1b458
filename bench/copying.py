"""Copying files into one of the drive's storages and back, in a process of its own, as rclone's is.

Storing takes each file as the drive has it staged: its digest is known (the drive makes it while the bytes
arrive; here that is not timed), and is verified while it is stored. Fetching reads all bytes, checks each
piece by its fast sum, as the drive does that serves a blob, and hands them to nobody.
"""

import hashlib
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from figures import Verb
from servers import ROOT

sys.path.insert(0, str(ROOT))

from simpledrive.storage.base import new_key
from simpledrive.storage.registry import build
from simpledrive.streams.pieces import Pieces, Summing
from simpledrive.streams.source import Reader, Source


class Copier:
    """The other process, as seen from here."""

    def __init__(self, config: dict[str, str]) -> None:
        context = get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, config), daemon=True)
        self._process.start()

    def tree(self) -> list[int]:
        return [self._process.pid or 0]

    def know(self, folder: Path) -> None:
        """Reads what is in a folder, that it can be stored: digests are what it needs to know before."""
        self._ask("know", folder)

    def copy(self, verb: Verb, folder: Path, at_once: int) -> float:
        """Stores what is in a folder, or fetches what was last stored of it; how many seconds that took."""
        return self._ask(verb, folder, at_once)

    def forget(self, folder: Path) -> None:
        """Removes what was last stored of a folder."""
        self._ask("forget", folder)

    def stop(self) -> None:
        self._process.terminate()
        self._process.join()

    def _ask(self, *question: Any) -> Any:
        self._pipe.send(question)
        answer = self._pipe.recv()
        if isinstance(answer, BaseException):
            raise answer
        return answer


@dataclass
class _Stored:
    source: Source
    pieces: Pieces
    key: str = ""


class _Copying:
    def __init__(self, config: dict[str, str]) -> None:
        self._storage = build("bench", config)
        self._known: dict[Path, list[_Stored]] = {}

    def know(self, folder: Path) -> None:
        self._known[folder] = [_known(path) for path in sorted(folder.rglob("*")) if path.is_file()]

    def store(self, folder: Path, at_once: int) -> float:
        def one(file: _Stored) -> None:
            file.key = new_key(file.source.sha256)
            self._storage.put(file.key, file.source)

        return _timed(one, self._known[folder], at_once)

    def fetch(self, folder: Path, at_once: int) -> float:
        def one(file: _Stored) -> None:
            reader = self._storage.open(file.key, 0, file.source.size)
            try:
                _check(reader, file.pieces)
            finally:
                reader.close()

        return _timed(one, self._known[folder], at_once)

    def forget(self, folder: Path) -> None:
        _timed(lambda file: self._storage.delete(file.key), self._known[folder], 8)


def _known(path: Path) -> _Stored:
    data, sums = path.read_bytes(), Summing()
    sums.update(data)
    source = Source(len(data), hashlib.sha256(data).hexdigest(), lambda: path.open("rb"), path)
    return _Stored(source, sums.pieces())


def _check(reader: Reader, pieces: Pieces) -> None:
    """Reads all. Raises RuntimeError if these are other bytes."""
    for at in range(0, pieces.size, pieces.length):
        left = min(pieces.length, pieces.size - at)
        parts = []
        while left and (data := reader.read(left)):
            parts.append(data)
            left -= len(data)
        if not pieces.sound(at, b"".join(parts)):
            raise RuntimeError(f"the piece at byte {at} is wrong")


def _timed(work: Callable[[_Stored], None], files: Iterable[_Stored], at_once: int) -> float:
    started = time.perf_counter()
    with ThreadPoolExecutor(at_once) as pool:
        for _ in pool.map(work, files):
            pass
    return time.perf_counter() - started


def _serve(pipe: Connection, config: dict[str, str]) -> None:
    copying = _Copying(config)
    while True:
        call, *arguments = pipe.recv()
        try:
            answer = getattr(copying, call)(*arguments)
        except Exception as error:
            answer = RuntimeError(f"{type(error).__name__}: {error}")
        pipe.send(answer)
