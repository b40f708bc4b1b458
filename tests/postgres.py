"""A real PostgreSQL server for the tests: the one at TEST_DATABASE_URL, or one of their own.

Its own listens on nothing but a socket in a temporary folder, does not sync to the disk, and ends with the
session. As root it runs as another user, since PostgreSQL refuses root.
"""

import os
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import URL, create_engine, make_url, text
from sqlalchemy.exc import OperationalError

from tests.children import account, give_away
from tests.needs import need, postgres_program

START_SECONDS = 30
HAS_ICU = """
    SELECT current_setting('server_version_num')::int >= 150000
    AND EXISTS (SELECT FROM pg_collation WHERE collprovider = 'i')
"""
UNLIKE_BYTES = "TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en-US'"
SOCKET_PATH_LIMIT = 107


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A PostgreSQL server: the URL of its database for administration."""
    need("postgres")
    if given := os.environ.get("TEST_DATABASE_URL"):
        yield make_url(given).set(drivername="postgresql+psycopg").render_as_string(hide_password=False)
        return
    with _server() as url:
        yield url


@pytest.fixture
def postgres_database(postgres_url: str) -> Iterator[str]:
    """A fresh, empty database: its URL. Its default order of text is not the order of bytes."""
    with fresh_database(postgres_url) as url:
        yield url


@contextmanager
def fresh_database(server: str, template: str | None = None) -> Iterator[str]:
    """A database of its own; with the tables and rows of another one, if its URL is given."""
    name = f"drive_{uuid.uuid4().hex}"
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            how = UNLIKE_BYTES if connection.scalar(text(HAS_ICU)) else ""
            if template is not None:
                how = f"TEMPLATE {make_url(template).database}"
            connection.execute(text(f"CREATE DATABASE {name} {how}"))
        try:
            yield make_url(server).set(database=name).render_as_string(hide_password=False)
        finally:
            with engine.connect() as connection:
                connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    finally:
        engine.dispose()


@contextmanager
def _server() -> Iterator[str]:
    folder = Path(tempfile.mkdtemp(prefix="drive-pg-"))
    if len(f"{folder}/.s.PGSQL.5432") > SOCKET_PATH_LIMIT:
        folder.rmdir()
        folder = Path(tempfile.mkdtemp(prefix="drive-pg-", dir="/tmp"))
    user = account("postgres", "nobody")
    try:
        give_away(folder, user)
        data, log = folder / "data", folder / "log"
        initdb = [
            postgres_program("initdb"),
            "-D",
            data,
            "-U",
            "drive",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--no-sync",
        ]
        subprocess.run([*initdb, "--locale=C"], check=True, capture_output=True, cwd=folder, **user)
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": folder,
            "fsync": "off",
            "synchronous_commit": "off",
            "full_page_writes": "off",
            "max_connections": 200,
        }
        options = [f"--{name}={value}" for name, value in settings.items()]
        program = Path(postgres_program("initdb") or "").resolve().with_name("postgres")
        with log.open("wb") as output:
            server = subprocess.Popen(
                [program, "-D", data, *options], stdout=output, stderr=output, cwd=folder, **user
            )
        try:
            url = URL.create("postgresql+psycopg", "drive", database="postgres", query={"host": str(folder)})
            _wait(url, server, log)
            yield url.render_as_string()
        finally:
            _stop(server)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _wait(url: URL, server: subprocess.Popen[bytes], log: Path) -> None:
    engine = create_engine(url)
    until = time.monotonic() + START_SECONDS
    try:
        while True:
            try:
                engine.connect().close()
            except OperationalError:
                if server.poll() is not None or time.monotonic() > until:
                    pytest.fail(
                        f"PostgreSQL does not start:\n{log.read_text(errors='replace')}", pytrace=False
                    )
                time.sleep(0.02)
            else:
                return
    finally:
        engine.dispose()


def _stop(server: subprocess.Popen[bytes]) -> None:
    server.send_signal(signal.SIGINT)  # "fast": without waiting for clients
    try:
        server.wait(START_SECONDS)
    except subprocess.TimeoutExpired:
        server.send_signal(signal.SIGQUIT)  # "immediate": takes its children along
        server.wait(START_SECONDS)
