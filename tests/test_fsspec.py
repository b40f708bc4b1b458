"""The kind fsspec: its options, broken connections, object stores. places.py has it kept to the contract."""

import gc
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from httpx import RemoteProtocolError
from webdav4.client import ClientError

from simpledrive.errors import (
    ConfigurationError,
    IntegrityFault,
    StorageRefused,
    StorageUnavailable,
)
from simpledrive.ids import uuid7
from simpledrive.parts import Parts
from simpledrive.storage import claims
from simpledrive.storage.base import MARKER, Storage, new_key
from simpledrive.storage.fsspec.implementations import IMPLEMENTATIONS, find
from simpledrive.storage.fsspec.webdav import WebDav
from simpledrive.storage.registry import build
from simpledrive.streams.source import BLOCK
from tests.contract import LONG_AGO, Place, StorageContract, is_there, put, read_whole, tomorrow
from tests.drives import check, fetch, keep
from tests.fake_objects import FAKE
from tests.faulty_proxy import Closed, FaultyProxy, Reset, Stalled
from tests.fsspec_servers import FsspecServer
from tests.moves import move
from tests.sources import content, source_of

LARGE = content(24 << 20)
"""More than the buffers of the system hold."""
TIMEOUT = 1.5
KNOWN_HOSTS = "known_hosts is missing"


def message(**options: object) -> str:
    with pytest.raises(ConfigurationError) as caught:
        build("nas", {"kind": "fsspec", **options})
    assert "secret" not in str(caught.value)
    return str(caught.value)


# --- Options --------------------------------------------------------------------------------------


def test_building_touches_no_network(tmp_path: Path) -> None:
    (tmp_path / "known").touch()
    sftp = {"password": "x", "known_hosts": str(tmp_path / "known")}
    build("nas", {"kind": "fsspec", "url": "sftp://me@192.0.2.1/srv", "storage_options": sftp})
    build("nas", {"kind": "fsspec", "url": "webdavs://192.0.2.1/dav"})


def test_without_the_library_a_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("simpledrive.storage.fsspec")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "fsspec", None)
    why = message(url="file:///srv/drive")
    assert "The kind 'fsspec' of the backend 'nas' cannot be loaded" in why
    assert "pip install 'simpledrive[fsspec]'" in why


def test_a_drive_without_such_a_backend_does_not_load_the_library() -> None:
    told = "import sys, simpledrive.parts; sys.exit('fsspec' in sys.modules)"
    subprocess.run([sys.executable, "-c", told], check=True)


@pytest.mark.parametrize(("scheme", "package"), [("gs", "gcsfs"), ("abfs", "adlfs"), ("sftp", "sshfs")])
def test_without_an_implementation_a_sentence_names_its_package(
    monkeypatch: pytest.MonkeyPatch, scheme: str, package: str
) -> None:
    for name in [
        name for name in sys.modules if name.endswith(("fsspec.gcs", "fsspec.azure", "fsspec.sftp"))
    ]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    why = message(url=f"{scheme}://somewhere/folder")
    assert f"the option 'url' is not acceptable: {scheme}:// wants the package {package}" in why
    assert f"pip install {package}" in why


