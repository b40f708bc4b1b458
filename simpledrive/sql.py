"""How this drive talks to a database: connections, transactions, repetition. One place for SQLite's traps.

SQLite through SQLAlchemy's defaults loses concurrent updates without a word: reads must not be upgraded to
writes in the middle of a transaction. So a transaction says at its beginning whether it will write.
"""

import os
import random
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from operator import itemgetter
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar, cast

from sqlalchemy import Connection, CursorResult, Engine, UpdateBase, create_engine, event
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import DeclarativeBase, Session

from simpledrive.errors import Busy, DatabaseFull, DatabaseUnavailable, Invalid

T = TypeVar("T")

ATTEMPTS = 10
LAST_STEPS = "last steps"
BUSY_SECONDS = 5
PATIENCE = 10
"""Seconds after which a caller is told that the database is busy: he holds a thread while he waits."""

REPEATABLE = {"40001", "40P01", "55P03"}  # serialization failure, deadlock, lock not available
FULL = {"53100", "53200"}  # disk full, out of memory
TOO_LONG_TO_INDEX = "54000"  # program limit exceeded; a third of a page, and only what cannot be compressed
OUT_OF_REACH = {
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
}
ENGINE_OPTIONS: dict[str, Any] = {
    # Fewer than threads: transactions are short, and PostgreSQL takes 100 connections unless told otherwise.
    # A process has two engines, for the records and for the backend `database`.
    "pool_size": 10,
    "max_overflow": 10,
    "pool_timeout": 30,
    # What users store and how they call it is nobody's business in a log.
    "hide_parameters": True,
}
POSTGRESQL_WAITS: dict[str, Any] = {
    # libpq alone would wait for a silent server without an end: seconds, but the last, in milliseconds.
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}


def connect(url: str) -> Engine:
    """An engine for a database of its own, behaving as this module promises."""
    return tame(create_engine(url, **ENGINE_OPTIONS))


def tame(engine: Engine) -> Engine:
    """Makes an engine safe for concurrent writers on SQLite, impatient with a silent PostgreSQL server."""
    if engine.dialect.name == "sqlite":
        if engine.url.database:
            # SQLite makes its file, but not the folder. Where this cannot either, SQLite will say so.
            with suppress(OSError):
                Path(engine.url.database).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        event.listen(engine, "do_connect", _on_sqlite_do_connect)
        event.listen(engine, "connect", _on_sqlite_connect)
        event.listen(engine, "begin", _on_sqlite_begin)
        event.listen(engine, "invalidate", _on_sqlite_invalidate)
    elif engine.dialect.name == "postgresql":
        event.listen(engine, "do_connect", _on_postgresql_connect)
    return engine


def _on_postgresql_connect(_dialect: object, _record: object, _args: object, options: dict[str, Any]) -> None:
    for name, value in POSTGRESQL_WAITS.items():
        options.setdefault(name, value)


def affected(session: Session, statement: UpdateBase) -> int:
    """Executes an UPDATE or DELETE; how many rows it touched. (Of an INSERT the ORM may not know.)"""
    return cast(CursorResult[Any], session.execute(statement)).rowcount


def insert(session: Session, model: type[DeclarativeBase]) -> sqlite.Insert | postgresql.Insert:
    """An INSERT that may say ON CONFLICT: both databases can, each by a class of its own."""
    if session.get_bind().dialect.name == "sqlite":
        return sqlite.insert(model)
    return postgresql.insert(model)


def lastly(session: Session, rank: int, step: Callable[[Session], None]) -> None:
    """Has `step` run in this transaction of `Database.write` when all of its work is done, before COMMIT.

    For rows that everybody writes. Steps run in the order of their ranks, so that all transactions lock such
    rows in one order.
    """
    session.info.setdefault(LAST_STEPS, []).append((rank, step))


def _on_sqlite_do_connect(_dialect: object, _record: object, args: tuple[Any, ...], _options: object) -> None:
    """Makes the file for nobody else's eyes: it holds all records, and the files beside it get its mode.

    Only where there is none: to close a file that SQLite has open drops this process's locks on it, and then
    another process takes the log away that is still read here.
    """
    path = str(args[0]) if args else ""
    if path and path != ":memory:" and not path.startswith("file:"):
        with suppress(OSError):  # it is there; what else is wrong, SQLite says better
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))


def _on_sqlite_connect(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000}")
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _on_sqlite_begin(connection: Connection) -> None:
    options = connection.get_execution_options()
    if not options.get("writes"):
        connection.exec_driver_sql("BEGIN")
        return
    seconds = 0 if options.get("only_if_free") else BUSY_SECONDS
    cast(sqlite3.Connection, connection.connection.dbapi_connection).execute(
        f"PRAGMA busy_timeout = {seconds * 1000}"
    )
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _on_sqlite_invalidate(connection: sqlite3.Connection, _record: object, _error: object) -> None:
    """Ends its transaction, before it is closed.

    Closed, it would hold its lock on as long as any cursor of it lives; and after Ctrl-C in the middle of a
    statement one does, until the interruption has left the program.
    """
    with suppress(sqlite3.Error):
        connection.rollback()


_TURNS: dict[str, Lock] = {}
_TURNS_LOCK = Lock()


