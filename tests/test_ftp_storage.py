"""What is particular to `ftp`: its folders, sessions that are used again, and what servers get wrong."""

import logging
import os
import shutil
import signal
import socket
import ssl
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from typing import Literal

import pytest

from simpledrive.errors import (
    ConfigurationError,
    IntegrityFault,
    ObjectMissing,
    StorageError,
    StorageFull,
    StorageRefused,
    StorageUnavailable,
)
from simpledrive.ids import uuid7
from simpledrive.storage import claims, taken
from simpledrive.storage.base import MARKER, Storage, new_key
from simpledrive.storage.ftp import connections, patience, protocol, transfers
from simpledrive.storage.registry import build
from simpledrive.streams.ahead import drain
from simpledrive.streams.source import BLOCK, Source
from tests.contract import LONG_AGO, half_put, is_there, put, read_whole, tomorrow
from tests.ftp_faults import DROP_SECONDS, DROPS, Break, Faults, FaultyFtp, What
from tests.ftp_servers import FtpServer
from tests.servers import children, wait_for
from tests.sources import content, source_of

LARGE = 24 * BLOCK
"""More than the buffers of the system hold, so that neither side is done before the other has noticed."""
TIMEOUT, STALLED = 20, 0.5
"""Seconds that a server may say nothing, in general and where it does."""
IN_TIME = 8
"""What a busy machine takes for an error, all repetitions included."""


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "PAUSES", (0.01, 0.02))
    monkeypatch.setattr(claims, "PAUSES", (0.01, 0.02))


@pytest.fixture
def proxy(pyftpdlib: FtpServer) -> Iterator[FaultyFtp]:
    with FaultyFtp(pyftpdlib.port) as proxy:
        yield proxy


@pytest.fixture
def config(pyftpdlib: FtpServer, proxy: FaultyFtp) -> dict[str, str]:
    return pyftpdlib.config(port=proxy.port, timeout=TIMEOUT, base_dir=f"base-{proxy.port}/drive")


@pytest.fixture
def storage(config: dict[str, str]) -> Iterator[Storage]:
    with closing(build("far", config)) as storage:
        yield storage


@pytest.fixture
def impatient(config: dict[str, str]) -> Iterator[Storage]:
    """The same place, for a server that stalls."""
    with closing(build("far", config | {"timeout": str(STALLED)})) as storage:
        yield storage


@pytest.fixture
def folder(pyftpdlib: FtpServer, config: dict[str, str]) -> Path:
    """Where the storage's files lie."""
    return pyftpdlib.root / config["base_dir"]


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())


def raised(kind: type[StorageError], work: Callable[[], object]) -> StorageError:
    """The error of exactly that kind, which came in time."""
    began = time.monotonic()
    with pytest.raises(StorageError) as caught:
        work()
    assert type(caught.value) is kind, caught.value
    assert time.monotonic() - began < IN_TIME
    return caught.value


# Places


def test_building_touches_no_network() -> None:
    with closing(build("far", {"kind": "ftp", "host": "192.0.2.1", "tls": "explicit"})) as storage:
        assert storage.kind == "ftp"


def test_an_object_lies_in_a_folder_of_its_first_two_letters(storage: Storage, folder: Path) -> None:
    key = put(storage, b"abc")
    storage.put(MARKER, source_of(b"mine"))
    assert files(folder) == sorted([f"objects/{key[:2]}/{key}", f"objects/si/{MARKER}"])
    assert [path.name for path in folder.glob("tmp/*")] == []


def test_foreign_names_are_not_listed(storage: Storage, folder: Path) -> None:
    key = put(storage, b"abc")
    elsewhere = new_key("ff" * 32 if key[:2] != "ff" else "00" * 32)
    for name in ("README", f".{key}", f"{key}~", key[:-1], key.upper(), elsewhere):
        (folder / "objects" / key[:2] / name).write_bytes(b"")
    (folder / "objects" / "lost+found").mkdir()
    (folder / "objects" / "zz").write_bytes(b"")
    assert list(storage.keys()) == [key]