@pytest.mark.parametrize(
    ("url", "storage_options", "says"),
    [
        ("nas/srv/drive", {}, "'url' is not acceptable: is not an address such as sftp://"),
        ("sftp://nas:secret/srv", {}, "'url' is not acceptable: is not an address such as sftp://"),
        ("sftp://me:secret@nas/srv", {}, "holds a password: that is one of the storage_options"),
        ("webdav://nas/a?token=secret", {}, "holds more than scheme, user, host, port and path"),
        ("file:///srv/../etc", {}, "holds a path with . or .."),
        ("hdfs://nas/srv", {}, "none of the schemes that the drive knows: file://, sftp://, webdav://"),
        ("file://nas/srv", {}, "begins with three slashes"),
        ("file:///srv", {"auto_mkdir": True}, "there is no 'auto_mkdir'"),
        ("sftp://nas/", {}, "wants a host and a folder"),
        ("sftp://nas/srv", {"password": "secret"}, "username is missing"),
        ("sftp://me@nas/srv", {"password": "secret"}, KNOWN_HOSTS),
        ("sftp://me@nas/srv", {"password": "secret", "known_hosts": ""}, KNOWN_HOSTS),
        ("sftp://me@nas/srv", {"known_hosts": "/known"}, "client_keys (a file) or password is missing"),
        ("sftp://me@nas/srv", {"known_hosts": "/none", "password": "secret"}, "No such file or directory"),
        ("sftp://me@nas/srv", {"pasword": "secret"}, "there is no 'pasword'; the nearest is 'password'."),
        ("webdavs://nas/a", {"username": "me"}, "of username and password one is missing"),
        ("webdavs://me@nas/a", {}, "of username and password one is missing"),
        ("webdavs://nas/a", {"verify": "/dev/null"}, "no certificates in PEM form"),
        ("webdavs://nas/a", {"verfy": False}, "the nearest is 'verify'"),
        ("webdavs:///a", {}, "wants a host"),
        ("webdavs://nas/a", "secret", "'storage_options' is not acceptable"),
    ],
)
def test_a_wrong_option_is_explained_and_not_shown(url: str, storage_options: object, says: str) -> None:
    assert says in message(url=url, storage_options=storage_options)


def test_nothing_is_taken_from_the_home_folder(tmp_path: Path) -> None:
    config = tmp_path / ".config" / "fsspec" / "conf.json"
    config.parent.mkdir(parents=True)
    config.write_text(json.dumps({"webdav": {"auth": ["stranger", "x"]}}))
    told = "import simpledrive.storage.fsspec, fsspec.config as c; print(c.conf_dir, c.conf)"
    environ = os.environ | {"HOME": str(tmp_path), "FSSPEC_WEBDAV_VERIFY": "false"}
    answer = subprocess.run(
        [sys.executable, "-c", told], env=environ, check=True, capture_output=True, text=True
    )
    assert answer.stdout == f"{config.parent} {{}}\n"


# --- Servers and networks -------------------------------------------------------------------------


@pytest.fixture(params=["sshd", "apache"])
def server(request: pytest.FixtureRequest) -> FsspecServer:
    found: FsspecServer = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def proxy(server: FsspecServer) -> Iterator[FaultyProxy]:
    with FaultyProxy(server.port) as proxy:
        yield proxy


@pytest.fixture
def storage(server: FsspecServer, proxy: FaultyProxy) -> Iterator[Storage]:
    """By way of the proxy; it has stored already, so that folders are made and connections open."""
    storage = build("nas", server.by(proxy.port).config(timeout=TIMEOUT))
    storage.probe()
    yield storage
    storage.close()


def test_an_idle_connection_that_was_closed_is_not_noticed(storage: Storage, proxy: FaultyProxy) -> None:
    key = put(storage, b"before")
    assert proxy.close_all()
    assert storage.size(key) == 6
    assert proxy.close_all()
    assert put(storage, b"after") in storage.keys()
    assert proxy.close_all()
    assert read_whole(storage.open(key)) == b"before"


@pytest.mark.parametrize("fault", [Reset(up=5 * BLOCK), Closed(up=5 * BLOCK)])
def test_a_connection_lost_while_storing_leaves_nothing(
    storage: Storage, proxy: FaultyProxy, fault: Reset | Closed
) -> None:
    key = new_key(source_of(LARGE).sha256)
    proxy.expect(fault)
    with pytest.raises(StorageUnavailable):
        storage.put(key, source_of(LARGE))
    assert proxy.happened == 1
    assert not is_there(storage, key)
    storage.put(key, source_of(LARGE))
    assert read_whole(storage.open(key)) == LARGE


