"""Transactions lose nothing: counted on SQLite and PostgreSQL, by threads and by processes."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, event, text
from sqlalchemy.exc import IntegrityError, ProgrammingError
from sqlalchemy.orm import Session

from simpledrive import sql
from simpledrive.errors import Busy, DatabaseFull, DatabaseUnavailable
from simpledrive.sql import Database, connect
from tests.contract import in_threads


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{request.getfixturevalue('tmp_path')}/records.db"
    made: str = request.getfixturevalue("postgres_database")
    return made


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    database = Database(connect(url))
    database.write(
        lambda session: session.execute(
            text("CREATE TABLE counter (name INTEGER PRIMARY KEY, value INTEGER)")
        )
    )
    database.write(lambda session: session.execute(text("INSERT INTO counter VALUES (1, 0), (2, 0)")))
    yield database
    database.engine.dispose()


on_postgresql = pytest.mark.parametrize("url", ["postgresql"], indirect=True)
on_sqlite = pytest.mark.parametrize("url", ["sqlite"], indirect=True)


def value(session: Session, name: int = 1, lock: str = "") -> int:
    found = session.scalar(text(f"SELECT value FROM counter WHERE name = :name {lock}"), {"name": name})
    return int(found)


def set_value(session: Session, value: int, name: int = 1) -> None:
    session.execute(
        text("UPDATE counter SET value = :value WHERE name = :name"), {"value": value, "name": name}
    )


def increment(session: Session) -> None:
    """Reads, then writes: what loses updates where a transaction begins as a reader."""
    lock = "FOR UPDATE" if session.connection().dialect.name == "postgresql" else ""
    set_value(session, value(session, lock=lock) + 1)


@on_sqlite
@pytest.mark.parametrize("where", ["BEGIN IMMEDIATE", "SELECT", "UPDATE"])
def test_a_transaction_that_ctrl_c_interrupts_holds_nobody_up(database: Database, where: str) -> None:
    """Not even while the interruption is on its way out, and its frames refer to all that they used."""

    def interrupt(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if statement.startswith(where):
            event.remove(database.engine, "after_cursor_execute", interrupt)
            raise KeyboardInterrupt

    event.listen(database.engine, "after_cursor_execute", interrupt)
    try:
        database.write(increment)
    except KeyboardInterrupt:
        database.write_if_free(increment)
    assert database.read(value) == 1


INCREMENTS = """
import sys
from simpledrive.sql import Database, connect
from tests.contract import in_threads
from tests.test_sql import increment
database = Database(connect(sys.argv[1]))
in_threads(lambda _: database.write(increment), range(100))
"""


def test_of_600_concurrent_increments_none_is_lost(database: Database, url: str) -> None:
    environment = {"PYTHONPATH": ":".join(filter(None, sys.path))}
    others = [subprocess.Popen([sys.executable, "-c", INCREMENTS, url], env=environment) for _ in range(2)]
    in_threads(lambda _: database.write(increment), range(400))
    assert [other.wait(60) for other in others] == [0, 0]
    assert database.read(value) == 600


def test_processes_may_all_be_the_first(url: str) -> None:
    """SQLite's change to WAL is a lock of its own kind."""
    databases = [Database(connect(url)) for _ in range(16)]
    assert (
        in_threads(
            lambda database: database.read(lambda session: session.scalar(text("SELECT 1"))), databases
        )
        == [1] * 16
    )
    for database in databases:
        database.engine.dispose()


def test_a_reader_sees_one_moment_and_stops_no_writer(database: Database) -> None:
    def twice(session: Session) -> tuple[int, int]:
        before = value(session)
        database.write(increment)
        return before, value(session)

    assert database.read(twice) == (0, 0)
    assert database.read(value) == 1


def test_what_raises_is_rolled_back(database: Database) -> None:
    def fail(session: Session) -> None:
        set_value(session, 7)
        raise RuntimeError

    with pytest.raises(RuntimeError):
        database.write(fail)
    assert database.read(value) == 0


@on_postgresql
def test_a_deadlock_is_repeated(database: Database) -> None:
    met = threading.Barrier(2)
    attempts = []

    def both(names: tuple[int, int]) -> None:
        def work(session: Session) -> None:
            attempts.append(names)
            set_value(session, value(session, names[0], "FOR UPDATE") + 1, names[0])
            if len(attempts) <= 2:
                met.wait(10)
            set_value(session, value(session, names[1], "FOR UPDATE") + 1, names[1])

        database.write(work)

    in_threads(both, [(1, 2), (2, 1)])
    assert len(attempts) == 3, "one of the two was the victim, once"
    assert [database.read(lambda session, name=name: value(session, name)) for name in (1, 2)] == [2, 2]  # type: ignore[misc]