@pytest.mark.parametrize("key", ["", "..", "../x", "/etc/passwd", "a" * 97, "a\r\nDELE b", "\0"])
def test_no_key_leads_out_of_the_folder(storage: Storage, proxy: FaultyFtp, key: str) -> None:
    for call in (storage.size, storage.open, storage.delete, lambda key: storage.put(key, source_of(b"x"))):
        with pytest.raises(StorageRefused):
            call(key)
    assert proxy.commands == []


def test_a_folder_that_disappears_is_not_made_anew(storage: Storage, folder: Path) -> None:
    """A disk that was unmounted: what is put must not go to the disk below."""
    put(storage, b"abc")
    shutil.rmtree(folder)
    for also in (folder.parent, folder):
        also.mkdir(exist_ok=True)
        also.chmod(0o777)
        raised(StorageUnavailable, lambda: put(storage, b"abc"))
        assert files(folder.parent) == []


def test_cleaning_removes_what_the_dead_left_by_the_age_in_its_name(storage: Storage, folder: Path) -> None:
    key = put(storage, b"abc")
    (folder / "tmp" / "somebody's").write_bytes(b"")
    (folder / "tmp" / f"{key}.claim").mkdir(mode=0o777)
    (folder / "tmp" / f"{MARKER}.claim" / f"since.{uuid7().hex}").mkdir(mode=0o777, parents=True)
    (folder / "tmp" / f"{MARKER}.claim").chmod(0o777)
    with half_put(storage, content(9 * BLOCK), 6 * BLOCK) as (other, finish):
        assert storage.clean(LONG_AGO) == 0
        assert storage.clean(tomorrow()) == 3
        assert isinstance(finish(), StorageUnavailable)
    assert not is_there(storage, other)
    assert files(folder) == [f"objects/{key[:2]}/{key}", "tmp/somebody's"]


def test_a_claim_is_told_of_until_it_is_so_old_that_its_holder_is_dead(
    storage: Storage, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "PAUSES", (0.01,))
    put(storage, b"abc")
    claim = folder / "tmp" / f"{MARKER}.claim"
    claim.mkdir()
    claim.chmod(0o777)
    for _ in range(2):
        with pytest.raises(StorageUnavailable, match=f"the folder tmp/{MARKER}.claim is another put's"):
            storage.put(MARKER, source_of(b"mine"))
        assert not is_there(storage, MARKER)
    [since] = claim.iterdir()
    since.rename(claim / f"since.{'0' * 12}{since.name[-20:]}")
    storage.put(MARKER, source_of(b"mine"))
    assert read_whole(storage.open(MARKER)) == b"mine"
    assert list((folder / "tmp").iterdir()) == []


