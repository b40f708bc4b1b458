"""The two tables that hold bytes, and what each short transaction on them does.

An object is its row in `blob_object` and its parts of 1 MiB in `blob_data`. It counts only while `complete`
is true. This module knows nothing of connections, sources and readers, and of no other table.
"""

from datetime import UTC, datetime, timedelta

from sqlalchemy import (
    DDL,
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Select,
    String,
    Table,
    delete,
    event,
    func,
    insert,
    inspect,
    select,
    true,
    update,
)
from sqlalchemy.orm import Session

PART = 1 << 20
PARTS_REMOVED_AT_ONCE = 64
PAGE = 500
REMOVED = datetime(1970, 1, 1, tzinfo=UTC)
TABLES_LOCK = 0x53445249
"""Any number that others are unlikely to lock."""

metadata = MetaData()

_key = String(97).with_variant(String(97, collation="C"), "postgresql")

blob_object = Table(
    "blob_object",
    metadata,
    Column("storage_key", _key, primary_key=True),
    Column("size", BigInteger, nullable=False),
    # While it is being stored: of its newest part. REMOVED from the moment on when its removal began.
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("complete", Boolean, nullable=False),
)
complete: ColumnElement[bool] = blob_object.c.complete
incomplete: ColumnElement[bool] = ~blob_object.c.complete
Index(
    "ix_blob_object_incomplete",
    blob_object.c.created_at,
    sqlite_where=incomplete,
    postgresql_where=incomplete,
)

blob_data = Table(
    "blob_data",
    metadata,
    Column("storage_key", _key, ForeignKey(blob_object.c.storage_key), primary_key=True),
    Column("part", Integer, primary_key=True, autoincrement=False),
    Column("data", LargeBinary, nullable=False),
)

UNCOMPRESSED = "ALTER TABLE blob_data ALTER COLUMN data SET STORAGE EXTERNAL"
"""PostgreSQL's attempt to compress every part, mostly in vain, made storing four times as slow."""

_uncompressed = DDL(UNCOMPRESSED).execute_if(dialect="postgresql")  # type: ignore[no-untyped-call]
event.listen(blob_data, "after_create", _uncompressed)


class Removed(Exception):
    """The object of a put that is still going was removed by a cleaning or a deletion."""


class Step:
    """One transaction of a put: the next parts; before the first, the row; with the last, its completion.

    A row's stamp is the time of its newest part. Each step replaces the stamp that the one before left: so
    it notices when the object was removed in between, and can tell whether a broken COMMIT has happened.
    """

    def __init__(self, key: str, size: int, first: int, parts: list[bytes], before: datetime | None) -> None:
        self._key, self._size, self._first, self._parts, self._before = key, size, first, parts, before
        self._complete = first * PART + sum(map(len, parts)) == size
        now = datetime.now(UTC)
        self.stamp = now if before is None else max(now, before + timedelta(microseconds=1))

    def store(self, session: Session) -> bool:
        values = {"created_at": self.stamp, "complete": self._complete}
        if self._before is None:
            session.execute(insert(blob_object).values(storage_key=self._key, size=self._size, **values))
        else:
            step = update(blob_object).where(self._stamped(self._before), incomplete).values(values)
            if session.scalar(step.returning(blob_object.c.size)) is None:
                raise Removed
        for part, data in enumerate(self._parts, self._first):
            session.execute(insert(blob_data).values(storage_key=self._key, part=part, data=data))
        return True

    def happened(self, session: Session) -> bool | None:
        found = session.scalar(select(blob_object.c.size).where(self._stamped(self.stamp)))
        return None if found is None else True

    def _stamped(self, stamp: datetime) -> ColumnElement[bool]:
        return (blob_object.c.storage_key == self._key) & (blob_object.c.created_at == stamp)


def stored(key: str) -> Select[int]:
    """The size that a complete object was stored with; no row for any other key."""
    return select(blob_object.c.size).where(blob_object.c.storage_key == key, complete)


def lengths(key: str) -> Select[int]:
    """What the parts of a complete object hold, without reading it; no row for any other key."""
    parts = select(func.coalesce(func.sum(func.length(blob_data.c.data)), 0))
    there = parts.where(blob_data.c.storage_key == key).scalar_subquery()
    return select(there).where(blob_object.c.storage_key == key, complete)


def stretch(key: str, start: int, stop: int) -> Select[bytes]:
    """Bytes [start, stop) of an object, which lie in one part; only they leave the database."""
    part, offset, length = start // PART, start % PART, stop - start
    data = blob_data.c.data if length == PART else func.substr(blob_data.c.data, offset + 1, length)
    return select(data).where(blob_data.c.storage_key == key, blob_data.c.part == part)


def page(condition: ColumnElement[bool], after: str) -> Select[str]:
    """The next PAGE keys of objects for which the condition holds."""
    key = blob_object.c.storage_key
    return select(key).where(condition, key > after).order_by(key).limit(PAGE)


def stale(before: datetime) -> ColumnElement[bool]:
    """Whether an object is incomplete and nothing was added to it since `before`."""
    return incomplete & (blob_object.c.created_at < before.astimezone(UTC))


def remove_some(session: Session, key: str, first: int, condition: ColumnElement[bool] | None) -> int | None:
    """Hides an object for which the condition holds and removes parts from `first` on.

    Returns where the next call has to go on; 0 when all is gone; None when there is no such object. The row
    goes last, so that whatever interrupts a removal leaves something for `stale` to find.
    """
    own = (blob_object.c.storage_key == key) & (true() if condition is None else condition)
    hide = update(blob_object).where(own).values(complete=False, created_at=REMOVED)
    size = session.scalar(hide.returning(blob_object.c.size))
    if size is None:
        return None
    after = first + PARTS_REMOVED_AT_ONCE
    part = blob_data.c.part
    session.execute(delete(blob_data).where(blob_data.c.storage_key == key, part >= first, part < after))
    if after * PART < size:
        return after
    session.execute(delete(blob_object).where(blob_object.c.storage_key == key))
    return 0


def missing_tables(session: Session) -> bool:
    return not inspect(session.connection()).has_table(blob_data.name)


def make_tables(session: Session) -> None:
    """Makes the tables where they are missing. Two processes may do so at once."""
    # SQLite has one writer at a time; on PostgreSQL two that create one table fail, whatever they checked.
    if session.connection().dialect.name == "postgresql":
        session.execute(select(func.pg_advisory_xact_lock(TABLES_LOCK)))
    metadata.create_all(session.connection())
