"""Bytes for the tests of storages: honest sources, and sources that break their word in each way there is."""

import hashlib
import io
import random
import threading
from collections.abc import Callable
from functools import cache

from simpledrive.streams.source import BLOCK, Reader, Source


@cache
def content(size: int, seed: int = 0) -> bytes:
    """Bytes that look random and are the same each time; others for another size or seed."""
    return random.Random(f"{size} {seed}").randbytes(size)


def source_of(data: bytes, reader: Callable[[bytes], Reader] = io.BytesIO) -> Source:
    return Source(len(data), hashlib.sha256(data).hexdigest(), lambda: reader(data))


class Portions(io.BytesIO):
    """Gives less than it was asked for: 1 byte, then 3, then 7, ... up to 64 KiB and again."""

    given = 0

    def read(self, size: int | None = -1, /) -> bytes:
        self.given = self.given % 65_521 * 2 + 1
        return super().read(self.given if size is None or size < 0 else min(size, self.given))


class Raising(io.BytesIO):
    """Raises `error` instead of the first byte behind `at`."""

    def __init__(self, data: bytes, at: int, error: BaseException) -> None:
        super().__init__(data[:at])
        self._error = error

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        if not data and size:
            raise self._error
        return data


class Gate(io.BytesIO):
    """Stops behind `at` bytes, says so by `reached`, and goes on when `opened` is set."""

    def __init__(self, data: bytes, at: int) -> None:
        super().__init__(data)
        self._at = at
        self.reached, self.opened = threading.Event(), threading.Event()

    def read(self, size: int | None = -1, /) -> bytes:
        if self.tell() >= self._at and not self.opened.is_set():
            self.reached.set()
            assert self.opened.wait(30), "nobody opened the gate"
        return super().read(size)


class Endless:
    """`size` bytes that nobody keeps: the same block again and again, each with its number in front."""

    def __init__(self, size: int) -> None:
        self._size, self._at = size, 0
        self._block = content(BLOCK)

    def read(self, size: int, /) -> bytes:
        number, offset = divmod(self._at, BLOCK)
        taken = min(size, BLOCK - offset, self._size - self._at)
        self._at += taken
        if offset == 0 and taken >= 8:
            return number.to_bytes(8) + self._block[8:taken]
        return (number.to_bytes(8) + self._block[8:])[offset : offset + taken]

    def close(self) -> None:
        pass


def endless_source(size: int) -> Source:
    digest, reader = hashlib.sha256(), Endless(size)
    while data := reader.read(BLOCK):
        digest.update(data)
    return Source(size, digest.hexdigest(), lambda: Endless(size))


def read_whole(reader: Reader, portion: int = BLOCK) -> bytes:
    """All that a reader gives, which is then closed. Never asks for more than `portion` at a time."""
    data = bytearray()
    try:
        while given := reader.read(portion):
            assert len(given) <= portion, "a reader gave more than it was asked for"
            data += given
    finally:
        reader.close()
    return bytes(data)
