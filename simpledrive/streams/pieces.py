"""The sums by which any range of a blob is checked before it is passed on."""

from dataclasses import dataclass

import xxhash

LEAF = 256 << 10
MAX_PIECES = 1 << 16
SUM_BYTES = 8


@dataclass(frozen=True)
class Pieces:
    """The sums by which any range of a blob can be checked alone.

    A piece is 256 KiB, its sum an xxh3 of 64 bits. A blob of more than 65,536 pieces has larger ones: the
    sums of neighbours are folded in pairs, so that they can be made in one pass without knowing the size.
    `sums` is 8 bytes a piece, in order. These sums find accidents; SHA-256 is what identifies bytes.
    """

    size: int
    sums: bytes

    @property
    def length(self) -> int:
        """Bytes in each piece but the last."""
        return LEAF << _folds(self.size)

    def around(self, start: int, stop: int) -> tuple[int, int]:
        """The byte range [from, to) of the whole pieces that cover what there is of [start, stop)."""
        if start >= min(stop, self.size):
            return start, start
        return start - start % self.length, min(self.size, -(-stop // self.length) * self.length)

    def sound(self, at: int, data: bytes) -> bool:
        """Whether `data` is the piece that begins at byte `at`."""
        if len(data) != min(self.length, self.size - at):
            return False
        index = at // self.length * SUM_BYTES
        sums = b"".join(xxhash.xxh3_64_digest(data[leaf : leaf + LEAF]) for leaf in range(0, len(data), LEAF))
        for _ in range(_folds(self.size)):
            sums = _fold(sums)
        return sums == self.sums[index : index + SUM_BYTES]


class Summing:
    """Makes the sums of pieces while bytes pass, in any portions."""

    def __init__(self) -> None:
        self._sums = bytearray()
        self._leaf = xxhash.xxh3_64()
        self._size = 0

    def update(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            taken = view[: LEAF - self._size % LEAF]
            self._leaf.update(taken)
            self._size += len(taken)
            view = view[len(taken) :]
            if self._size % LEAF == 0:
                self._close_leaf()

    def _close_leaf(self) -> None:
        self._sums += self._leaf.digest()
        self._leaf.reset()

    def pieces(self) -> Pieces:
        if self._size % LEAF:
            self._close_leaf()
        sums = bytes(self._sums)
        for _ in range(_folds(self._size)):
            sums = _fold(sums)
        return Pieces(self._size, sums)


def _fold(sums: bytes) -> bytes:
    """Half as many sums: each pair becomes the sum of both; an odd last one stays."""
    pair = 2 * SUM_BYTES
    return b"".join(
        xxhash.xxh3_64_digest(sums[at : at + pair]) if len(sums) - at >= pair else sums[at:]
        for at in range(0, len(sums), pair)
    )


def _folds(size: int) -> int:
    """How often the sums of a blob's leaves are folded, so that at most MAX_PIECES remain."""
    leaves = -(-size // LEAF)
    return max(0, (leaves - 1).bit_length() - (MAX_PIECES - 1).bit_length()) if leaves > MAX_PIECES else 0
