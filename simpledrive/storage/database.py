"""Bytes in the rows of a database, 1 MiB a row, on SQLite or PostgreSQL.

Every transaction is short, and none is open while bytes come from a source or go to a reader. The tables
(chunks.py) are in the records' database by migration, and are made at first use in a database of its own.
This module checks no digests, and knows no table but its own two.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import partial

from pydantic import SecretStr, field_validator
from sqlalchemy import ColumnElement, Select
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, SQLAlchemyError

from simpledrive.errors import (
    Busy,
    DatabaseFull,
    DatabaseUnavailable,
    ObjectMissing,
    StorageError,
    StorageFull,
    StorageRefused,
    StorageUnavailable,
)
from simpledrive.sql import Database, connect
from simpledrive.storage import chunks
from simpledrive.storage.base import KEY, Options, Storage
from simpledrive.storage.chunks import PART
from simpledrive.streams.source import Reader, Source

PARTS_STORED_AT_ONCE = 4
DRIVERS = ("sqlite", "postgresql+psycopg")


class DatabaseOptions(Options):
    url: SecretStr

    @field_validator("url")
    @classmethod
    def _is_usable(cls, secret: SecretStr) -> SecretStr:
        try:
            url = make_url(secret.get_secret_value())
        except (ArgumentError, ValueError):
            # Neither error is passed on: they quote what they could not read, a password perhaps.
            raise ValueError("this is not a database URL") from None
        if url.drivername not in DRIVERS:
            raise ValueError(f"a database URL begins with {' or '.join(DRIVERS)}")
        if url.drivername == "sqlite" and url.database in (None, "", ":memory:"):
            raise ValueError("a database in memory keeps nothing: name a file")
        return secret


class DatabaseStorage(Storage):
    """Keeps objects in the tables `blob_object` and `blob_data`."""

    kind = "database"
    is_near = True
    Options = DatabaseOptions

    def __init__(self, name: str, options: DatabaseOptions) -> None:
        super().__init__(name, options)
        self._database = Database(connect(options.url.get_secret_value()))
        self._has_tables = False

    @property
    def where(self) -> str:
        url = self._database.engine.url
        shown = URL.create(url.get_backend_name(), host=url.host, port=url.port, database=url.database)
        return shown.render_as_string()

    def put(self, key: str, source: Source) -> None:
        with source.open() as reader:
            stored, stamp = 0, None
            try:
                while stamp is None or stored < source.size:
                    stored, stamp = self._store_some(key, source.size, reader, stored, stamp)
            except BaseException:
                if stamp is not None:
                    with suppress(StorageError):
                        self.delete(key)
                raise

    def open(self, key: str, start: int = 0, stop: int | None = None) -> "_Range":
        held = self._held(key, "open")
        end = held if stop is None else min(stop, held)
        return _Range(partial(self._fetch, key), min(start, end), end)

    def size(self, key: str) -> int:
        """What its parts hold by now, not what it was stored with."""
        return self._held(key, "size", chunks.lengths)

    def delete(self, key: str) -> None:
        self._remove("delete", key)

    def keys(self, after: str | None = None) -> Iterator[str]:
        return (key for key in self._pages("keys", chunks.complete, after or "") if KEY.fullmatch(key))

    def clean(self, before: datetime) -> int:
        stale = chunks.stale(before)
        # Each may have gone on since it was listed: so `stale` is asked again with its removal.
        return sum(self._remove("clean", key, stale) for key in self._pages("clean", stale, ""))

    def close(self) -> None:
        self._database.engine.dispose()

    def _store_some(
        self, key: str, size: int, reader: Reader, stored: int, stamp: datetime | None
    ) -> tuple[int, datetime]:
        """One step of a put; returns how much is stored then, and the step's stamp."""
        # Read between two transactions, and outside of what makes storage errors.
        parts = _parts(reader, PARTS_STORED_AT_ONCE)
        step = chunks.Step(key, size, stored // PART, parts, stamp)
        with self._at_work("put") as database:
            database.write(step.store, step.happened)
        return stored + sum(map(len, parts)), step.stamp

    def _held(self, key: str, operation: str, size_of: Callable[[str], Select[int]] = chunks.stored) -> int:
        with self._at_work(operation) as database:
            size = database.read(lambda session: session.scalar(size_of(key)))
        if size is None:
            raise ObjectMissing(self.name, operation, "there is no such object")
        return size

    def _fetch(self, key: str, start: int, stop: int) -> bytes:
        with self._at_work("read") as database:
            data = database.read(lambda session: session.scalar(chunks.stretch(key, start, stop)))
        if data is None or len(data) < stop - start:
            self._held(key, "read")  # parts go first when it is removed: then it is gone, and not cut short
        return data or b""

    def _remove(self, operation: str, key: str, condition: ColumnElement[bool] | None = None) -> bool:
        """Removes an object for which the condition holds; returns whether there was one."""
        found, first = False, 0
        while not found or first:
            with self._at_work(operation) as database:
                work = partial(chunks.remove_some, key=key, first=first, condition=condition)
                if (then := database.write(work)) is None:
                    break
            found, first = True, then
        return found

    def _pages(self, operation: str, condition: ColumnElement[bool], after: str) -> Iterator[str]:
        while page := self._page(operation, chunks.page(condition, after)):
            yield from page
            if len(page) < chunks.PAGE:
                return
            after = page[-1]

    def _page(self, operation: str, query: Select[str]) -> Sequence[str]:
        with self._at_work(operation) as database:
            return database.read(lambda session: session.scalars(query).all())

    @contextmanager
    def _at_work(self, operation: str) -> Iterator[Database]:
        """The database with its tables; makes storage errors of what goes wrong with it."""
        try:
            if not self._has_tables:
                if self._database.read(chunks.missing_tables):
                    self._database.write(chunks.make_tables)
                self._has_tables = True
            yield self._database
        except chunks.Removed as error:
            raise StorageUnavailable(self.name, operation, "it was removed while it was stored") from error
        except DatabaseFull as error:
            raise StorageFull(self.name, operation, str(error)) from error
        except (Busy, DatabaseUnavailable) as error:
            raise StorageUnavailable(self.name, operation, str(error)) from error
        except IntegrityError as error:
            raise StorageRefused(self.name, operation, "the key is in use") from error
        except DBAPIError as error:
            raise StorageRefused(self.name, operation, f"the database refuses: {_reason(error)}") from error
        except SQLAlchemyError as error:
            raise StorageUnavailable(self.name, operation, type(error).__name__) from error


class _Range:
    """Reads bytes [at, stop), fetched a part at a time, in portions of any size.

    Where less of a part is there than was stored, the object ends.
    """

    def __init__(self, fetch: Callable[[int, int], bytes], at: int, stop: int) -> None:
        self._fetch, self._at, self._stop = fetch, at, stop
        self._rest = memoryview(b"")
        self._closed = False

    def read(self, size: int, /) -> bytes:
        if self._closed:
            raise ValueError("read from a closed reader")
        if not self._rest and size and self._at < self._stop:
            end = min(self._stop, (self._at // PART + 1) * PART)
            self._rest = memoryview(self._fetch(self._at, end))
            if len(self._rest) < end - self._at:
                self._stop = end
            self._at = end
        data, self._rest = self._rest[:size], self._rest[size:]
        return bytes(data)

    def close(self) -> None:
        self._closed = True
        self._rest = memoryview(b"")


def _parts(reader: Reader, count: int) -> list[bytes]:
    """The next `count` parts, full but for the last of all, whatever portions the reader gives."""
    parts: list[bytes] = []
    while len(parts) < count:
        part = bytearray()
        while len(part) < PART and (data := reader.read(PART - len(part))):
            part += data
        if part:
            parts.append(bytes(part))
        if len(part) < PART:
            break
    return parts


def _reason(error: DBAPIError) -> str:
    """A database's own code for what went wrong: its message may quote what it was given."""
    code = getattr(error.orig, "sqlstate", None) or getattr(error.orig, "sqlite_errorname", None)
    return str(code or type(error.orig).__name__)