@on_postgresql
@pytest.mark.parametrize("committed", [True, False])
def test_after_a_broken_commit_it_is_found_out_whether_it_happened(
    database: Database, committed: bool
) -> None:
    breaking(database, committed)
    worked, looked = [], []

    def work(session: Session) -> str:
        worked.append(1)
        increment(session)
        return "worked"

    def happened(session: Session) -> str | None:
        looked.append(1)
        return "happened" if value(session) else None

    assert database.write(work, happened) == ("happened" if committed else "worked")
    assert database.read(value) == 1, "counted once, whatever happened"
    assert (len(worked), len(looked)) == (1 if committed else 2, 1)


def breaking(database: Database, committed: bool) -> None:
    """The next COMMIT breaks the connection, before or after it counted."""
    broken = []

    def commit(connection: Connection) -> None:
        if not broken:
            driver = connection.connection.dbapi_connection
            assert driver is not None
            broken.append(driver)
            if committed:
                driver.commit()
            driver.close()

    event.listen(database.engine, "commit", commit)


@on_postgresql
def test_a_server_that_ends_our_connections_is_asked_again(database: Database) -> None:
    database.read(value)
    administrator = connect(str(database.engine.url.render_as_string(hide_password=False)))
    others = """
        SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid()
    """
    with administrator.connect() as connection:
        connection.execute(text(others))
    administrator.dispose()
    database.write(increment)
    assert database.read(value) == 1


def test_a_full_disk_is_database_full(database: Database) -> None:
    if database.engine.dialect.name == "sqlite":
        statements = ["PRAGMA max_page_count = 1", "CREATE TABLE filling (data BLOB)"]
    else:
        statements = ["DO $$ BEGIN RAISE EXCEPTION 'no space left on device' USING ERRCODE = '53100'; END $$"]
    with pytest.raises(DatabaseFull):
        database.write(lambda session: [session.execute(text(statement)) for statement in statements])


def test_errors_of_constraints_and_of_programs_pass_through(database: Database) -> None:
    for statement, kind in (
        ("INSERT INTO counter VALUES (1, 1)", IntegrityError),
        (
            "SELECT * FROM nowhere",
            Exception if database.engine.dialect.name == "sqlite" else ProgrammingError,
        ),
    ):
        with pytest.raises(kind):
            database.write(lambda session, statement=statement: session.execute(text(statement)))


def test_parameters_are_not_in_error_messages(database: Database) -> None:
    with pytest.raises(IntegrityError) as caught:
        database.write(
            lambda session: session.execute(text("INSERT INTO counter VALUES (1, :v)"), {"v": 4711})
        )
    assert "4711" not in str(caught.value)


@on_sqlite
def test_a_writer_that_does_not_end_makes_others_busy(
    database: Database, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sql, "ATTEMPTS", 2)
    monkeypatch.setattr(sql, "BUSY_SECONDS", 0)
    other = Database(connect(url))
    with database.engine.execution_options(writes=True).connect() as connection, connection.begin():
        with pytest.raises(Busy):
            other.write(increment)
        assert other.read(value) == 0
    other.engine.dispose()


@pytest.mark.parametrize("where", ["sqlite:///{}/file/records.db", "sqlite:///{}", "sqlite:///{}/file"])
def test_a_file_that_is_no_database_is_unavailable(tmp_path: Path, where: str) -> None:
    (tmp_path / "file").write_bytes(b"this is no database, however long it is" * 100)
    database = Database(connect(where.format(tmp_path)))
    with pytest.raises(DatabaseUnavailable) as caught:
        database.read(lambda session: session.execute(text("SELECT 1 FROM sqlite_master")))
    assert str(tmp_path) not in str(caught.value)
    database.engine.dispose()


def test_a_server_that_is_not_there_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sql, "ATTEMPTS", 2)
    database = Database(connect("postgresql+psycopg://me:secret@127.0.0.1:1/drive"))
    with pytest.raises(DatabaseUnavailable) as caught:
        database.write(lambda session: session.execute(text("SELECT 1")))
    assert "secret" not in str(caught.value)


def test_no_connection_left_is_busy(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sql, "ENGINE_OPTIONS", {"pool_size": 1, "max_overflow": 0, "pool_timeout": 0.05})
    database = Database(connect(url))
    with database.engine.connect(), pytest.raises(Busy):
        database.read(value)
    database.engine.dispose()