def test_a_fresh_key_is_stored_in_few_commands_and_one_that_may_be_in_use_is_looked_for(
    storage: Storage, config: dict[str, str], proxy: FaultyFtp, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(storage, b"abc")
    source = source_of(b"def")
    key = new_key(source.sha256)
    storage.size(put(storage, b"def"))  # so that its folder is there
    proxy.commands.clear()
    storage.put(key, source)
    assert [command.split()[0] for command in proxy.commands] == ["PASV", "STOR", "SIZE", "RNFR", "RNTO"]
    with pytest.raises(StorageRefused, match="the key is in use"):
        storage.put(key, source_of(b"other"))
    with closing(build("far", config)) as other:
        monkeypatch.setattr(taken, "MOMENT", 0)
        with pytest.raises(StorageRefused, match="the key is in use"):
            other.put(key, source_of(b"other"))
    assert read_whole(storage.open(key)) == b"def"


# Sessions


def test_one_session_serves_all_that_happens_one_after_the_other(storage: Storage, proxy: FaultyFtp) -> None:
    for size in (0, 5, LARGE):
        key = put(storage, content(size))
        assert storage.size(key) == size
        assert read_whole(storage.open(key)) == content(size)
        assert read_whole(storage.open(key, 2, 4)) == content(size)[2:4]
        assert key in list(storage.keys())
        storage.delete(key)
        assert not is_there(storage, key)
    assert proxy.connections == 1
    assert proxy.count()["TYPE"] == 1


def test_opening_transfers_nothing_yet(storage: Storage, proxy: FaultyFtp) -> None:
    key = put(storage, b"abc")
    reader = storage.open(key)
    assert proxy.count()["RETR"] == 0
    assert read_whole(reader) == b"abc"
    assert read_whole(storage.open(key, 3)) == b""
    assert proxy.count()["RETR"] == 1


def test_idle_sessions_that_were_closed_are_not_missed(storage: Storage, proxy: FaultyFtp) -> None:
    key = put(storage, b"abc")
    calls: list[Callable[[], object]] = [
        lambda: storage.size(key),
        lambda: read_whole(storage.open(key)),
        lambda: put(storage, b"def"),
        lambda: list(storage.keys()),
        lambda: storage.delete(new_key("ab" * 32)),
    ]
    for number, call in enumerate(calls, 1):
        proxy.expel()
        call()
        assert proxy.connections == 1 + number


@pytest.mark.parametrize("limit", ["KEPT_SECONDS", "LIFETIME"])
def test_old_sessions_are_not_used_again(
    storage: Storage, proxy: FaultyFtp, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    monkeypatch.setattr(connections, limit, 0)
    key = put(storage, b"abc")
    assert storage.size(key) == storage.size(key) == 3
    assert proxy.connections == 3


def test_a_session_that_breaks_at_the_question_is_asked_anew(storage: Storage, proxy: FaultyFtp) -> None:
    key = put(storage, b"abc")
    proxy.commands.clear()
    proxy.faults = Faults(lost={"SIZE": "reset"})
    error = raised(StorageUnavailable, lambda: storage.size(key))
    assert proxy.count()["SIZE"] == 3, "asked three times, and no more"
    assert "abc" not in str(error)
    proxy.faults = Faults()
    assert storage.size(key) == 3


def test_a_server_with_too_many_clients_is_asked_again(storage: Storage, proxy: FaultyFtp) -> None:
    proxy.faults = Faults(turned_away=2)
    assert is_there(storage, put(storage, b"abc"))
    storage.close()
    proxy.faults = Faults(turned_away=9)
    assert "421" in str(raised(StorageUnavailable, lambda: put(storage, b"abc")))


@pytest.mark.parametrize(
    "answer", ["200 What?", "213 many", "213", "213 " + 5000 * "9", "xyz", "350 Go on", "213\xb2 9"]
)
def test_a_session_is_dropped_after_an_odd_answer(storage: Storage, proxy: FaultyFtp, answer: str) -> None:
    key = put(storage, b"abc")
    proxy.faults = Faults(answers={"SIZE": answer})
    raised(StorageUnavailable, lambda: storage.size(key))
    proxy.faults = Faults()
    assert storage.size(key) == 3
    assert proxy.connections == 2


def test_a_second_reply_to_a_broken_transfer_confuses_nobody(storage: Storage, proxy: FaultyFtp) -> None:
    key = put(storage, content(LARGE))
    proxy.faults = Faults(stutter=True)
    assert read_whole(storage.open(key, 5, 9)) == content(LARGE)[5:9]
    assert storage.size(key) == LARGE
    assert proxy.connections == 2


@pytest.mark.parametrize("numbers", ["1,2", f"127,0,0,1,{5000 * '9'},1", f"127,0,0,1,{20 * '9'},1"])
def test_an_address_that_is_none_is_an_odd_answer(storage: Storage, proxy: FaultyFtp, numbers: str) -> None:
    key = put(storage, b"abc")
    proxy.faults = Faults(answers={"PASV": f"227 ({numbers})"})
    assert "makes no sense" in str(raised(StorageUnavailable, lambda: read_whole(storage.open(key))))
    proxy.faults = Faults()
    assert read_whole(storage.open(key)) == b"abc"


def test_a_second_reply_in_the_same_packet_is_not_taken_for_the_next(
    storage: Storage, proxy: FaultyFtp
) -> None:
    key = put(storage, b"abc")
    proxy.faults = Faults(twice={"RETR"})
    assert read_whole(storage.open(key)) == b"abc"
    proxy.faults = Faults(answers={"DELE": "450 Busy."})
    raised(StorageUnavailable, lambda: storage.delete(key))
    proxy.faults = Faults(twice={"STOR", "SIZE"})
    raised(StorageUnavailable, lambda: put(storage, b"def"))
    proxy.faults = Faults()
    assert list(storage.keys()) == [key]


@pytest.mark.parametrize(
    "answer", ["200 Here.", '257-"/x"\r\n257 done', '257 "/x\ry"', '257 "/x\0y"', "257 /x"]
)
def test_a_folder_that_is_not_told_is_not_guessed(
    storage: Storage, config: dict[str, str], proxy: FaultyFtp, answer: str
) -> None:
    proxy.faults = Faults(answers={"PWD": answer})
    raised(StorageUnavailable, lambda: storage.size(MARKER))
    assert set(proxy.count()) == {"USER", "PASS", "TYPE", "PWD"}
    with closing(build("far", config | {"base_dir": f"/{config['base_dir']}"})) as absolute:
        assert is_there(absolute, put(absolute, b"abc"))


# What 550 means


def test_forbidden_is_not_missing(storage: Storage, proxy: FaultyFtp) -> None:
    key, missing = put(storage, b"abc"), new_key("ab" * 32)
    for command in ("SIZE", "DELE"):
        proxy.faults = Faults(answers={command: "550 You may not."})
        call = storage.size if command == "SIZE" else storage.delete
        assert "550" in str(raised(StorageRefused, lambda call=call: call(key)))
    proxy.faults = Faults(answers={"RETR": "550 You may not."})
    raised(StorageRefused, lambda: read_whole(storage.open(key)))
    proxy.faults = Faults()
    raised(ObjectMissing, lambda: storage.size(missing))
    storage.delete(missing)


def test_a_folder_that_may_not_be_entered_is_not_an_empty_one(storage: Storage, proxy: FaultyFtp) -> None:
    put(storage, b"abc")
    proxy.faults = Faults(answers={"CWD": "550 You may not.", "SIZE": "550 You may not."})
    raised(StorageRefused, lambda: list(storage.keys()))
    raised(StorageRefused, lambda: storage.clean(tomorrow()))
    raised(StorageRefused, lambda: storage.open(MARKER))


@pytest.mark.parametrize("code", ["550", "553", "451", "450"])
def test_missing_folders_are_made_whatever_they_are_called(
    storage: Storage, proxy: FaultyFtp, code: str
) -> None:
    proxy.faults = Faults(codes={("STOR", "550"): code, ("RNTO", "550"): code})
    key = put(storage, b"abc")
    assert read_whole(storage.open(key)) == b"abc"


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ("452 No space.", StorageFull),
        ("552 Quota.", StorageFull),
        ("550 You may not.", StorageRefused),
        ("553 You may not.", StorageRefused),
        ("532 Need an account.", StorageRefused),
        ("500 What?", StorageRefused),
        ("451 A disk error.", StorageUnavailable),
        ("426 Oops.", StorageUnavailable),
        ("421 Going down.", StorageUnavailable),
    ],
)
@pytest.mark.parametrize("command", ["STOR", "RNTO"])
def test_each_refusal_has_its_meaning(
    storage: Storage, proxy: FaultyFtp, command: str, answer: str, kind: type[StorageError]
) -> None:
    put(storage, b"abc")
    before = list(storage.keys())
    proxy.faults = Faults(answers={command: answer})
    error = raised(kind, lambda: put(storage, b"def"))
    assert answer[:3] in str(error)
    assert answer[4:] not in str(error)
    proxy.faults = Faults()
    assert list(storage.keys()) == before


