"""Apps for tests: with records on SQLite or on a real PostgreSQL, made by the real migrations."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from simpledrive import config, create_app
from simpledrive.keys import NewKey
from simpledrive.parts import Parts
from simpledrive.rights import SERVER, Caller
from simpledrive.start import prepare
from tests.postgres import fresh_database

TOKEN = "token-for-tests"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
UNLIMITED = {"rate_limit": "none", "rate_limit_address": "none", "failed_sign_ins": "none"}
"""All tests come from one address, many of them with wrong keys. Those of the limits say which they want."""


def settings_for(folder: Path, **overrides: object) -> config.Settings:
    """Settings of a drive of its own below `folder`, untouched by the environment of the tests."""
    given = {"api_token": TOKEN, "secret_key": "key-for-tests", "app_env": "testing"}
    given |= {"sweep_interval": 0, "probe_interval": 0}
    return config.load({}, folder=folder, overrides=given | UNLIMITED | overrides)


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite database with the drive's tables, to copy: migrating takes longer than most tests."""
    folder = tmp_path_factory.mktemp("migrated")
    prepare(settings_for(folder))
    return folder / "instance" / "drive.db"


@pytest.fixture(scope="session")
def migrated_postgres(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The same on PostgreSQL: the URL of a database to copy. Nobody may be connected to it meanwhile."""
    with fresh_database(postgres_url) as url:
        prepare(settings_for(tmp_path_factory.mktemp("migrated"), database_url=url))
        yield url


@pytest.fixture
def make_app(tmp_path: Path, migrated: Path) -> Iterator[Callable[..., Flask]]:
    """Makes apps with the given settings, on SQLite unless a `database_url` is among them."""
    made = []

    def make(*, is_migrated: bool = False, **overrides: object) -> Flask:
        settings = settings_for(tmp_path, **overrides)
        if "database_url" in overrides:
            if not is_migrated:
                prepare(settings)
        elif not (settings.instance_path / "drive.db").exists():
            settings.instance_path.mkdir(parents=True, exist_ok=True)
            shutil.copy(migrated, settings.instance_path / "drive.db")
        app = create_app(settings)
        made.append(app)
        return app

    yield make
    for app in made:
        parts: Parts = app.extensions["simpledrive"]
        parts.backends.close()
        parts.database.engine.dispose()


@pytest.fixture
def app(make_app: Callable[..., Flask]) -> Flask:
    """An app on SQLite with the default settings."""
    return make_app()


@pytest.fixture(params=["sqlite", "postgres"])
def any_database(request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    """Each of the databases that can keep the records, for `make_app`."""
    if request.param == "sqlite":
        yield {}
        return
    server, template = (request.getfixturevalue(name) for name in ("postgres_url", "migrated_postgres"))
    with fresh_database(server, template) as url:
        yield {"is_migrated": True, "database_url": url}


@pytest.fixture
def any_app(any_database: dict[str, Any], make_app: Callable[..., Flask]) -> Flask:
    """An app on each of these databases."""
    return make_app(**any_database)


@pytest.fixture
def parts(app: Flask) -> Parts:
    """The parts of `app`."""
    return app.extensions["simpledrive"]


@pytest.fixture
def any_parts(any_app: Flask) -> Parts:
    """The parts of `any_app`."""
    return any_app.extensions["simpledrive"]


@pytest.fixture
def api(app: Flask) -> FlaskClient:
    """A client of `app` that sends the token."""
    client = app.test_client()
    client.environ_base["HTTP_AUTHORIZATION"] = BEARER["Authorization"]
    return client


def client_of(app: Flask, **rights: Any) -> FlaskClient:
    """A client with a key of its own."""
    parts: Parts = app.extensions["simpledrive"]
    _, credential = parts.keys.issue(SERVER, NewKey("a key", **rights))
    client = app.test_client()
    client.environ_base["HTTP_X_API_KEY"] = credential
    return client


@pytest.fixture
def somebody() -> Caller:
    """A caller who may do everything."""
    return SERVER
