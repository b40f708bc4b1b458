"""Bytes that were altered behind the drive's back: the reader never gets a complete wrong answer."""

from collections.abc import Callable
from contextlib import suppress

import pytest
import requests
from flask import Flask

from simpledrive.errors import IntegrityFault, StorageError, StorageUnavailable
from simpledrive.parts import Parts
from simpledrive.rights import SERVER
from tests.apps import BEARER, settings_for
from tests.drives import PIECE, check, cut, fetch, flip, keep, lose, replicas, trust_no_more
from tests.servers import Server, wait_for
from tests.sources import content

DATA = content(3 * (1 << 20) + 5)
LATE = (1 << 20) + PIECE + 17
"""A byte in the sixth piece."""

HARMS: dict[str, Callable[[Parts, str], None]] = {
    "a flipped bit in the first piece": lambda parts, backend: flip(parts, DATA, backend, 5),
    "a flipped bit later": lambda parts, backend: flip(parts, DATA, backend, LATE),
    "a flipped bit in the last piece": lambda parts, backend: flip(parts, DATA, backend, len(DATA) - 1),
    "cut short": lambda parts, backend: cut(parts, DATA, backend, LATE),
    "cut to nothing": lambda parts, backend: cut(parts, DATA, backend, 0),
    "gone": lambda parts, backend: lose(parts, DATA, backend),
}
EARLY = {"a flipped bit in the first piece", "cut to nothing", "gone"}
BACKENDS = ("local", "database")

harmed = pytest.mark.parametrize("harm", HARMS)
on_each = pytest.mark.parametrize("backend", BACKENDS)


@harmed
@on_each
def test_the_reader_gets_an_error_and_never_a_wrong_byte(
    parts: Parts, backend: str, harm: str, caplog: pytest.LogCaptureFixture
) -> None:
    keep(parts, "a", DATA, backend)
    HARMS[harm](parts, backend)
    blob, got = parts.drive.describe(SERVER, "a"), b""
    try:
        for portion in parts.drive.read(SERVER, blob):
            got += portion
    except IntegrityFault:
        assert len(got) < len(DATA)
    else:
        pytest.fail("the transfer ended as if it were complete")
    assert DATA.startswith(got)
    assert (got == b"") is (harm in EARLY)
    assert f"on {backend} " in caplog.text
    assert blob.sha256 in caplog.text
    (row,) = replicas(parts)
    assert row.bad_at is not None


@harmed
@on_each
def test_storing_the_same_bytes_again_heals_them(parts: Parts, backend: str, harm: str) -> None:
    keep(parts, "a", DATA, backend)
    HARMS[harm](parts, backend)
    with pytest.raises(IntegrityFault):
        fetch(parts, "a")
    keep(parts, "b", DATA, backend)
    assert fetch(parts, "a") == fetch(parts, "b") == DATA
    check(parts)


@harmed
@on_each
def test_a_second_sound_replica_is_used_unnoticed(
    parts: Parts, backend: str, harm: str, caplog: pytest.LogCaptureFixture
) -> None:
    for id, home in zip("ab", BACKENDS, strict=True):
        keep(parts, id, DATA, home)
    HARMS[harm](parts, backend)
    for id in "ab":
        assert fetch(parts, id) == DATA
        for start in (0, 5, LATE - 1, LATE, LATE + 1, len(DATA) - 1):
            assert fetch(parts, id, start, start + 1) == DATA[start : start + 1]
        assert fetch(parts, id, 3, LATE + PIECE) == DATA[3 : LATE + PIECE]
    assert [row.storage_backend for row in replicas(parts) if row.bad_at] == [backend]
    assert f"on {backend} is bad" in caplog.text


def test_two_replicas_with_different_wrong_pieces_make_one_right_answer(parts: Parts) -> None:
    for id, home in zip("ab", BACKENDS, strict=True):
        keep(parts, id, DATA, home)
    for at in (LATE, len(DATA) - 1):
        flip(parts, DATA, "local", at)
    for at in (5, LATE + 2 * PIECE):
        flip(parts, DATA, "database", at)
    assert fetch(parts, "a") == fetch(parts, "b") == DATA
    flip(parts, DATA, "database", LATE)
    with pytest.raises(IntegrityFault):
        fetch(parts, "a")


def test_a_range_of_sound_pieces_is_read_from_a_file_that_is_wrong_elsewhere(parts: Parts) -> None:
    keep(parts, "a", DATA)
    flip(parts, DATA, "local", LATE)
    assert fetch(parts, "a", 0, PIECE) == DATA[:PIECE]
    assert fetch(parts, "a", LATE + PIECE) == DATA[LATE + PIECE :]
    with pytest.raises(IntegrityFault):
        fetch(parts, "a", LATE - 5, LATE - 4)


def test_a_replica_that_was_marked_bad_by_mistake_is_read_when_it_is_all_there_is(parts: Parts) -> None:
    keep(parts, "a", DATA)
    trust_no_more(parts, DATA, "local")
    assert fetch(parts, "a") == DATA


