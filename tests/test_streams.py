"""Pieces, the verifying reader, and staging."""

import errno
import fcntl
import hashlib
import io
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import xxhash

from simpledrive.errors import (
    BadRequest,
    DigestMismatch,
    IntegrityFault,
    StagingFull,
    TooLarge,
    TruncatedBody,
)
from simpledrive.streams import pieces
from simpledrive.streams.ahead import WORTH_A_THREAD, ReadAhead, blocks_of, drain
from simpledrive.streams.pieces import LEAF, SUM_BYTES, Pieces, Summing
from simpledrive.streams.source import BLOCK, Source, VerifyingReader
from simpledrive.streams.staging import Incoming, Staging
from tests.servers import wait_for
from tests.sources import Gate, Portions, Raising, content, read_whole, source_of
from tests.test_local_storage import no_room_for


def pieces_of(data: bytes, portion: int = BLOCK) -> Pieces:
    summing = Summing()
    for at in range(0, len(data), portion):
        summing.update(data[at : at + portion])
    return summing.pieces()


def piece(of: Pieces, data: bytes, at: int) -> bytes:
    return data[at : at + of.length]


# pieces


@pytest.mark.parametrize("size", [0, 1, LEAF - 1, LEAF, LEAF + 1, 3 * LEAF, 3 * LEAF + 7])
def test_a_piece_is_an_xxh3_of_256_kib(size: int) -> None:
    data = content(size)
    made = pieces_of(data)
    leaves = [data[at : at + LEAF] for at in range(0, size, LEAF)]
    assert made == Pieces(size, b"".join(xxhash.xxh3_64_digest(leaf) for leaf in leaves))
    assert made.length == LEAF


@pytest.mark.parametrize("portion", [1, 1000, LEAF - 1, LEAF, LEAF + 1, 10 * LEAF])
def test_portions_do_not_change_the_sums(portion: int) -> None:
    data = content(LEAF + 5 if portion == 1 else 3 * LEAF + 5)
    assert pieces_of(data, portion) == pieces_of(data)


