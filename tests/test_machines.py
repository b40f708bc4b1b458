"""Whole machines pushed: each content kept once, rescans that add nothing, races that end well."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import requests
from flask import Flask
from sqlalchemy import func, select

from simpledrive import create_app
from simpledrive.drive import NewBlob
from simpledrive.errors import BlobNotFound, DigestMismatch, Forbidden
from simpledrive.machines import Announcement
from simpledrive.models import AuditEntry, Blob, BlobHistory, MachineFile, Replica
from simpledrive.parts import Parts
from simpledrive.rights import SERVER, Caller
from simpledrive.streams.staging import Staged
from tests.apps import TOKEN, settings_for
from tests.drives import check, fetch, impatient, keep, objects, replicas, versions
from tests.servers import Server
from tests.sources import content

SAID = Announcement(
    filepath="/etc/hosts",
    hostname="web1",
    ip_address="192.0.2.7",
    sha256=sha256(b"hello").hexdigest(),
    file_size=5,
    file_mode=33188,
    file_uid=1000,
    file_gid=100,
    file_mtime=1769117875.25,
    file_atime=1769117876.5,
    file_ctime=1769117877.0,
)
ID = "web1/etc/hosts"


def of(data: bytes, **changes: Any) -> Announcement:
    return replace(SAID, **{"sha256": sha256(data).hexdigest(), "file_size": len(data)} | changes)


def staged(parts: Parts, data: bytes) -> Staged:
    arrival = parts.staging.begin()
    arrival.write(data)
    return arrival.finish()


def push(parts: Parts, data: bytes, caller: Caller = SERVER, **changes: Any) -> bool:
    """Announces a file and sends its bytes if they are wanted; whether they were."""
    said = of(data, **changes)
    if parts.machines.announce(caller, said).blob is not None:
        return False
    file = parts.machines.expected(caller, said.sha256, said.hostname, said.filepath)
    with staged(parts, data) as body:
        parts.machines.keep(caller, file, body)
    return True


def rows(parts: Parts, table: type) -> int:
    return parts.database.read(lambda session: session.scalar(select(func.count()).select_from(table)) or 0)


def recorded(parts: Parts) -> list[int]:
    """How much is recorded of everything that could grow."""
    return [rows(parts, table) for table in (MachineFile, Blob, BlobHistory, Replica, AuditEntry)]


# --- One file


def test_a_rescan_of_an_unchanged_file_adds_nothing(any_parts: Parts) -> None:
    assert push(any_parts, b"hello")
    before = recorded(any_parts)
    blob = any_parts.drive.describe(SERVER, ID)
    for _ in range(3):
        assert not push(any_parts, b"hello")
    assert recorded(any_parts) == before
    assert any_parts.drive.describe(SERVER, ID).version == blob.version == 1


def test_reading_a_file_on_its_machine_does_not_change_its_blob(any_parts: Parts) -> None:
    push(any_parts, b"hello")
    known = any_parts.machines.announce(SERVER, of(b"hello", file_atime=1800000000.5, ip_address="::1"))
    assert (known.file.file_atime, known.file.ip_address) == (1800000000.5, "::1")
    assert any_parts.drive.describe(SERVER, ID).version == 1
    assert rows(any_parts, MachineFile) == 1


def test_a_changed_mode_changes_the_metadata_and_not_the_bytes(any_parts: Parts) -> None:
    push(any_parts, b"hello")
    assert not push(any_parts, b"hello", file_mode=0o100755, file_uid=0, file_mtime=1.5)
    blob = any_parts.drive.describe(SERVER, ID)
    assert {name: blob.blob_metadata[name] for name in ("mode", "uid", "mtime")} == {
        "mode": "100755",
        "uid": "0",
        "mtime": "1.5",
    }
    assert versions(any_parts, ID) == []
    assert len(replicas(any_parts)) == 1


def test_what_somebody_adds_to_the_metadata_outlives_rescans_of_an_unchanged_file(any_parts: Parts) -> None:
    push(any_parts, b"hello")
    own = any_parts.drive.describe(SERVER, ID).blob_metadata
    any_parts.drive.change(SERVER, ID, metadata=own | {"note": "mine"})
    push(any_parts, b"hello")
    assert any_parts.drive.describe(SERVER, ID).blob_metadata["note"] == "mine"


def test_a_changed_file_replaces_the_blob_and_the_old_one_is_an_earlier_version(any_parts: Parts) -> None:
    push(any_parts, b"hello")
    assert push(any_parts, b"changed", file_mtime=2.0)
    assert fetch(any_parts, ID) == b"changed"
    assert any_parts.drive.describe(SERVER, ID).blob_metadata["mtime"] == "2.0"
    (old,) = versions(any_parts, ID)
    assert (old.sha256, old.blob_metadata["mtime"]) == (SAID.sha256, "1769117875.25")
    assert rows(any_parts, MachineFile) == 1
    assert not push(any_parts, b"changed", file_mtime=2.0)
    check(any_parts)


def test_until_the_new_bytes_come_the_old_ones_stay(any_parts: Parts) -> None:
    push(any_parts, b"hello")
    assert any_parts.machines.announce(SERVER, of(b"changed")).blob is None
    assert fetch(any_parts, ID) == b"hello"
    with pytest.raises(BlobNotFound):
        any_parts.machines.first(SERVER, SAID.sha256)
    assert any_parts.machines.first(SERVER, of(b"changed").sha256).blob is None


def test_a_file_that_changes_to_known_bytes_needs_no_upload(any_parts: Parts) -> None:
    keep(any_parts, "elsewhere", b"known")
    push(any_parts, b"hello")
    assert not push(any_parts, b"known")
    assert fetch(any_parts, ID) == b"known"
    check(any_parts)


def test_a_file_of_another_size_than_announced_is_what_its_digest_says(any_parts: Parts) -> None:
    assert push(any_parts, b"hello", file_size=7)
    assert any_parts.drive.describe(SERVER, ID).size == 5
    assert not push(any_parts, b"hello", file_size=7)


def test_other_bytes_are_not_kept(any_parts: Parts) -> None:
    any_parts.machines.announce(SERVER, SAID)
    file = any_parts.machines.expected(SERVER, SAID.sha256, SAID.hostname, SAID.filepath)
    with staged(any_parts, b"other") as body, pytest.raises(DigestMismatch):
        any_parts.machines.keep(SERVER, file, body)
    assert replicas(any_parts) == []


def test_a_deleted_blob_comes_back_with_the_next_scan(any_parts: Parts) -> None:
    push(any_parts, b"hello", filepath="/a")
    push(any_parts, b"hello", filepath="/b")
    any_parts.drive.delete(SERVER, "web1/a")
    assert not push(any_parts, b"hello", filepath="/a")
    assert fetch(any_parts, "web1/a") == b"hello"


def test_bytes_that_only_history_has_are_sent_again(any_parts: Parts) -> None:
    push(any_parts, b"hello")
    push(any_parts, b"changed")
    assert push(any_parts, b"hello")
    assert [row.sha256 for row in versions(any_parts, ID)] == [SAID.sha256, of(b"changed").sha256]
    assert len(replicas(any_parts)) == 2
    impatient(any_parts).sweep()
    check(any_parts)


def test_a_path_with_and_without_its_slash_is_one_file(any_parts: Parts) -> None:
    push(any_parts, b"hello", filepath="/etc/hosts")
    assert not push(any_parts, b"hello", filepath="etc/hosts")
    assert rows(any_parts, MachineFile) == rows(any_parts, Blob) == 1


def test_callers_with_one_prefix_do_not_share_files(any_parts: Parts) -> None:
    one = Caller("one", "1", frozenset({"read", "write"}), prefix="web1/")
    two = Caller("two", "2", frozenset({"read", "write"}), prefix="web2/")
    assert push(any_parts, b"hello", one, hostname="web1")
    assert push(any_parts, b"hello", two, hostname="web2")
    for caller, host in ((one, "web1"), (two, "web2")):
        assert any_parts.machines.first(caller, SAID.sha256).file.hostname == host
    with pytest.raises(Forbidden):
        push(any_parts, b"hello", one, hostname="web2")
    assert len(replicas(any_parts)) == 1


# --- Races


def test_the_same_file_pushed_by_several_threads_at_once_is_one_blob(any_parts: Parts) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: push(any_parts, b"hello"), range(24)))
    blob = any_parts.drive.describe(SERVER, ID)
    assert (fetch(any_parts, ID), blob.version) == (b"hello", 1)
    assert [rows(any_parts, table) for table in (MachineFile, Blob, BlobHistory, Replica)] == [1, 1, 0, 1]
    assert len(objects(any_parts, "local")) == 1
    check(any_parts)


def test_one_content_pushed_from_many_hosts_at_once_is_kept_once(any_parts: Parts) -> None:
    hosts = [f"host{number}" for number in range(16)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda host: push(any_parts, b"hello", hostname=host), hosts))
    assert {fetch(any_parts, f"{host}/etc/hosts") for host in hosts} == {b"hello"}
    assert [rows(any_parts, table) for table in (MachineFile, Blob, BlobHistory, Replica)] == [16, 16, 0, 1]
    check(any_parts)


def test_a_file_that_changes_while_it_is_pushed_ends_as_one_of_its_contents(any_parts: Parts) -> None:
    states = [b"one", b"two", b"three"]
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda number: _tried(any_parts, states[number % 3]), range(30)))
    assert fetch(any_parts, ID) in states
    push(any_parts, b"at last")
    assert fetch(any_parts, ID) == b"at last"
    assert any_parts.machines.first(SERVER, of(b"at last").sha256).blob is not None
    check(any_parts)


def _tried(parts: Parts, data: bytes) -> None:
    # Announced anew in between, by another thread, it is no longer expected.
    with suppress(BlobNotFound):
        push(parts, data)


def test_a_blob_deleted_while_it_is_announced_is_announced_all_the_same(
    any_parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    push(any_parts, b"hello")
    change = any_parts.drive.change

    def deleted_before(*given: Any, **more: Any) -> Blob:
        any_parts.drive.delete(SERVER, ID)
        return change(*given, **more)

    monkeypatch.setattr(any_parts.drive, "change", deleted_before)
    assert any_parts.machines.announce(SERVER, of(b"hello", file_mode=0)).blob is None


def test_a_blob_stored_while_it_is_announced_is_found(
    any_parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    store_known = any_parts.drive.store_known

    def stored_before(caller: Caller, digest: str, size: int, new: NewBlob, *more: Any) -> Any:
        if rows(any_parts, Blob) == 0:
            keep(any_parts, ID, b"hello")
        return store_known(caller, digest, size, new, *more)

    monkeypatch.setattr(any_parts.drive, "store_known", stored_before)
    known = any_parts.machines.announce(SERVER, SAID)
    assert known.blob is not None
    assert any_parts.drive.describe(SERVER, ID).blob_metadata["mode"] == "100644"


# --- A client as PutPlace's own, against a real server


class Client:
    """Pushes a folder as if it were the root of a machine. Believes only what it is answered."""

    def __init__(self, url: str, hostname: str) -> None:
        self.url, self.hostname = url, hostname
        self.session = requests.Session()
        self.session.headers["X-API-Key"] = TOKEN
        self.session.trust_env = False

    def push(self, root: Path) -> int:
        """Announces every file below `root`, sends what is wanted; how many that were."""
        files = sorted(path for path in root.rglob("*") if path.is_file())
        with ThreadPoolExecutor(4) as pool:
            return sum(pool.map(lambda path: self._push(root, path), files))

    def _push(self, root: Path, path: Path) -> bool:
        data, stat = path.read_bytes(), path.stat()
        said = {
            "filepath": "/" + str(path.relative_to(root)),
            "hostname": self.hostname,
            "ip_address": "192.0.2.7",
            "sha256": sha256(data).hexdigest(),
            "file_size": stat.st_size,
            "file_mode": stat.st_mode,
            "file_uid": stat.st_uid,
            "file_gid": stat.st_gid,
            "file_mtime": stat.st_mtime,
            "file_atime": stat.st_atime,
            "file_ctime": stat.st_ctime,
        }
        answer = self._post("/put_file", json=said)
        assert answer.json()["has_file_content"] is not answer.json()["upload_required"]
        if not answer.json()["upload_required"]:
            return False
        query = {"hostname": self.hostname, "filepath": said["filepath"]}
        files = {"file": (path.name, data)}
        sent = self._post(answer.json()["upload_url"], params=query, files=files).json()
        assert (sent["status"], sent["size"]) == ("uploaded", str(len(data)))
        return True

    def _post(self, path: str, **what: Any) -> requests.Response:
        answer = self.session.post(self.url + path, allow_redirects=False, timeout=60, **what)
        assert 200 <= answer.status_code < 300, answer.text
        return answer


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """The files of a machine: 300, with duplicates, empty ones, a large one and names of every kind."""
    root = tmp_path / "machine"
    for number in range(280):
        path = root / "usr" / f"share{number % 7}" / f"{number}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content(100 + number % 90, seed=number % 90))
    odd = [
        "etc/hosts", "Größe/🎉.txt", "a b/c & d?.txt", "q%2Fr#s.txt", "c:\\x\\y", "100%", "+plus+", "ünï/é",
        "deep/" + "d/" * 30 + "e", "名前.dat", "empty1", "empty2", "etc/empty3", "quote\"'.txt", ".hidden",
        "...", "semi;colon", "[x]{y}", "~tilde",
    ]  # fmt: skip
    for name in odd:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"" if "empty" in name else name.encode())
    (root / "large.bin").write_bytes(content(3 << 20, seed=999))
    return root


@pytest.fixture(params=["sqlite", "postgres"])
def remote(
    request: pytest.FixtureRequest, make_server: Callable[..., Server], tmp_path: Path
) -> Iterator[tuple[Server, Parts]]:
    """A running server on each database, and a look behind it."""
    given = (
        {"database_url": request.getfixturevalue("postgres_database")} if request.param == "postgres" else {}
    )
    server = make_server(**{name.upper(): value for name, value in given.items()})
    app: Flask = create_app(settings_for(tmp_path, **given))
    parts: Parts = app.extensions["simpledrive"]
    yield server, parts
    parts.backends.close()
    parts.database.engine.dispose()


def test_a_whole_machine_is_pushed_rescanned_changed_and_pushed_from_a_second_host(
    remote: tuple[Server, Parts], machine: Path
) -> None:
    server, parts = remote
    files = {str(path.relative_to(machine)): path for path in machine.rglob("*") if path.is_file()}
    contents = {path.read_bytes() for path in files.values()}
    assert len(files) == 300 > len(contents)

    first = Client(server.url, "web1")
    assert len(contents) <= first.push(machine) <= len(files)
    assert rows(parts, MachineFile) == rows(parts, Blob) == len(files)
    assert len(replicas(parts)) == len(objects(parts, "local")) == len(contents), "each content is kept once"
    for name, path in files.items():
        assert fetch(parts, f"web1/{name}") == path.read_bytes()

    before = recorded(parts)
    assert first.push(machine) == 0
    assert recorded(parts) == before, "a rescan adds nothing"

    assert Client(server.url, "web2").push(machine) == 0
    assert rows(parts, Blob) == 2 * len(files)
    assert len(replicas(parts)) == len(contents)

    (machine / "etc/hosts").write_bytes(b"changed")
    (machine / "usr/share0/0.txt").write_bytes(b"changed too")
    (machine / "new").write_bytes(b"changed")
    (machine / "100%").chmod(0o700)
    os.utime(machine / "+plus+", (1, 2.5))
    assert 2 <= first.push(machine) <= 3
    changed = ("web1/etc/hosts", "web1/usr/share0/0.txt")
    assert [len(versions(parts, id)) for id in changed] == [1, 1]
    assert rows(parts, BlobHistory) == 2
    assert fetch(parts, "web1/etc/hosts") == fetch(parts, "web1/new") == b"changed"
    assert fetch(parts, "web2/etc/hosts") == b"etc/hosts"
    assert parts.drive.describe(SERVER, "web1/100%").blob_metadata["mode"] == "100700"
    assert parts.drive.describe(SERVER, "web1/+plus+").blob_metadata["mtime"] == "2.5"
    assert len(replicas(parts)) == len(contents) + 2
    check(parts)


def test_a_machine_shows_up_as_folders_on_both_faces(remote: tuple[Server, Parts], machine: Path) -> None:
    server, _ = remote
    client = Client(server.url, "web1")
    client.push(machine)

    def level(prefix: str) -> tuple[list[str], list[str]]:
        query = {"prefix": prefix, "delimiter": "/", "limit": "1000"}
        page = client.session.get(f"{server.url}/v1/blobs", params=query, timeout=30).json()
        return page["prefixes"], [item["id"] for item in page["items"]]

    assert level("") == (["web1/"], [])
    folders, files = level("web1/")
    top = list(machine.iterdir())
    assert sorted(folders) == sorted(f"web1/{path.name}/" for path in top if path.is_dir())
    assert sorted(files) == sorted(f"web1/{path.name}" for path in top if path.is_file())
    assert len(level("web1/usr/share3/")[1]) == 40

    person = requests.Session()
    page = person.get(f"{server.url}/drive/sign-in", timeout=30).text
    token = page.partition('name="csrf_token" value="')[2].partition('"')[0]
    person.post(f"{server.url}/drive/sign-in", data={"key": TOKEN, "csrf_token": token}, timeout=30)
    assert "web1" in person.get(f"{server.url}/drive/files/", timeout=30).text
    shown = person.get(f"{server.url}/drive/files/web1/", timeout=30).text
    assert all(name in shown for name in ("usr", "Größe", "large.bin", "名前.dat"))
    assert "17.txt" in person.get(f"{server.url}/drive/files/web1/usr/share3/", timeout=30).text
