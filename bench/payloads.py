"""The bytes that travel. No two stores of a run carry the same: the drive would notice and keep them once."""

import hashlib
import os
from base64 import b64encode
from pathlib import Path

_MARK = 24  # bytes that differ: a multiple of three, so that base64 of the rest is the same every time


def _mark(tag: str) -> bytes:
    return hashlib.sha256(tag.encode()).digest()[:_MARK]


class Payload:
    """Content of one size: a mark made from a tag, and a random rest that is encoded once."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._rest = os.urandom(size - _MARK)
        self._rest_base64 = b64encode(self._rest)

    def raw(self, tag: str) -> bytes:
        return _mark(tag) + self._rest

    def document(self, id: str, tag: str) -> bytes:
        """The body of POST /v1/blobs."""
        return b'{"id":"%s","data":"%s%s"}' % (id.encode(), b64encode(_mark(tag)), self._rest_base64)


class BigFile:
    """Content of many MiB in a file. What is sent is `mark(tag)` and the file from `offset` on."""

    offset = _MARK

    def __init__(self, path: Path, mib: int) -> None:
        self.path, self.size = path, mib << 20
        with path.open("wb") as file:
            for _ in range(mib):
                file.write(os.urandom(1 << 20))

    def mark(self, tag: str) -> bytes:
        return _mark(tag)

    def sha256(self, tag: str) -> str:
        """Of what is sent."""
        digest = hashlib.sha256(_mark(tag))
        with self.path.open("rb") as file:
            file.seek(self.offset)
            while data := file.read(1 << 20):
                digest.update(data)
        return digest.hexdigest()