@pytest.mark.parametrize("limit", [pieces.MAX_PIECES, 2, 4])
@pytest.mark.parametrize("leaves", [1, 2, 3, 4, 5, 7, 8, 9, 16, 17])
@pytest.mark.parametrize("more", [-1, 0])
def test_each_piece_alone_shows_a_flipped_bit(
    monkeypatch: pytest.MonkeyPatch, limit: int, leaves: int, more: int
) -> None:
    monkeypatch.setattr(pieces, "MAX_PIECES", limit)
    data = content(leaves * LEAF + more)
    made = pieces_of(data)
    count = -(-len(data) // made.length)
    assert count <= limit
    assert len(made.sums) == count * SUM_BYTES
    for at in range(0, len(data), made.length):
        right = piece(made, data, at)
        assert made.sound(at, right)
        assert not made.sound(at, right[:-1])
        assert not made.sound(at, right + b"\0")
        for wrong in {0, len(right) // 2, len(right) - 1}:
            flipped = bytearray(right)
            flipped[wrong] ^= 1
            assert not made.sound(at, bytes(flipped))


def test_pieces_in_each_others_place_are_not_sound() -> None:
    data = content(3 * LEAF)
    made = pieces_of(data)
    assert not made.sound(0, piece(made, data, LEAF))


def test_around_covers_a_range_with_whole_pieces() -> None:
    made = pieces_of(content(3 * LEAF + 7))
    end = 3 * LEAF + 7
    assert made.around(0, 1) == (0, LEAF)
    assert made.around(LEAF - 1, LEAF + 1) == (0, 2 * LEAF)
    assert made.around(LEAF, 2 * LEAF) == (LEAF, 2 * LEAF)
    assert made.around(3 * LEAF, end) == (3 * LEAF, end)
    assert made.around(0, end + 5) == (0, end)
    for start, stop in ((5, 5), (6, 5), (end, end + 1), (end + LEAF, end + 2 * LEAF)):
        beginning, ending = made.around(start, stop)
        assert beginning == ending, "nothing is there"


# the verifying reader


@pytest.mark.parametrize("portion", [1, 7, 4096, BLOCK])
@pytest.mark.parametrize("size", [0, 1, 5000])
def test_right_bytes_pass(size: int, portion: int) -> None:
    source = source_of(content(size))
    assert read_whole(source.open(), portion) == content(size)
    assert source.open().read() == content(size)
    drain(source)


@pytest.mark.parametrize("portion", [1, 7, 4096, BLOCK])
@pytest.mark.parametrize(
    "wrong",
    [b"", b"abcde", b"abcdefg", b"abcdeF", b"Abcdef", b"fedcba"],
    ids=lambda wrong: wrong.decode() or "nothing",
)
def test_who_reads_wrong_bytes_never_gets_the_last_portion(wrong: bytes, portion: int) -> None:
    reader = VerifyingReader(io.BytesIO(wrong), 6, hashlib.sha256(b"abcdef").hexdigest())
    got = b""
    with pytest.raises(IntegrityFault):  # noqa: PT012 (which read raises depends on the portions)
        while data := reader.read(portion):
            got += data
    reader.close()
    assert len(got) < 6


def test_a_reader_that_gives_more_than_asked_for_is_not_trusted() -> None:
    class Generous(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return super().read()

    reader = VerifyingReader(Generous(b"abcdef"), 3, hashlib.sha256(b"abc").hexdigest())
    with pytest.raises(IntegrityFault):
        reader.read(3)


def test_reading_nothing_verifies_nothing() -> None:
    with source_of(b"abc").open() as reader:
        assert reader.read(0) == b""
        assert reader.read(9) == b"abc"
        assert reader.read(9) == b""


@pytest.mark.parametrize("size", [3, WORTH_A_THREAD + 5])
def test_draining_wrong_bytes_raises(size: int) -> None:
    data = content(size)
    right = source_of(data)
    drain(right)
    for wrong in (data[:-1], data + b"x", data[:-1] + bytes([data[-1] ^ 1])):
        reader = io.BytesIO(wrong)
        with pytest.raises(IntegrityFault):
            drain(Source(size, right.sha256, lambda reader=reader: reader))
        assert reader.closed


# staging


@pytest.fixture
def staging(tmp_path: Path) -> Staging:
    return Staging(tmp_path / "staging", memory=1000)


def parts(tmp_path: Path) -> list[Path]:
    return list((tmp_path / "staging").glob("*"))


@pytest.mark.parametrize("size", [0, 1, 1000, 1001, 3 * BLOCK + 5])
def test_what_arrives_is_counted_hashed_and_summed(staging: Staging, tmp_path: Path, size: int) -> None:
    data = content(size)
    digests = {"md5": hashlib.md5(data).digest(), "sha256": hashlib.sha256(data).digest()}
    with staging.receive(Incoming(Portions(data), size, digests, limit=size)) as staged:
        assert (staged.size, staged.sha256) == (size, hashlib.sha256(data).hexdigest())
        assert staged.pieces == pieces_of(data)
        for _ in range(2):
            assert read_whole(staged.source.open()) == data
        assert len(parts(tmp_path)) == (size > 1000)
        assert (staged.source.path is not None) == (size > 1000)
        if staged.source.path:
            assert staged.source.path.read_bytes() == data
            assert staged.source.path.stat().st_mode & 0o777 == 0o600
    assert parts(tmp_path) == []
    staged.close()


@pytest.mark.parametrize("size", [10, 5000])
def test_a_body_that_is_not_what_was_announced_leaves_nothing(
    staging: Staging, tmp_path: Path, size: int
) -> None:
    data = content(size)
    broken = ConnectionResetError()
    for incoming, kind in (
        (Incoming(io.BytesIO(data), size + 1), TruncatedBody),
        (Incoming(io.BytesIO(data), size - 1), BadRequest),
        (Incoming(io.BytesIO(data), size, {"md5": b"0" * 16}), DigestMismatch),
        (Incoming(io.BytesIO(data), size, {"sha256": b"0" * 32}), DigestMismatch),
        (Incoming(io.BytesIO(data), limit=size - 1), TooLarge),
        (Incoming(Raising(data, 0, AssertionError("was read")), size, limit=size - 1), TooLarge),
        (Incoming(Raising(data, size // 2, broken), size), ConnectionResetError),
    ):
        with pytest.raises(kind):
            staging.receive(incoming)
        assert parts(tmp_path) == []


def test_an_arrival_takes_no_byte_past_its_limit(staging: Staging, tmp_path: Path) -> None:
    arrival = staging.begin(limit=2000)
    assert arrival.write(b"x" * 2000) == 2000
    with pytest.raises(TooLarge):
        arrival.write(b"x")
    arrival.close()
    assert parts(tmp_path) == []


def test_closing_an_arrival_does_not_touch_what_it_became(staging: Staging) -> None:
    arrival = staging.begin()
    arrival.write(b"x" * 2000)
    with arrival.finish() as staged:
        arrival.close()
        assert read_whole(staged.source.open()) == b"x" * 2000


def test_no_room_is_staging_full_and_leaves_nothing(staging: Staging, tmp_path: Path) -> None:
    with no_room_for(BLOCK), pytest.raises(StagingFull, match="no room"):
        staging.receive(Incoming(io.BytesIO(content(3 * BLOCK))))
    assert parts(tmp_path) == []


@pytest.mark.parametrize(
    ("number", "says"), [(errno.ENOSPC, "no room"), (errno.EDQUOT, "no room"), (errno.EIO, "cannot be")]
)
def test_a_disk_that_fails_is_staging_full(
    staging: Staging, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, says: str
) -> None:
    def write(*_: object) -> int:
        raise OSError(number, os.strerror(number), str(tmp_path))

    monkeypatch.setattr(os, "write", write)
    with pytest.raises(StagingFull, match=says) as caught:
        staging.receive(Incoming(io.BytesIO(content(5000))))
    monkeypatch.undo()
    assert str(tmp_path) not in str(caught.value)
    assert parts(tmp_path) == []


def test_a_folder_that_cannot_be_made_is_staging_full(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StagingFull):
        Staging(tmp_path / "file" / "staging", memory=0).receive(Incoming(io.BytesIO(b"abc")))


def test_cleaning_removes_files_of_dead_processes_only(staging: Staging, tmp_path: Path) -> None:
    assert staging.clean() == 0
    arrival = staging.begin()
    arrival.write(b"x" * 2000)
    staged = staging.receive(Incoming(io.BytesIO(b"y" * 2000)))
    child = subprocess.run(
        [sys.executable, "-c", DIES_WHILE_RECEIVING, str(tmp_path / "staging")],
        env={"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        check=False,
    )
    assert child.returncode == -9
    (tmp_path / "staging" / "somebody's").write_bytes(b"")
    assert len(parts(tmp_path)) == 4
    assert staging.clean() == 1
    assert staging.clean() == 0
    assert read_whole(staged.source.open()) == b"y" * 2000
    staged.close()
    arrival.write(b"x")
    assert read_whole(arrival.finish().source.open()) == b"x" * 2001


DIES_WHILE_RECEIVING = """
import os, signal, sys
from pathlib import Path
from simpledrive.streams.staging import Staging
Staging(Path(sys.argv[1]), memory=10).begin().write(b"z" * 100)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_file_that_is_cleaned_before_it_is_locked_is_made_again(
    staging: Staging, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, taken = fcntl.flock, []

    def flock(file: int, how: int) -> None:
        if not taken:
            taken.extend(parts(tmp_path))
            taken[0].unlink()
        real(file, how)

    monkeypatch.setattr(fcntl, "flock", flock)
    with staging.receive(Incoming(io.BytesIO(content(5000)))) as staged:
        assert len(taken) == 1
        assert read_whole(staged.source.open()) == content(5000)


def test_cleaning_touches_nothing_that_is_not_ours(tmp_path: Path) -> None:
    foreign = tmp_path / "Ubuntu.iso.part"
    foreign.write_bytes(b"somebody's download")
    (tmp_path / f"{'a' * 32}.part").mkdir()
    dead = tmp_path / f"{'b' * 32}.part"
    dead.write_bytes(b"left by a dead process")
    assert Staging(tmp_path).clean() == 1
    assert foreign.exists()
    assert not dead.exists()


# reading ahead


@pytest.mark.parametrize("size", [0, 5, WORTH_A_THREAD - 1, WORTH_A_THREAD, WORTH_A_THREAD + 5])
def test_a_source_is_handed_over_block_by_block(size: int) -> None:
    with blocks_of(source_of(content(size))) as next_block:
        assert b"".join(iter(next_block, b"")) == content(size)


def test_reading_ahead_stops_two_blocks_further_on() -> None:
    reader = io.BytesIO(content(9 * BLOCK))
    with ReadAhead(reader) as ahead:
        assert ahead.read() == content(9 * BLOCK)[:BLOCK]
        wait_for(lambda: reader.tell() == 4 * BLOCK, "the blocks that fit")
    assert reader.closed
    assert not any(thread.name == "read-ahead" for thread in threading.enumerate())


@pytest.mark.parametrize("error", [OSError("no"), KeyboardInterrupt()])
def test_what_a_reader_raises_comes_behind_the_blocks_before_it(error: BaseException) -> None:
    data = content(2 * BLOCK)
    with ReadAhead(Raising(data, 2 * BLOCK, error)) as ahead:
        assert ahead.read() + ahead.read() == data
        with pytest.raises(type(error)) as caught:
            ahead.read()
    assert caught.value is error


def test_closing_waits_for_the_read_that_goes_on() -> None:
    gate = Gate(content(9 * BLOCK), BLOCK)
    ahead = ReadAhead(gate)
    assert gate.reached.wait(30)
    closing = threading.Thread(target=ahead.close)
    closing.start()
    assert not gate.closed
    gate.opened.set()
    closing.join(30)
    assert gate.closed
