"""What networks and servers do to a bucket's storage: the right bytes come out, or a clear error in time."""

import logging
import time
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from simpledrive.errors import IntegrityFault, ObjectMissing, StorageRefused, StorageUnavailable
from simpledrive.storage.base import Storage, new_key
from simpledrive.storage.registry import build
from simpledrive.storage.s3 import ahead, client
from simpledrive.storage.s3.faults import Passing
from simpledrive.storage.s3.stream import RESUMPTIONS
from simpledrive.streams.ahead import drain
from simpledrive.streams.source import BLOCK, Source
from tests.contract import is_there, put, tomorrow
from tests.faulty_proxy import Answered, Closed, Corrupted, Fault, FaultyProxy, Reset, Slowed, Stalled
from tests.servers import wait_for
from tests.sources import Raising, content, read_whole, source_of
from tests.strict_s3 import StrictS3

TIMEOUT, STALLED = 20, 0.4
"""Seconds that a server may say nothing, in general and where it does."""
IN_TIME = 8
"""What a busy machine takes for an error, all repetitions included."""
ATTEMPTS = 1 + len(client.PAUSES)
DATA = content(3 * BLOCK + 5)
LARGE = content(14 * BLOCK)
ENOUGH_FOR_EVERY_BUFFER = content(40 * BLOCK)

SLOW_DOWN = b"<Error><Code>SlowDown</Code><Message>Reduce your request rate.</Message></Error>"
BUSY = (
    b"HTTP/1.1 503 Slow Down\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(SLOW_DOWN) + SLOW_DOWN
)
STORED = b'HTTP/1.1 200 OK\r\nConnection: close\r\nETag: "stored"\r\nContent-Length: 0\r\n\r\n'


@pytest.fixture
def make_storage(
    strict_s3: StrictS3,
    s3_proxy: FaultyProxy,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Callable[[float], Storage]]:
    """Makes backends behind the proxy, with a timeout. In the end nothing secret is in the log."""
    monkeypatch.setattr(client, "PAUSES", (0.01,) * 4)
    caplog.set_level(logging.DEBUG)
    config = strict_s3.config(
        endpoint_url=f"http://127.0.0.1:{s3_proxy.port}",
        multipart_size="8MiB",
        part_size="6MiB",
        parts_at_once="2",
    )
    made = []

    def make(timeout: float) -> Storage:
        made.append(build("far", config | {"timeout": str(timeout)}))
        return made[-1]

    yield make
    for storage in made:
        storage.close()
    for record in caplog.records:
        assert strict_s3.account.secret_key not in record.getMessage()
        assert "Signature=" not in record.getMessage()


@pytest.fixture
def storage(make_storage: Callable[[float], Storage]) -> Storage:
    return make_storage(TIMEOUT)


@pytest.fixture
def impatient(make_storage: Callable[[float], Storage]) -> Storage:
    """A backend for a server that stalls."""
    return make_storage(STALLED)


def methods(server: StrictS3) -> list[str]:
    return [asked.method for asked in server.seen]


def fails_in_time(storage: Storage, data: bytes) -> StorageUnavailable:
    began = time.monotonic()
    with pytest.raises(StorageUnavailable) as caught:
        put(storage, data)
    assert time.monotonic() - began < IN_TIME
    return caught.value


def test_a_refused_connection_is_an_error_in_time(storage: Storage, s3_proxy: FaultyProxy) -> None:
    s3_proxy.refuse()
    assert "far: put: connection refused" in str(fails_in_time(storage, DATA))


@pytest.mark.parametrize("up", [0, 100, 700_000, 3_000_000])
@pytest.mark.parametrize("fault", [Reset, Closed])
def test_an_upload_that_breaks_is_repeated(
    storage: Storage, s3_proxy: FaultyProxy, fault: type[Fault], up: int
) -> None:
    s3_proxy.expect(fault(when=b"PUT /", up=up))
    assert read_whole(storage.open(put(storage, DATA))) == DATA
    assert s3_proxy.happened == 1


def test_an_upload_that_breaks_again_and_again_stores_nothing(
    storage: Storage, s3_proxy: FaultyProxy, strict_s3: StrictS3
) -> None:
    s3_proxy.expect(*[Reset(when=b"PUT /", up=700_000)] * ATTEMPTS)
    fails_in_time(storage, DATA)
    assert s3_proxy.happened == ATTEMPTS
    assert strict_s3.objects == {}


