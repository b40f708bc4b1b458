"""The places that storages are tested on. A later kind is one more entry of PLACES."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from simpledrive import sql
from simpledrive.storage import chunks
from simpledrive.storage.registry import build
from simpledrive.storage.s3 import client as s3_client
from simpledrive.storage.s3 import storage as s3_storage
from tests.contract import Place
from tests.fsspec_servers import FsspecServer
from tests.ftp_servers import FtpServer
from tests.s3_servers import OWN, OwnS3, S3Server
from tests.strict_s3 import StrictS3

Config = dict[str, Any]


def local(request: pytest.FixtureRequest) -> tuple[Config, Config]:
    folder: Path = request.getfixturevalue("tmp_path")
    (folder / "file").write_bytes(b"no folder")
    return {"kind": "local", "path": f"{folder}/a/b"}, {"kind": "local", "path": f"{folder}/file/secret"}


def sqlite(request: pytest.FixtureRequest) -> tuple[Config, Config]:
    folder: Path = request.getfixturevalue("tmp_path")
    (folder / "file").write_bytes(b"no folder")
    works, down = f"sqlite:///{folder}/bytes.db", f"sqlite:///{folder}/file/secret.db"
    return {"kind": "database", "url": works}, {"kind": "database", "url": down}


def postgresql(request: pytest.FixtureRequest) -> tuple[Config, Config]:
    url: str = request.getfixturevalue("postgres_database")
    down = "postgresql+psycopg://somebody:secret@127.0.0.1:1/drive"
    return {"kind": "database", "url": url}, {"kind": "database", "url": down}


def ftp(fixture: str) -> Callable[[pytest.FixtureRequest], tuple[Config, Config]]:
    def configs(request: pytest.FixtureRequest) -> tuple[Config, Config]:
        server: FtpServer = request.getfixturevalue(fixture)
        return server.config(), server.config(password="secret")

    return configs


def s3(
    fixture: str, *, down: Config, **options: str
) -> Callable[[pytest.FixtureRequest], tuple[Config, Config]]:
    def configs(request: pytest.FixtureRequest) -> tuple[Config, Config]:
        server: S3Server | StrictS3 | OwnS3 = request.getfixturevalue(fixture)
        config = server.config(prefix="some/where", **options)
        return config, config | {"secret_access_key": "secret"} | down

    return configs


def fsspec(fixture: str) -> Callable[[pytest.FixtureRequest], tuple[Config, Config]]:
    def configs(request: pytest.FixtureRequest) -> tuple[Config, Config]:
        server: FsspecServer = request.getfixturevalue(fixture)
        return server.config(), server.config(server.stranger)

    return configs


def fsspec_folder(request: pytest.FixtureRequest) -> tuple[Config, Config]:
    works, down = ({"kind": "fsspec", "url": f"file://{config['path']}"} for config in local(request))
    return works, down


IN_PARTS = {"multipart_size": "5MiB", "part_size": "5MiB"}
NOBODY = {"endpoint_url": "http://127.0.0.1:1"}
BY_TCP = {"http", "https", "ftp", "sftp", "webdav"}
"""How the addresses of such places begin. A client of PostgreSQL makes its connections itself."""

PLACES: dict[str, Callable[[pytest.FixtureRequest], tuple[Config, Config]]] = {
    "local": local,
    "database on SQLite": sqlite,
    "database on PostgreSQL": postgresql,
    "s3 on rclone": s3("rclone_s3", down=NOBODY),
    "s3 on moto": s3("moto_s3", down={"bucket_name": "absent"}),
    "s3 on a strict server": s3("strict_s3", down={"access_key_id": "stranger"}),
    "ftp on pyftpdlib": ftp("pyftpdlib"),
    "ftp on pyftpdlib with TLS": ftp("pyftpdlib_tls"),
    "ftp on vsftpd with TLS": ftp("vsftpd"),
    "ftp on ProFTPD with TLS": ftp("proftpd"),
    "fsspec on a folder": fsspec_folder,
    "fsspec on SFTP": fsspec("sshd"),
    "fsspec on WebDAV": fsspec("apache"),
}
"""For each: the configuration of a fresh, empty place and of one that does not work, `secret` within."""

PLACES_IN_PARTS = {
    "s3 on rclone in parts": s3("rclone_s3", down=NOBODY, **IN_PARTS),
    "s3 on a strict server in parts": s3("strict_s3", down={"region": "elsewhere"}, **IN_PARTS),
}
"""The same for places that store large objects in another way than small ones."""

if OWN:
    PLACES["s3 of one's own"] = s3("own_s3", down=NOBODY)
    PLACES_IN_PARTS["s3 of one's own in parts"] = s3("own_s3", down=NOBODY, **IN_PARTS)


@pytest.fixture(params=PLACES)
def configs(request: pytest.FixtureRequest) -> tuple[Config, Config]:
    return PLACES[request.param](request)


@pytest.fixture
def place(configs: tuple[Config, Config], monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    monkeypatch.setattr(sql, "ATTEMPTS", 3)  # how long a dead server is waited for is not what is tested
    monkeypatch.setattr(s3_client, "PAUSES", (0.01,) * 4)
    monkeypatch.setattr(s3_storage, "AT_THE_SAME_MOMENT", 0)
    for paging in (s3_storage, chunks):
        monkeypatch.setattr(paging, "PAGE", 50)  # so that there are several in a test
    again = partial(build, "tried", configs[0])
    storage, down = again(), build("tried-down", configs[1])
    by_tcp = storage.where.partition("://")[0] in BY_TCP
    try:
        yield Place(storage, down, ("secret",), again if by_tcp else None)
    finally:
        storage.close()
        down.close()