class Database:
    """Short transactions on one engine. `work` gets a session and may run more than once.

    Objects that it returns stay readable afterwards. Raises Busy, DatabaseUnavailable, DatabaseFull; errors
    of constraints (IntegrityError) pass through, since only the caller knows what they mean.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._writer = engine.execution_options(writes=True)
        # PostgreSQL's default shows each statement a view of its own; SQLite's transactions have one anyway.
        postgresql = engine.dialect.name == "postgresql"
        self._reader = engine.execution_options(isolation_level="REPEATABLE READ") if postgresql else engine
        # SQLite has one writer at a time, and its own waiting is a sleep that grows: threads queue here.
        self._turn = _turn_at(engine.url.database) if engine.dialect.name == "sqlite" else None

    def read(self, work: Callable[[Session], T]) -> T:
        """What `work` returns, from one consistent view. Nothing is written."""
        return self._repeat(lambda: self._once(self._reader, work))

    def write(self, work: Callable[[Session], T], happened: Callable[[Session], T | None] | None = None) -> T:
        """One transaction that has been committed when this returns.

        Repeated on deadlock, serialization failure or lock. When the connection breaks around COMMIT nobody
        knows whether it counted: then `happened` looks, and returns what `work` would have; None means that
        it did not, and `work` runs again. Without `happened`, `work` must be fit to run twice. Of the errors
        only DatabaseUnavailable leaves open whether it counted.
        """
        look = happened or (lambda session: None)
        doubtful = False

        def attempt() -> T:
            nonlocal doubtful
            try:
                with self._taking_turns():
                    return self._once(self._writer, work)
            except Exception as error:
                # The server may have been in the middle of the COMMIT when `happened` looked: so whatever
                # goes wrong after a broken one, a constraint above all, may be our own work in the way.
                doubtful = doubtful or (isinstance(error, DBAPIError) and _lost(error))
                if doubtful and (result := self.read(look)) is not None:
                    return result
                raise

        try:
            return self._repeat(attempt)
        except (Busy, DatabaseFull) as error:
            if doubtful:
                raise DatabaseUnavailable("The database does not answer.") from error
            raise

    def write_if_free(self, work: Callable[[Session], T]) -> T:
        """One transaction, tried once, of what is not worth waiting for. Raises Busy without a turn."""
        engine = self._writer.execution_options(only_if_free=True)
        with self._taking_turns(patience=0):
            return self._repeat(lambda: self._once(engine, work), attempts=1)

    @contextmanager
    def _taking_turns(self, patience: float | None = None) -> Iterator[None]:
        if self._turn is None:
            yield
            return
        if not self._turn.acquire(timeout=PATIENCE if patience is None else patience):
            raise Busy("The database is busy with other writers.")
        try:
            yield
        finally:
            self._turn.release()

    def _once(self, engine: Engine, work: Callable[[Session], T]) -> T:
        with Session(engine, expire_on_commit=False) as session, session.begin():
            result = work(session)
            session.flush()
            for _, step in sorted(session.info.get(LAST_STEPS, ()), key=itemgetter(0)):
                step(session)
            return result

    def _repeat(self, attempt: Callable[[], T], attempts: int | None = None) -> T:
        attempts = ATTEMPTS if attempts is None else attempts
        deadline = time.monotonic() + PATIENCE
        for number in range(attempts):
            try:
                return attempt()
            except IntegrityError:
                raise
            except PoolTimeout as error:
                raise Busy("All connections to the database are in use.") from error
            except DBAPIError as error:
                if _full(error):
                    raise DatabaseFull("The database has no room left.") from error
                if _state(error) == TOO_LONG_TO_INDEX:
                    why = "PostgreSQL cannot index an id of so many bytes. Up to 1,300 in UTF-8 always fit."
                    raise Invalid(("id", why)) from error
                if _sqlite_code(error) in OUT_OF_REACH:
                    raise DatabaseUnavailable("The database file cannot be used.") from error
                if not (_lost(error) or _repeatable(error)):
                    raise
                if number == attempts - 1 or time.monotonic() > deadline:
                    if _lost(error):
                        raise DatabaseUnavailable("The database does not answer.") from error
                    raise Busy("The database is busy with other writers.") from error
                time.sleep(random.uniform(0, min(1.0, 0.01 * 2**number)))  # noqa: S311 (no secret)
        raise AssertionError("unreachable")


def _turn_at(path: str | None) -> Lock:
    """The one lock for a SQLite file in this process, however many engines have it open."""
    with _TURNS_LOCK:
        return _TURNS.setdefault(path or "", Lock())


def _state(error: DBAPIError) -> str | None:
    """PostgreSQL's five-character code."""
    return getattr(error.orig, "sqlstate", None)


def _sqlite_code(error: DBAPIError) -> int | None:
    code = getattr(error.orig, "sqlite_errorcode", None)
    return code & 0xFF if code is not None else None


def _repeatable(error: DBAPIError) -> bool:
    return _state(error) in REPEATABLE or _sqlite_code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _full(error: DBAPIError) -> bool:
    return _state(error) in FULL or _sqlite_code(error) == sqlite3.SQLITE_FULL


def _lost(error: DBAPIError) -> bool:
    """The connection broke, or there was none to be had."""
    state = _state(error)
    if _sqlite_code(error) is not None:
        return False
    return error.connection_invalidated or (state or "").startswith(("08", "57P")) or _never_connected(error)


def _never_connected(error: DBAPIError) -> bool:
    return _state(error) is None and type(error.orig).__name__ == "OperationalError"