@pytest.mark.parametrize("fault", [Reset(down=5 * BLOCK), Closed(down=5 * BLOCK)])
def test_a_connection_lost_while_reading_is_an_error_and_never_the_end(
    storage: Storage, proxy: FaultyProxy, fault: Reset | Closed
) -> None:
    key = put(storage, LARGE)
    reader = storage.open(key)
    begin = reader.read(10)
    proxy.close_all()
    with pytest.raises(StorageUnavailable):
        read_whole(reader)
    assert LARGE.startswith(begin)
    proxy.expect(fault)
    with pytest.raises(StorageUnavailable):
        read_whole(storage.open(key))
    assert proxy.happened == 1
    assert read_whole(storage.open(key)) == LARGE


@pytest.mark.parametrize("fault", [Stalled(up=5 * BLOCK), Stalled(down=0)])
def test_a_server_that_stalls_is_waited_for_no_longer_than_allowed(
    storage: Storage, proxy: FaultyProxy, fault: Stalled
) -> None:
    key = new_key(source_of(LARGE).sha256)
    proxy.expect(fault)
    began = time.monotonic()
    with pytest.raises(StorageUnavailable, match="says nothing"):
        storage.put(key, source_of(LARGE))
    assert time.monotonic() - began < 4 * TIMEOUT
    assert not is_there(storage, key)


def test_a_reader_of_a_server_that_stalls_gets_an_error(storage: Storage, proxy: FaultyProxy) -> None:
    key = put(storage, LARGE)
    proxy.expect(Stalled(down=5 * BLOCK))
    with pytest.raises(StorageUnavailable, match="says nothing"):
        read_whole(storage.open(key))
    assert proxy.happened == 1


def test_a_server_that_is_gone_is_unavailable_and_not_empty(storage: Storage, proxy: FaultyProxy) -> None:
    key = put(storage, b"abc")
    proxy.refuse()
    proxy.close_all()
    for call in (lambda: storage.size(key), lambda: put(storage, b"x"), lambda: list(storage.keys())):
        with pytest.raises(StorageUnavailable):
            call()


def test_a_forked_process_makes_connections_of_its_own(storage: Storage) -> None:
    key = put(storage, b"abc")
    child = os.fork()
    if child == 0:
        ok = False
        try:
            ok = storage.size(key) == 3 and put(storage, b"def") in storage.keys()
        finally:
            os._exit(not ok)
    assert os.waitpid(child, 0)[1] == 0
    assert read_whole(storage.open(key)) == b"abc"


def test_where_the_folder_disappears_nothing_is_stored(server: FsspecServer) -> None:
    config = server.config()
    storage = build("nas", config)
    put(storage, b"abc")
    (base,) = server.root.glob(f"{config['url'].split('/')[-2]}/*")
    base.rename(server.root / "elsewhere")
    with pytest.raises(StorageUnavailable, match="is the server's disk mounted"):
        put(storage, b"def")
    assert not base.exists()
    (server.root / "elsewhere").rename(base)
    put(storage, b"def")
    storage.close()


def test_a_claim_that_a_dead_process_left_is_told_and_cleaned(
    server: FsspecServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "PAUSES", (0.01,))
    config = server.config()
    storage = build("nas", config)
    storage.probe()
    (temporary,) = server.root.glob(f"{config['url'].split('/')[-2]}/*/tmp")
    claim = temporary / f"{MARKER}.claim"
    claim.mkdir()
    claim.chmod(0o777)
    for _ in range(2):
        with pytest.raises(StorageUnavailable, match=f"the folder tmp/{MARKER}.claim is another put's"):
            storage.put(MARKER, source_of(b"abc"))
    assert storage.clean(tomorrow()) == 1
    storage.put(MARKER, source_of(b"abc"))
    storage.close()


def test_a_claim_that_was_made_by_ftp_is_cleaned_too(tmp_path: Path) -> None:
    """A folder that was reached by FTP may be reached by SFTP from then on."""
    storage = build("nas", {"kind": "fsspec", "url": tmp_path.as_uri()})
    storage.probe()
    claim = tmp_path / "tmp" / f"{new_key('ab' * 32)}.claim"
    (claim / f"since.{uuid7().hex}").mkdir(parents=True)
    assert storage.clean(LONG_AGO) == 0
    assert storage.clean(tomorrow()) == 1
    assert list((tmp_path / "tmp").iterdir()) == []


