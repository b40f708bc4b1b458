"""What the machine can do without a server: the least work that stores and fetches the same bytes.

`plain` decodes, hashes and writes a file, and leaves it to the page cache. `durable` promises what the drive
promises when it answers 201: the file, its folder's entry and a row are on the disk.
"""

import hashlib
import json
import os
import resource
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import pybase64
from figures import Figures, Verb, percentile
from payloads import BigFile, Payload

BLOCK = 1 << 20
TABLE = "CREATE TABLE IF NOT EXISTS files (id TEXT PRIMARY KEY, size INT, sha256 TEXT)"
ROW = "INSERT OR REPLACE INTO files VALUES (?, ?, ?)"


class Floor:
    """Files in a folder, durable or not.

    Several at a time are threads of two processes, as in the servers.
    """

    def __init__(self, name: str, *, durable: bool) -> None:
        self.name, self.durable = name, durable

    def start(self, folder: Path) -> None:
        self.folder = folder
        if self.durable:
            self._connect().execute(TABLE)

    def stop(self) -> None:
        """There is nothing to stop."""

    def said(self) -> str:
        return ""

    def check(self, payload: Payload) -> None:
        """Its reading and writing is no more than what Python's own functions do."""

    def keep(self, payload: Payload, count: int) -> None:
        for number in range(count):
            (self.folder / f"kept{number}").write_bytes(payload.raw(f"kept{number}"))

    def rate(
        self, verb: Verb, payload: Payload, tag: str, kept: int, concurrency: int, seconds: float
    ) -> Figures | None:
        """Operations a second. Nothing where there is no difference between plain and durable."""
        if verb == "fetch" and self.durable:
            return None
        one = partial(self._fetch_one, kept) if verb == "fetch" else partial(self._store_one, payload, tag)
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        runs = _run(one, min(concurrency, 2), concurrency, seconds)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        latencies = [latency for took, _ in runs for latency in took]
        longest = max(seconds for _, seconds in runs)
        return Figures(
            rate=len(latencies) / longest,
            seconds=longest,
            cpu_seconds=after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
            requests=len(latencies),
            p50_ms=percentile(latencies, 0.50) * 1e3,
            p99_ms=percentile(latencies, 0.99) * 1e3,
        )

    def check_big(self, big: BigFile) -> None:
        """As `check`."""

    def transfer(self, verb: Verb, big: BigFile, tag: str) -> Figures | None:
        """Storing is a copy with SHA-256 on the way, fetching is reading with SHA-256."""
        if verb == "fetch" and self.durable:
            return None
        started, busy = time.perf_counter(), time.process_time()
        if verb == "store":
            self._copy(big.path, tag)
        else:
            digest = hashlib.sha256()
            with (self.folder / tag).open("rb", buffering=0) as file:
                while data := file.read(BLOCK):
                    digest.update(data)
        seconds = time.perf_counter() - started
        return Figures(big.size / 1e6 / seconds, seconds, time.process_time() - busy, 1)

    def _copy(self, source: Path, id: str) -> None:
        digest = hashlib.sha256()
        with source.open("rb", buffering=0) as ours, (self.folder / id).open("wb", buffering=0) as copy:
            while data := ours.read(BLOCK):
                digest.update(data)
                copy.write(data)
            self._settle(id, source.stat().st_size, digest.hexdigest(), copy.fileno())

    def _store_one(self, payload: Payload, tag: str, thread: str, number: int) -> None:
        id = f"{tag}-{thread}-{number}"
        data = pybase64.b64decode(json.loads(payload.document(id, id))["data"], validate=True)
        with (self.folder / id).open("wb", buffering=0) as file:
            file.write(data)
            self._settle(id, len(data), hashlib.sha256(data).hexdigest(), file.fileno())

    def _fetch_one(self, kept: int, thread: str, number: int) -> None:
        data = (self.folder / f"kept{number % kept}").read_bytes()
        document = json.dumps({"id": "x", "sha256": hashlib.sha256(data).hexdigest()}).encode()
        b"".join([document[:-1], b', "data": "', pybase64.b64encode(data), b'"}'])

    def _settle(self, id: str, size: int, sha256: str, file: int) -> None:
        """Makes it durable, if it is to be."""
        if not self.durable:
            return
        os.fsync(file)
        folder = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        # SQLite's own waiting is a sleep that grows: within a process, threads take turns instead.
        with _turn:
            self._connect().execute(ROW, (id, size, sha256))

    def _connect(self) -> sqlite3.Connection:
        """This thread's connection, each statement its own transaction."""
        if getattr(_own, "folder", None) != (os.getpid(), self.folder):
            path = self.folder.parent / f"{self.folder.name}.db"
            _own.connection = sqlite3.connect(path, timeout=60, isolation_level=None)
            _own.connection.execute("PRAGMA journal_mode = WAL")
            _own.connection.execute("PRAGMA synchronous = FULL")
            _own.folder = (os.getpid(), self.folder)
        return _own.connection


_own, _turn = threading.local(), threading.Lock()


def _run(
    work: Callable[..., None], processes: int, concurrency: int, seconds: float
) -> list[tuple[list[float], float]]:
    """Each thread's latencies, and how long it went on."""
    threads = concurrency // processes
    with ProcessPoolExecutor(processes, get_context("fork")) as pool:
        shares = [pool.submit(_share, work, process, threads, seconds) for process in range(processes)]
        return [run for share in shares for run in share.result()]


def _share(
    work: Callable[..., None], process: int, threads: int, seconds: float
) -> list[tuple[list[float], float]]:
    with ThreadPoolExecutor(threads) as pool:
        loops = [pool.submit(_loop, work, f"{process}.{thread}", seconds) for thread in range(threads)]
        return [loop.result() for loop in loops]


def _loop(work: Callable[..., None], name: str, seconds: float) -> tuple[list[float], float]:
    latencies: list[float] = []
    began = before = time.perf_counter()
    while before - began < seconds:
        work(name, len(latencies))
        now = time.perf_counter()
        latencies.append(now - before)
        before = now
    return latencies, before - began