def test_a_backend_that_does_not_answer_has_not_lost_anything(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(parts, "a", DATA)

    def down(*_: object) -> None:
        raise StorageUnavailable("local", "open", "no answer")

    with monkeypatch.context() as patch:
        patch.setattr(parts.backends.use("local"), "open", down)
        with pytest.raises(StorageUnavailable):
            fetch(parts, "a")
        keep(parts, "b", DATA, "database")
        assert fetch(parts, "a") == DATA
    assert [row.bad_at for row in replicas(parts)] == [None, None]


def test_a_transfer_that_breaks_goes_on_where_it_was(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    """One replica, on a storage that gives up after each MiB: it is asked again while it gets further."""
    keep(parts, "a", DATA)
    storage = parts.backends.use("local")
    opened = storage.open

    class Breaking:
        def __init__(self, reader) -> None:
            self._reader, self._left = reader, 1 << 20

        def read(self, size: int, /) -> bytes:
            if not self._left:
                raise StorageUnavailable("local", "read", "the connection broke")
            data = self._reader.read(min(size, self._left))
            self._left -= len(data)
            return data

        def close(self) -> None:
            self._reader.close()

    monkeypatch.setattr(storage, "open", lambda *arguments: Breaking(opened(*arguments)))
    assert fetch(parts, "a") == DATA


def test_a_replica_that_broke_off_and_then_turned_out_wrong_is_a_fault(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(parts, "a", DATA)
    flip(parts, DATA, "local", LATE)
    storage = parts.backends.use("local")
    opened, calls = storage.open, []

    def breaks_off_once(key: str, start: int = 0, stop: int | None = None):
        calls.append(start)
        if len(calls) == 1:
            raise StorageUnavailable("local", "open", "no answer")
        return opened(key, start, stop)

    keep(parts, "b", DATA, "database")
    flip(parts, DATA, "database", LATE)
    monkeypatch.setattr(storage, "open", breaks_off_once)
    with pytest.raises(IntegrityFault):
        fetch(parts, "a")


def test_an_unmounted_disk_marks_nothing_bad(parts: Parts) -> None:
    keep(parts, "a", DATA)
    base = parts.settings.local_storage_path
    base.rename(base.with_name("elsewhere"))
    base.mkdir()
    with pytest.raises(StorageError, match="marker is missing"):
        fetch(parts, "a")
    assert replicas(parts)[0].bad_at is None
    base.rmdir()
    base.with_name("elsewhere").rename(base)
    assert fetch(parts, "a") == DATA


class TestOverHTTP:
    """Through gunicorn, as a client sees it."""

    @pytest.fixture
    def behind(self, server: Server, make_app: Callable[..., Flask]) -> Parts:
        """The parts of the drive that the server serves."""
        settings = settings_for(server.folder)
        assert settings.instance_path == server.folder / "instance"
        return make_app().extensions["simpledrive"]

    @on_each
    def test_what_goes_wrong_at_once_is_an_integrity_fault(
        self, server: Server, behind: Parts, backend: str
    ) -> None:
        keep(behind, "a", DATA, backend)
        flip(behind, DATA, backend, 5)
        for path, headers in (
            ("/v1/content/a", {}),
            ("/v1/content/a", {"Range": "bytes=0-9"}),
            ("/v1/blobs/a", {}),
        ):
            answer = requests.get(server.url + path, headers=BEARER | headers, timeout=30)
            assert (answer.status_code, answer.json()["type"]) == (500, "/problems/integrity-fault")
        assert f"on {backend} is bad at byte 0" in server.output()

    @on_each
    def test_what_goes_wrong_later_cuts_the_connection(
        self, server: Server, behind: Parts, backend: str
    ) -> None:
        keep(behind, "a", DATA, backend)
        flip(behind, DATA, backend, LATE)
        for path, headers in (
            ("/v1/content/a", {}),
            ("/v1/content/a", {"Range": f"bytes=5-{len(DATA) - 5}"}),
            ("/v1/blobs/a", {}),
        ):
            with requests.get(server.url + path, headers=BEARER | headers, timeout=30, stream=True) as answer:
                assert answer.ok
                got = b""
                with suppress(requests.exceptions.ChunkedEncodingError, requests.ConnectionError):
                    for portion in answer.iter_content(1000):
                        got += portion
                assert len(got) < int(answer.headers["Content-Length"])
                if path == "/v1/content/a":
                    assert got in DATA
        wait_for(lambda: f"on {backend} is bad at byte" in server.output(), "the log")

    def test_a_sound_replica_elsewhere_is_used(self, server: Server, behind: Parts) -> None:
        for id, home in zip("ab", BACKENDS, strict=True):
            keep(behind, id, DATA, home)
        flip(behind, DATA, "local", LATE)
        assert requests.get(f"{server.url}/v1/content/a", headers=BEARER, timeout=30).content == DATA