def test_it_says_where_it_is_without_a_user(tmp_path: Path) -> None:
    assert build("nas", {"kind": "fsspec", "url": tmp_path.as_uri()}).where == tmp_path.as_uri()


def test_a_server_with_another_key_gets_no_login(sshd: FsspecServer, tmp_path: Path) -> None:
    another = (sshd.root.parent / "secret.pub").read_text()
    (tmp_path / "known").write_text(f"127.0.0.1,[127.0.0.1]:* {another}")
    storage = build("nas", sshd.config(sshd.login | {"known_hosts": str(tmp_path / "known")}))
    with pytest.raises(StorageRefused, match="the server's key is not the one in known_hosts"):
        storage.size(MARKER)


def test_blobs_move_there_and_back(make_app: Callable[..., Flask], server: FsspecServer) -> None:
    parts: Parts = make_app(backends={"nas": server.config()}).extensions["simpledrive"]
    data = content(3 * BLOCK + 5)
    keep(parts, "a", data)
    for source, target in (("local", "nas"), ("nas", "local")):
        move(parts, source, target)
        assert fetch(parts, "a") == data
        check(parts)


# --- WebDAV servers that take liberties -----------------------------------------------------------


@contextmanager
def answering(status: int, body: bytes, **headers: str) -> Iterator[WebDav]:
    """A filesystem whose server answers each GET like this."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        options = {"kind": "fsspec", "url": f"webdav://127.0.0.1:{server.server_port}/", "timeout": 5}
        given: Any = build("nas", options).options
        filesystem = WebDav(given.arguments, 5)
        try:
            yield filesystem
        finally:
            filesystem.close()
            server.shutdown()
            thread.join()


def test_a_server_without_ranges_sends_all_and_the_begin_is_skipped() -> None:
    data = content(2 * BLOCK)
    with answering(200, data, Content_Length=str(len(data))) as filesystem:
        assert read_whole(filesystem.open("a", BLOCK + 3, BLOCK + 9), 6)[:6] == data[BLOCK + 3 : BLOCK + 9]


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (206, {"Content_Range": "bytes 9-12/20"}),
        (206, {}),
        (200, {"Content_Length": "9"}),
        (302, {"Location": "/elsewhere"}),
        (503, {}),
    ],
)
def test_an_answer_that_is_no_such_range_is_an_error(status: int, headers: dict[str, str]) -> None:
    with (
        answering(status, b"abc", **headers) as filesystem,
        pytest.raises((ClientError, RemoteProtocolError)),
    ):
        read_whole(filesystem.open("a", 4, 8))


# --- Object stores --------------------------------------------------------------------------------


@pytest.fixture
def objects(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Storage]:
    monkeypatch.setitem(IMPLEMENTATIONS, "fake", FAKE)
    find("fake")

    def make(folder: str = "bucket", **storage_options: object) -> Storage:
        url = f"fake://prefix{tmp_path}/{folder}"
        return build("tried", {"kind": "fsspec", "url": url, "storage_options": storage_options})

    return make


class TestObjectStore(StorageContract):
    @pytest.fixture
    def place(self, objects: Callable[..., Storage], tmp_path: Path) -> Place:
        (tmp_path / "file").touch()
        return Place(objects(), objects("file/secret"), ("secret",))


def test_an_upload_that_failed_is_never_published_not_even_by_the_garbage_collector(
    objects: Callable[..., Storage], tmp_path: Path
) -> None:
    storage = objects()
    key = new_key("ab" * 32)
    for size in (1, 5, 9 * BLOCK):
        with pytest.raises(IntegrityFault):
            storage.put(
                key, replace(source_of(content(size)), opener=lambda size=size: BytesIO(content(size)[:-1]))
            )
    gc.collect()
    assert list((tmp_path / "bucket").iterdir()) == []


def test_an_object_that_arrived_short_is_removed(objects: Callable[..., Storage], tmp_path: Path) -> None:
    with pytest.raises(StorageUnavailable, match="of 3 bytes the server holds 2"):
        put(objects(short=True), b"abc")
    assert list((tmp_path / "bucket").iterdir()) == []
