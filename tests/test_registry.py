"""A configuration becomes a storage, or a sentence that says what is wrong with it."""

from collections.abc import Callable
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import asyncssh
import pytest
import trustme
from flask import Flask

from simpledrive.errors import ConfigurationError
from simpledrive.parts import Parts
from simpledrive.storage import registry
from simpledrive.storage.database import DatabaseStorage
from simpledrive.storage.local import LocalStorage
from simpledrive.storage.registry import KINDS, build, known_kinds
from tests.broken_storages import MemoryStorage


def message(name: str, config: dict[str, object]) -> str:
    with pytest.raises(ConfigurationError) as caught:
        build(name, config)
    assert caught.value.__cause__ is None or "secret" not in str(caught.value.__cause__)
    assert caught.value.__context__ is None or "secret" not in str(caught.value.__context__)
    return str(caught.value)


def test_each_kind_is_built_by_its_name_without_touching_anything(tmp_path: Path) -> None:
    local = build("disk", {"kind": "local", "path": str(tmp_path / "new")})
    database = build("rows", {"kind": "database", "url": "postgresql+psycopg://a:b@192.0.2.1/c"})
    assert isinstance(local, LocalStorage)
    assert isinstance(database, DatabaseStorage)
    assert (local.name, database.name) == ("disk", "rows")
    assert list(tmp_path.iterdir()) == []


def test_every_kind_is_listed_under_its_own_name() -> None:
    assert {name: storage.kind for name, storage in KINDS.items()} == {name: name for name in KINDS}


def test_an_unknown_kind_names_backend_kind_and_the_known() -> None:
    why = message("archive", {"kind": "locl"})
    assert "'archive'" in why
    assert "'locl'" in why
    assert "Did you mean 'local'?" in why
    assert "database, fsspec, ftp, local, s3" in why


@pytest.mark.parametrize("config", [{}, {"kind": None}, {"kind": ["local"]}, {"path": "secret"}])
def test_a_missing_kind_names_backend_and_the_known(config: dict[str, object]) -> None:
    why = message("archive", config)
    assert "'archive' needs a kind" in why
    assert "database, fsspec, ftp, local, s3" in why
    assert "secret" not in why


def test_a_missing_option_is_named() -> None:
    assert "'archive' of kind 'local': the option 'path' is missing" in message("archive", {"kind": "local"})


def test_an_unknown_option_names_the_nearest() -> None:
    why = message("archive", {"kind": "local", "pth": "secret"})
    assert "there is no option 'pth'" in why
    assert "Did you mean 'path'?" in why
    assert "'path' is missing" in why
    assert "secret" not in why


@pytest.mark.parametrize(
    ("url", "says"),
    [
        (7, "valid string"),
        ("secret", "not a database URL"),
        ("mysql://user:secret@host/name", "begins with sqlite or postgresql+psycopg"),
        ("sqlite://", "in memory"),
        ("sqlite:///:memory:", "in memory"),
        ("postgresql+psycopg://user:secret@host:port/name", "not a database URL"),
    ],
)
def test_a_wrong_value_is_explained_and_not_shown(url: object, says: str) -> None:
    why = message("archive", {"kind": "database", "url": url})
    assert "'archive' of kind 'database': the option 'url' is not acceptable" in why
    assert says in why
    assert "secret" not in why


S3 = {"kind": "s3", "bucket_name": "drive", "access_key_id": "id", "secret_access_key": "secret"}
SFTP = {"kind": "fsspec", "url": "sftp://me@nas/srv"}


@pytest.mark.parametrize(
    "config",
    [
        S3 | {"ca_bundle": "keys/ca.pem"},
        {"kind": "ftp", "host": "nas", "tls": "explicit", "ca_bundle": "keys/ca.pem"},
        {"kind": "fsspec", "url": "webdavs://nas/a", "storage_options": {"verify": "keys/ca.pem"}},
        SFTP | {"storage_options": {"known_hosts": "keys/known", "client_keys": "keys/key"}},
        SFTP | {"storage_options": {"known_hosts": "keys/known", "client_keys": ["keys/key"]}},
    ],
    ids=["s3", "ftp", "webdav", "sftp", "sftp with several keys"],
)
def test_a_relative_file_begins_where_the_settings_lie(tmp_path: Path, config: dict[str, object]) -> None:
    assert "is not acceptable" in message("far", config)  # where the process runs there are none
    keys = tmp_path / "keys"
    keys.mkdir()
    trustme.CA().cert_pem.write_to_path(str(keys / "ca.pem"))
    (keys / "known").touch()
    asyncssh.generate_private_key("ssh-ed25519").write_private_key(str(keys / "key"))
    build("far", config, tmp_path).close()


def test_a_drive_takes_the_folders_of_its_backends_from_where_its_settings_lie(
    make_app: Callable[..., Flask], tmp_path: Path
) -> None:
    (tmp_path / "simpledrive.toml").write_text("[backends.cold]\nkind = 'local'\npath = '../cold'\n")
    parts: Parts = make_app().extensions["simpledrive"]
    assert parts.backends.where("cold") == str(tmp_path.parent / "cold")


def test_the_home_folder_of_nobody_is_told() -> None:
    assert "'path' is not acceptable: begins with the home folder of somebody" in message(
        "archive", {"kind": "local", "path": "~no-such-user/blobs"}
    )


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three kinds of third parties; only what is asked for may be loaded."""
    entries = EntryPoints(
        EntryPoint(name, value, registry.GROUP)
        for name, value in {
            "memory": "tests.broken_storages:MemoryStorage",
            "absent": "no_such_module:Storage",
            "nonsense": "pathlib:Path",
        }.items()
    )
    monkeypatch.setattr(registry, "entry_points", entries.select)


@pytest.mark.usefixtures("installed")
def test_a_third_party_adds_a_kind_by_an_entry_point() -> None:
    assert known_kinds() == sorted(["absent", "memory", "nonsense", "fsspec", *KINDS])
    assert isinstance(build("ram", {"kind": "memory"}), MemoryStorage)
    assert "there is no option 'dwn'. Did you mean 'down'?" in message("ram", {"kind": "memory", "dwn": True})


@pytest.mark.usefixtures("installed")
def test_a_third_party_that_cannot_be_loaded_is_named() -> None:
    assert "'absent' of the backend 'x' cannot be loaded from no_such_module:Storage" in message(
        "x", {"kind": "absent"}
    )
    assert "'nonsense' of the backend 'x', pathlib:Path, is not a Storage" in message(
        "x", {"kind": "nonsense"}
    )