@pytest.mark.parametrize("down", [0, 100, 700_000, 3_000_000])
@pytest.mark.parametrize("fault", [Reset, Closed])
def test_a_download_that_breaks_goes_on_where_it_was(
    storage: Storage, s3_proxy: FaultyProxy, strict_s3: StrictS3, fault: type[Fault], down: int
) -> None:
    key = put(storage, DATA)
    s3_proxy.expect(fault(when=b"GET /", down=down), fault(when=b"GET /", down=down))
    assert read_whole(storage.open(key)) == DATA
    s3_proxy.expect(fault(when=b"GET /", down=down))
    assert read_whole(storage.open(key, 5, len(DATA) - 5)) == DATA[5:-5]
    assert s3_proxy.happened >= 2


def test_a_download_that_gets_no_further_is_an_error(storage: Storage, s3_proxy: FaultyProxy) -> None:
    key = put(storage, ENOUGH_FOR_EVERY_BUFFER)
    reader = storage.open(key)
    s3_proxy.close_all()
    s3_proxy.expect(*[Reset(when=b"GET /", down=0)] * ATTEMPTS * (RESUMPTIONS + 1))
    with pytest.raises(StorageUnavailable, match="far: read: connection reset"):
        read_whole(reader)


def test_readers_that_are_closed_while_their_transfers_stall_are_waited_for_by_nobody(
    storage: Storage, s3_proxy: FaultyProxy, strict_s3: StrictS3
) -> None:
    """Their connections end at once, and so do the permits to read ahead come back."""
    began, key = time.monotonic(), put(storage, LARGE)
    for _ in range(2):
        readers = [storage.open(key) for _ in range(ahead.READERS_AHEAD)]
        s3_proxy.expect(*[Stalled(when=b"GET /", down=100_000)] * ahead.READERS_AHEAD * ahead.SEGMENTS_AHEAD)
        for reader in readers:
            assert len(reader.read(ahead.CASUAL)) == ahead.CASUAL
            assert reader.read(1)
        wait_for(lambda: not s3_proxy.expected, "every fetch to stall")
        for reader in readers:
            reader.close()
        assert read_whole(storage.open(key)) == LARGE
        wait_for(partial(reads_ahead, storage, strict_s3, key), "a permit to come back")
    assert time.monotonic() - began < IN_TIME


def reads_ahead(storage: Storage, server: StrictS3, key: str) -> bool:
    server.seen.clear()
    storage.open(key).close()
    return "range" in server.seen[0].headers


@pytest.mark.parametrize("digits", [19, 5000])
def test_a_size_of_thousands_of_digits_is_no_size(
    storage: Storage, s3_proxy: FaultyProxy, digits: int
) -> None:
    reply = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: " + b"9" * digits + b"\r\n\r\n"
    s3_proxy.expect(*[Answered(when=b"HEAD /", reply=reply)] * ATTEMPTS)
    with pytest.raises(StorageUnavailable, match="does not say how large the object is"):
        storage.size(new_key("ab" * 32))


def test_a_download_whose_object_is_gone_when_it_goes_on_says_so(
    storage: Storage, s3_proxy: FaultyProxy, strict_s3: StrictS3
) -> None:
    key = put(storage, ENOUGH_FOR_EVERY_BUFFER)
    reader = storage.open(key)
    s3_proxy.close_all()
    strict_s3.objects.clear()
    with pytest.raises(ObjectMissing):
        read_whole(reader)


@pytest.mark.parametrize("data", [DATA, LARGE, ENOUGH_FOR_EVERY_BUFFER], ids=["small", "parts", "many parts"])
def test_an_upload_that_stalls_is_an_error_in_time_and_waited_for_once(
    impatient: Storage, s3_proxy: FaultyProxy, strict_s3: StrictS3, data: bytes
) -> None:
    s3_proxy.expect(Stalled(when=b"PUT /", up=100_000))
    assert f"no answer within {STALLED} s" in str(fails_in_time(impatient, data))
    assert s3_proxy.happened == 1
    assert strict_s3.objects == {}
    assert "DELETE" not in methods(strict_s3)
    assert impatient.clean(tomorrow()) == (data is not DATA)
    assert strict_s3.uploads == {}


@pytest.mark.parametrize("down", [0, 100, 700_000])
def test_a_download_that_stalls_is_an_error_in_time(
    impatient: Storage, s3_proxy: FaultyProxy, down: int
) -> None:
    key = put(impatient, DATA)
    s3_proxy.expect(Stalled(when=b"GET /", down=down))
    began = time.monotonic()
    with pytest.raises(StorageUnavailable, match=f"no answer within {STALLED} s"):
        read_whole(impatient.open(key))
    assert time.monotonic() - began < IN_TIME


