"""The places that storages are tested on. A later kind is one more entry of PLACES."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from simpledrive import sql
from simpledrive.storage.registry import build
from tests.contract import Place

Config = dict[str, str]


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


PLACES: dict[str, Callable[[pytest.FixtureRequest], tuple[Config, Config]]] = {
    "local": local,
    "database on SQLite": sqlite,
    "database on PostgreSQL": postgresql,
}
"""For each: the configuration of a fresh, empty place and of one that does not work, `secret` within."""


@pytest.fixture(params=PLACES)
def configs(request: pytest.FixtureRequest) -> tuple[Config, Config]:
    return PLACES[request.param](request)


@pytest.fixture
def place(configs: tuple[Config, Config], monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    monkeypatch.setattr(sql, "ATTEMPTS", 3)  # how long a dead server is waited for is not what is tested
    storage, down = build("tried", configs[0]), build("tried-down", configs[1])
    try:
        yield Place(storage, down, ("secret",))
    finally:
        storage.close()
        down.close()