# Faults


def test_a_refused_connection_is_unavailable(config: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    with closing(build("far", config | {"port": str(port)})) as storage:
        for call in (storage.size, storage.open, storage.delete):
            error = raised(StorageUnavailable, lambda call=call: call(new_key("ab" * 32)))
            assert "Connection refused" in str(error)
        raised(StorageUnavailable, storage.probe)


def test_a_broken_upload_leaves_no_object(
    storage: Storage, impatient: Storage, proxy: FaultyFtp, folder: Path
) -> None:
    kept = put(storage, b"abc")
    for far, what in ((storage, "reset"), (storage, "close"), (impatient, "stall")):
        proxy.faults = Faults(upload=Break(LARGE // 2, what))  # type: ignore[arg-type]
        raised(StorageUnavailable, lambda far=far: put(far, content(LARGE)))
        assert list(storage.keys()) == [kept]
        storage.clean(tomorrow())
        assert files(folder) == [f"objects/{kept[:2]}/{kept}"]
    assert read_whole(storage.open(put(storage, content(LARGE)))) == content(LARGE)


def test_a_disk_that_fills_up_on_the_way_is_full(storage: Storage, proxy: FaultyFtp) -> None:
    for code in ("452", "552"):
        proxy.faults = Faults(upload=Break(LARGE // 2, "reset"), codes={("STOR", "226"): code})
        assert code in str(raised(StorageFull, lambda: put(storage, content(LARGE))))
    assert list(storage.keys()) == []


def test_a_truncated_upload_that_is_acknowledged_is_noticed(storage: Storage, proxy: FaultyFtp) -> None:
    for cut in (0, 1, LARGE - 1):
        proxy.faults = Faults(upload=Break(cut, "close"))
        error = raised(StorageUnavailable, lambda: put(storage, content(LARGE)))
        assert f"of {LARGE} bytes the server holds {cut}" in str(error)
    assert list(storage.keys()) == []


@pytest.mark.parametrize(
    ("command", "how", "marker"),
    [(command, how, False) for command in ("STOR", "SIZE", "MKD", "RNTO") for how in ("reset", "stall")]
    + [(command, "reset", True) for command in ("MKD", "RNTO", "NLST", "RMD")],
)
def test_a_lost_reply_leaves_the_object_absent_or_whole(
    storage: Storage, impatient: Storage, proxy: FaultyFtp, command: str, how: str, marker: bool
) -> None:
    far = impatient if how == "stall" else storage
    put(far, b"abc")
    source = source_of(content(LARGE))
    key = MARKER if marker else new_key(source.sha256)
    proxy.faults = Faults(lost={command: how})  # type: ignore[dict-item]
    raised(StorageUnavailable, lambda: far.put(key, source))
    proxy.faults = Faults()
    assert is_there(storage, key) == (command in ("RNTO", "RMD", "NLST"))
    if is_there(storage, key):
        assert read_whole(storage.open(key)) == content(LARGE)


@pytest.mark.parametrize("what", ["reset", "close"])
def test_a_download_that_breaks_before_its_first_byte_is_asked_for_once_more(
    storage: Storage, proxy: FaultyFtp, what: What
) -> None:
    key = put(storage, content(LARGE))
    for start in (0, BLOCK + 1):
        proxy.faults = Faults(download=Break(0, what))
        assert read_whole(storage.open(key, start)) == content(LARGE)[start:]
        proxy.faults = Faults(download=Break(0, what, times=2))
        raised(StorageUnavailable, lambda start=start: read_whole(storage.open(key, start)))


def test_a_broken_download_never_looks_like_the_end(
    storage: Storage, impatient: Storage, proxy: FaultyFtp
) -> None:
    key = put(storage, content(LARGE))
    for far, what in ((storage, "reset"), (storage, "close"), (impatient, "stall")):
        for start in (0, BLOCK + 1):
            proxy.faults = Faults(download=Break(LARGE // 2, what))  # type: ignore[arg-type]
            reader = far.open(key, start)
            raised(StorageUnavailable, lambda reader=reader: read_whole(reader))
    assert read_whole(storage.open(key)) == content(LARGE)


def test_a_corrupted_download_does_not_get_past_the_verifying_reader(
    storage: Storage, proxy: FaultyFtp
) -> None:
    source = source_of(content(LARGE))
    key = new_key(source.sha256)
    storage.put(key, source)
    stored = Source(source.size, source.sha256, lambda: storage.open(key))
    proxy.faults = Faults(download=Break(LARGE - 1, "corrupt"))
    with pytest.raises(IntegrityFault):
        drain(stored)
    drain(stored)


def test_a_server_that_says_nothing_is_not_waited_for_longer_than_the_timeout(
    config: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        config |= {"port": str(silent.getsockname()[1]), "timeout": str(STALLED)}
        with closing(build("far", config)) as storage:
            for call in (storage.size, storage.open, storage.delete):
                error = raised(StorageUnavailable, lambda call=call: call(new_key("ab" * 32)))
                assert f"says nothing, or next to nothing, for {STALLED:g} s" in str(error)


@pytest.mark.parametrize("command", ["", "TYPE"])
@pytest.mark.parametrize("how", ["drip", "flood"])
def test_a_reply_that_does_not_end_is_given_up(
    impatient: Storage, proxy: FaultyFtp, command: str, how: Literal["drip", "flood"]
) -> None:
    key = put(impatient, b"abc")
    impatient.close()
    proxy.faults = Faults(long={command: how})
    raised(StorageUnavailable, lambda: impatient.size(key))
    proxy.faults = Faults()
    assert impatient.size(key) == 3


def test_a_list_that_does_not_end_is_given_up(
    storage: Storage, proxy: FaultyFtp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfers, "LARGEST_LISTING", 4 * BLOCK)
    key = put(storage, b"abc")
    proxy.faults = Faults(download=Break(0, "flood"))
    raised(StorageUnavailable, lambda: list(storage.keys()))
    assert list(storage.keys()) == [key]


def test_a_download_that_trickles_is_given_up(storage: Storage, impatient: Storage, proxy: FaultyFtp) -> None:
    key = put(storage, content(LARGE))
    proxy.faults = Faults(download=Break(BLOCK, "drip"))
    raised(StorageUnavailable, lambda: read_whole(impatient.open(key)))


def test_an_upload_that_trickles_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """What one end of the pair takes in 4 KiB steps, of which each comes well within the timeout."""
    ours, theirs = socket.socketpair()
    data = content(8 * BLOCK)
    monkeypatch.setattr(patience, "SLOWEST", 1 << 20)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8 << 10)
    ours.settimeout(STALLED)

    def take() -> int:
        pauses, taken = [DROP_SECONDS] * DROPS, 0
        while got := len(theirs.recv(4 << 10)):
            taken += got
            time.sleep(pauses.pop() if pauses else 0)
        return taken

    with theirs, ThreadPoolExecutor(1) as pool:
        going = pool.submit(take)
        with transfers.Sending(protocol.PlainFTP(), ours) as sending, pytest.raises(TimeoutError):
            sending.send(data)
        assert going.result(30) < len(data)


@pytest.mark.parametrize("server", ["vsftpd", "proftpd"])
def test_a_server_process_that_dies_in_the_middle_with_tls_is_noticed(
    request: pytest.FixtureRequest, server: str
) -> None:
    ftp: FtpServer = request.getfixturevalue(server)
    with closing(build("far", ftp.config())) as storage:
        kept = put(storage, content(LARGE))
        with half_put(storage, content(LARGE), LARGE // 2) as (key, finish):
            kill_sessions(ftp)
            assert isinstance(finish(), StorageUnavailable)
        assert list(storage.keys()) == [kept]
        assert not is_there(storage, key)

        reader = storage.open(kept)
        assert reader.read(1) == content(LARGE)[:1]
        kill_sessions(ftp)
        with pytest.raises(StorageUnavailable):
            read_whole(reader)
        assert storage.size(kept) == LARGE
        kill_sessions(ftp)
        assert read_whole(storage.open(kept)) == content(LARGE)


def kill_sessions(server: FtpServer) -> None:
    """Ends the processes that serve connections; the one that takes new ones stays."""
    sessions = children(server.process)
    assert sessions
    for pid in sessions:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not set(sessions) & set(children(server.process)), "the end of the sessions")


# Secrets and TLS


def test_a_server_that_echoes_the_password_gets_it_into_no_message_and_no_traceback(
    config: dict[str, str], proxy: FaultyFtp, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for code in ("530", "430", "500"):
        proxy.faults = Faults(answers={"PASS": f"{code} no such user, or not with hunter2"})
        with closing(build("far", config | {"password": "hunter2"})) as storage:
            error = raised(StorageRefused, lambda storage=storage: storage.size(new_key("ab" * 32)))
        assert code in str(error)
        assert "hunter2" not in "".join(traceback.format_exception(error)) + caplog.text
        assert "hunter2" not in repr(vars(storage)) + repr(storage.options)


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        ("PASS", "421 Busy: PASS hunter2"),
        ("PASS", "332 Which account, hunter2?"),
        ("PASS", "hunter2"),
        ("TYPE", "550 hunter2"),
        ("PWD", "257 hunter2"),
        ("PASV", "200 hunter2"),
        ("PASV", "227 hunter2"),
        ("STOR", "350 hunter2"),
        ("SIZE", "213 hunter2"),
        ("RNTO", "350 hunter2"),
    ],
)
def test_what_a_server_says_is_in_no_traceback(
    config: dict[str, str], proxy: FaultyFtp, command: str, answer: str
) -> None:
    proxy.faults = Faults(answers={command: answer})
    with closing(build("far", config)) as storage, pytest.raises(StorageError) as caught:
        put(storage, b"abc")
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


def test_what_is_said_in_clear_behind_the_word_that_begins_tls_counts_for_nothing(
    config: dict[str, str], certificates: Path
) -> None:
    """Whoever can write into the connection would otherwise answer what is asked within TLS."""
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificates / "server.pem")

    def serve() -> bytes:
        client, _ = listening.accept()
        client.sendall(b"220 Hello.\r\n")
        assert client.recv(100) == b"AUTH TLS\r\n"
        client.sendall(b"234 Go on.\r\n230 You are in.\r\n")
        with tls.wrap_socket(client, server_side=True) as secured:
            return secured.recv(100)

    with socket.create_server(("127.0.0.1", 0)) as listening, ThreadPoolExecutor(1) as pool:
        listening.settimeout(IN_TIME)
        going = pool.submit(serve)
        secure = {"port": str(listening.getsockname()[1]), "tls": "explicit"}
        with closing(build("far", config | secure | {"ca_bundle": str(certificates / "ca.pem")})) as storage:
            raised(StorageUnavailable, lambda: storage.size(MARKER))
        assert going.result(IN_TIME) == b"", "something was sent"


def test_without_tls_at_the_server_no_password_is_sent(config: dict[str, str], proxy: FaultyFtp) -> None:
    with closing(build("far", config | {"tls": "explicit"})) as storage:
        error = raised(StorageRefused, lambda: storage.size(new_key("ab" * 32)))
    assert "does no TLS" in str(error)
    assert set(proxy.count()) == {"AUTH"}


def test_a_certificate_of_a_stranger_is_refused(pyftpdlib_tls: FtpServer, certificates: Path) -> None:
    for options in ({"ca_bundle": certificates / "stranger.pem"}, {"host": "localhost"}):
        with closing(build("far", pyftpdlib_tls.config(**options))) as storage:
            error = raised(StorageRefused, lambda storage=storage: storage.size(new_key("ab" * 32)))
        assert "certificate is not trusted" in str(error)


def test_a_server_that_wants_tls_is_not_talked_to_without(pyftpdlib_tls: FtpServer) -> None:
    config = pyftpdlib_tls.config()
    del config["ca_bundle"]
    with closing(build("far", config | {"tls": "off"})) as storage:
        error = raised(StorageRefused, lambda: storage.size(new_key("ab" * 32)))
    assert "the login is refused" in str(error)


@pytest.mark.parametrize("server", ["pyftpdlib", "pyftpdlib_tls", "vsftpd", "proftpd"])
def test_active_mode_works_too(request: pytest.FixtureRequest, server: str) -> None:
    ftp: FtpServer = request.getfixturevalue(server)
    with closing(build("far", ftp.config(passive="false"))) as storage:
        for size in (0, LARGE):
            key = put(storage, content(size))
            assert read_whole(storage.open(key)) == content(size)
            assert read_whole(storage.open(key, 1, 9)) == content(size)[1:9]
            assert key in storage.keys()


def test_in_active_mode_nobody_but_the_server_is_talked_to(
    config: dict[str, str], proxy: FaultyFtp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else comes first to where the server was told to come."""
    strangers = []

    class Overtaken(socket.socket):
        def accept(self) -> tuple[socket.socket, object]:
            strangers.append(socket.create_connection(self.getsockname(), source_address=("127.0.0.2", 0)))
            return super().accept()

    def listen(address: tuple[str, int], **_: object) -> socket.socket:
        listening = Overtaken(socket.AF_INET)
        listening.bind(address)
        listening.listen()
        return listening

    proxy.faults = Faults(answers={"PORT": "200 Fine.", "STOR": "150 I am coming."})
    with closing(build("far", config | {"passive": "false"})) as storage:
        monkeypatch.setattr(protocol.socket, "create_server", listen)
        raised(StorageUnavailable, lambda: put(storage, b"abc"))
        monkeypatch.undo()
    assert len(strangers) == 1
    for stranger in strangers:
        assert stranger.recv(1) == b"", "something was sent to a stranger"
        stranger.close()


# Options


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"host": "ftp://host"}, "the option 'host' is not acceptable: it is a host's name"),
        ({"host": ""}, "the option 'host' is not acceptable"),
        ({"host": "host:21"}, "the option 'host' is not acceptable"),
        ({"host": "user@host"}, "the option 'host' is not acceptable"),
        ({"host": "a..b"}, "the option 'host' is not acceptable"),
        ({"host": "a" * 64}, "the option 'host' is not acceptable"),
        ({"host": "[::1]"}, "the option 'host' is not acceptable"),
        ({"port": "0"}, "the option 'port' is not acceptable"),
        ({"tls": "implicit"}, "the option 'tls' is not acceptable: Input should be 'off' or 'explicit'"),
        ({"passive": "perhaps"}, "the option 'passive' is not acceptable"),
        ({"timeout": "0"}, "the option 'timeout' is not acceptable"),
        ({"timeout": "inf"}, "the option 'timeout' is not acceptable"),
        (
            {"password": "DELE\udcff"},
            "the option 'password' is not acceptable: it has bytes in it that are not",
        ),
        ({"password": "a\nDELE b"}, "the option 'password' is not acceptable: it goes into a line"),
        ({"base_dir": "a\r\nDELE b"}, "the option 'base_dir' is not acceptable: it goes into a line"),
        ({"ca_bundle": __file__}, "the option 'ca_bundle' is not acceptable: it is of no use with tls off"),
        (
            {"tls": "explicit", "ca_bundle": "/nowhere"},
            "the option 'ca_bundle' is not acceptable: there is no file",
        ),
        (
            {"tls": "explicit", "ca_bundle": __file__},
            "the option 'ca_bundle' is not acceptable: there is no file",
        ),
        ({"pasive": "true"}, "there is no option 'pasive'. Did you mean 'passive'?"),
    ],
)
def test_a_wrong_option_is_a_sentence(options: dict[str, str], sentence: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        build("far", {"kind": "ftp", "host": "host"} | options)
    assert sentence in str(caught.value)
    assert "DELE" not in str(caught.value)


@pytest.mark.parametrize(
    "host", ["nas", "ftp.example.org", "127.0.0.1", "::1", "fe80::1%eth0", "büro.example"]
)
def test_a_host_is_a_name_or_an_address(host: str) -> None:
    with closing(build("far", {"kind": "ftp", "host": host})) as storage:
        assert storage.where == f"ftp://{f'[{host}]' if ':' in host else host}:21/"


def test_the_name_of_a_folder_may_be_in_any_script(pyftpdlib: FtpServer) -> None:
    base = f"{time.time_ns()}/фото [*] 写真"
    with closing(build("far", pyftpdlib.config(base_dir=base))) as storage:
        key = put(storage, b"abc")
        assert list(storage.keys()) == [key]
    assert (pyftpdlib.root / base / "objects").is_dir()


def test_reading_from_a_closed_reader_is_an_error(storage: Storage) -> None:
    reader = storage.open(put(storage, b"abc"))
    reader.close()
    with pytest.raises(ValueError, match="closed"):
        reader.read(1)