def test_a_slow_download_may_take_longer_than_the_timeout(impatient: Storage, s3_proxy: FaultyProxy) -> None:
    key = put(impatient, DATA)
    s3_proxy.expect(Slowed(when=b"GET /", step=len(DATA) // 60))
    began = time.monotonic()
    assert read_whole(impatient.open(key)) == DATA
    assert time.monotonic() - began > STALLED


@pytest.mark.parametrize("when", [b"HEAD /", b"GET /", b"PUT /", b"DELETE /"])
def test_an_answer_that_trickles_is_an_error_in_time(
    impatient: Storage, s3_proxy: FaultyProxy, when: bytes
) -> None:
    key = new_key("ab" * 32)
    calls: dict[bytes, Callable[[], object]] = {
        b"HEAD /": lambda: impatient.size(key),
        b"GET /": lambda: list(impatient.keys()),
        b"PUT /": lambda: put(impatient, b"abc"),
        b"DELETE /": lambda: impatient.delete(key),
    }
    s3_proxy.expect(Slowed(when=when))
    began = time.monotonic()
    with pytest.raises(StorageUnavailable, match=f"no answer within {STALLED} s"):
        calls[when]()
    assert time.monotonic() - began < IN_TIME


def test_a_put_whose_reply_was_lost_is_stored_once_more(
    storage: Storage, s3_proxy: FaultyProxy, strict_s3: StrictS3
) -> None:
    s3_proxy.expect(Reset(when=b"PUT /", down=0))
    key = put(storage, DATA)
    assert methods(strict_s3) == ["PUT", "PUT"]
    assert read_whole(storage.open(key)) == DATA


def test_a_deletion_whose_reply_was_lost_is_a_deletion(storage: Storage, s3_proxy: FaultyProxy) -> None:
    key = put(storage, DATA)
    s3_proxy.expect(Reset(when=b"DELETE /", down=0))
    storage.delete(key)
    assert not is_there(storage, key)


def test_an_upload_in_parts_whose_completion_was_lost_is_complete(
    storage: Storage, s3_proxy: FaultyProxy, strict_s3: StrictS3
) -> None:
    s3_proxy.expect(Reset(when=b"?uploadId=", down=0))
    key = put(storage, LARGE)
    assert s3_proxy.happened == 1
    assert methods(strict_s3).count("POST") == 3
    assert read_whole(storage.open(key)) == LARGE


def test_an_upload_that_was_begun_twice_leaves_what_cleaning_finds(
    storage: Storage, s3_proxy: FaultyProxy, strict_s3: StrictS3
) -> None:
    s3_proxy.expect(Reset(when=b"?uploads=", down=0))
    key = put(storage, LARGE)
    assert len(strict_s3.uploads) == 1
    assert storage.clean(tomorrow()) == 1
    assert strict_s3.uploads == {}
    assert read_whole(storage.open(key)) == LARGE


def test_a_part_that_breaks_is_repeated_alone(
    storage: Storage, s3_proxy: FaultyProxy, strict_s3: StrictS3
) -> None:
    s3_proxy.expect(Reset(when=b"partNumber=2", up=700_000))
    assert read_whole(storage.open(put(storage, LARGE))) == LARGE
    assert sum("partNumber=1" in asked.query for asked in strict_s3.seen) == 1


def test_parts_that_break_again_and_again_leave_nothing(
    storage: Storage, s3_proxy: FaultyProxy, strict_s3: StrictS3
) -> None:
    s3_proxy.expect(*[Reset(when=b"partNumber=3", up=700_000)] * ATTEMPTS)
    fails_in_time(storage, LARGE)
    assert strict_s3.objects == strict_s3.uploads == {}


def test_a_corrupted_download_is_never_taken_for_the_object(storage: Storage, s3_proxy: FaultyProxy) -> None:
    key, right = put(storage, DATA), source_of(DATA)
    s3_proxy.expect(Corrupted(when=b"GET /", down=1_000_000))
    with pytest.raises(IntegrityFault):
        drain(Source(right.size, right.sha256, lambda: storage.open(key)))
    drain(Source(right.size, right.sha256, lambda: storage.open(key)))


@pytest.mark.parametrize("data", [DATA[:100], DATA, LARGE], ids=["tiny", "small", "parts"])
def test_a_corrupted_upload_is_refused_and_repeated(
    storage: Storage, s3_proxy: FaultyProxy, data: bytes
) -> None:
    s3_proxy.expect(Corrupted(when=data[:16], up=50))
    assert read_whole(storage.open(put(storage, data))) == data
    assert s3_proxy.happened == 1


@pytest.mark.parametrize("when", [b"HEAD /", b"PUT /", b"GET /", b"DELETE /"])
def test_three_times_busy_and_then_served(storage: Storage, s3_proxy: FaultyProxy, when: bytes) -> None:
    s3_proxy.expect(*[Answered(when=when, reply=BUSY)] * 3)
    key = put(storage, DATA)
    assert storage.size(key) == len(DATA)
    assert read_whole(storage.open(key)) == DATA
    storage.delete(key)
    assert s3_proxy.happened == 3
    assert not is_there(storage, key)


def test_always_busy_is_an_error_that_says_so(storage: Storage, s3_proxy: FaultyProxy) -> None:
    s3_proxy.expect(*[Answered(when=b"PUT /", reply=BUSY)] * ATTEMPTS)
    assert "503 SlowDown: Reduce your request rate." in str(fails_in_time(storage, DATA))


@pytest.mark.parametrize("up", [0, 700_000])
def test_a_truncated_upload_that_is_acknowledged_is_an_error(
    storage: Storage, s3_proxy: FaultyProxy, strict_s3: StrictS3, up: int
) -> None:
    s3_proxy.expect(Answered(when=b"PUT /", up=up, reply=STORED))
    assert "the server acknowledged an object that is not there" in str(fails_in_time(storage, DATA))
    assert strict_s3.objects == {}


def test_a_truncated_part_that_is_acknowledged_is_an_error(
    storage: Storage, s3_proxy: FaultyProxy, strict_s3: StrictS3
) -> None:
    s3_proxy.expect(Answered(when=b"partNumber=2", up=700_000, reply=STORED))
    with pytest.raises(StorageRefused, match="InvalidPart"):
        put(storage, LARGE)
    assert strict_s3.objects == strict_s3.uploads == {}


@pytest.mark.parametrize("data", [DATA, LARGE], ids=["whole", "parts"])
def test_an_object_that_is_shorter_than_what_was_acknowledged_is_an_error_and_removed(
    storage: Storage, strict_s3: StrictS3, data: bytes
) -> None:
    strict_s3.loses = 3
    lost = 3 if data is DATA else 9
    with pytest.raises(
        StorageUnavailable, match=f"acknowledged {len(data)} bytes and holds {len(data) - lost}"
    ):
        put(storage, data)
    assert strict_s3.objects == {}


def test_idle_connections_that_were_closed_are_replaced(storage: Storage, s3_proxy: FaultyProxy) -> None:
    key = put(storage, DATA)
    assert storage.size(key) == len(DATA)
    assert s3_proxy.close_all() == 1, "one connection was used again and again"
    assert storage.size(key) == len(DATA)
    assert read_whole(storage.open(put(storage, DATA))) == DATA


@pytest.mark.parametrize("when", [b"HEAD /", b"PUT /", b"GET /", b"DELETE /"])
def test_a_connection_that_closes_just_as_it_is_used_is_replaced(
    storage: Storage, s3_proxy: FaultyProxy, when: bytes
) -> None:
    storage.probe()
    s3_proxy.expect(Closed(when=when, up=0))
    key = put(storage, DATA)
    assert storage.size(key) == len(DATA)
    assert read_whole(storage.open(key)) == DATA
    storage.delete(key)
    assert s3_proxy.happened == 1
    assert not is_there(storage, key)


def test_what_a_source_in_another_bucket_raises_is_not_repeated(
    storage: Storage, strict_s3: StrictS3
) -> None:
    error = Passing("elsewhere", "read", "the connection broke")
    source = source_of(DATA, partial(Raising, at=2 * BLOCK, error=error))
    with pytest.raises(Passing) as caught:
        storage.put(new_key(source.sha256), source)
    assert caught.value is error
    # The server may have to look at what it got, after we have gone.
    wait_for(lambda: methods(strict_s3) == ["PUT"], "the server to see the one request")


def test_the_same_bytes_are_stored_under_a_new_key_each_time(storage: Storage, s3_proxy: FaultyProxy) -> None:
    source = source_of(DATA)
    keys = [new_key(source.sha256) for _ in range(2)]
    for key in keys:
        s3_proxy.expect(Reset(when=b"PUT /", down=0))
        storage.put(key, source)
    assert list(storage.keys()) == sorted(keys)
