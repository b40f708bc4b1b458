"""What is particular to `database`: its transactions, its rows, and what interrupted work leaves."""

import tempfile
import threading
from collections.abc import Iterator
from functools import partial

import pytest
from sqlalchemy import Connection, event, func, select, text

from simpledrive import sql
from simpledrive.errors import ObjectMissing, StorageFull, StorageRefused, StorageUnavailable
from simpledrive.storage import chunks
from simpledrive.storage.base import MARKER
from simpledrive.storage.chunks import PART, blob_data, blob_object
from simpledrive.storage.database import DatabaseOptions, DatabaseStorage
from tests.contract import LONG_AGO, half_put, is_there, put, read_whole, tomorrow
from tests.metering import Meter
from tests.relays import connect, listener_at, path_in, url_by
from tests.sources import content, source_of


@pytest.fixture(params=["sqlite", "postgresql"])
def storage(request: pytest.FixtureRequest) -> Iterator[DatabaseStorage]:
    if request.param == "sqlite":
        url = f"sqlite:///{request.getfixturevalue('tmp_path')}/bytes.db"
    else:
        url = request.getfixturevalue("postgres_database")
    storage = DatabaseStorage("rows", DatabaseOptions.model_validate({"url": url}))
    yield storage
    storage.close()


class Commits:
    """Counts the transactions of a storage, and knows how many are open."""

    def __init__(self, storage: DatabaseStorage) -> None:
        self.begun = self.committed = self.open = 0
        engine = storage._database.engine
        event.listen(engine, "begin", self._begin)
        event.listen(engine, "commit", self._commit)
        event.listen(engine, "rollback", self._end)

    def _begin(self, _connection: Connection) -> None:
        self.begun += 1
        self.open += 1

    def _commit(self, connection: Connection) -> None:
        self.committed += 1
        self._end(connection)

    def _end(self, _connection: Connection) -> None:
        self.open -= 1


def rows(storage: DatabaseStorage) -> tuple[int, int]:
    """How many objects and how many parts the tables hold."""
    counts = [select(func.count()).select_from(table) for table in (blob_object, blob_data)]
    objects, parts = storage._database.read(lambda session: [session.scalar(count) for count in counts])
    return objects or 0, parts or 0


def test_one_byte_from_postgresql_is_a_small_transfer(postgres_database: str) -> None:
    """The contract cannot count this: the client's library makes its connections itself."""
    with tempfile.TemporaryDirectory(prefix="drive-meter-", dir="/tmp") as folder:
        meter, size = Meter(), 20 << 20
        meter.relay(listener_at(path_in(folder, postgres_database)), partial(connect, postgres_database))
        url = url_by(folder, postgres_database).render_as_string(hide_password=False)
        storage = DatabaseStorage("rows", DatabaseOptions.model_validate({"url": url}))
        key = put(storage, content(size))
        stored = meter.bytes
        assert read_whole(storage.open(key, size // 2, size // 2 + 1)) == content(size)[size // 2 :][:1]
        storage.close()
        meter.close()
    assert stored > size
    assert 0 < meter.bytes - stored < 3 << 20


def test_building_makes_nothing(tmp_path: object) -> None:
    DatabaseStorage("rows", DatabaseOptions.model_validate({"url": "postgresql+psycopg://a:b@192.0.2.1/c"}))


@pytest.mark.parametrize(
    ("size", "transactions"), [(0, 1), (1, 1), (PART, 1), (4 * PART, 1), (4 * PART + 1, 2)]
)
def test_a_small_object_is_one_transaction(storage: DatabaseStorage, size: int, transactions: int) -> None:
    storage.probe()
    commits = Commits(storage)
    put(storage, content(size))
    assert commits.begun == commits.committed == transactions
    assert rows(storage) == (1, -(-size // PART))


def test_no_transaction_is_open_while_bytes_come_or_go(storage: DatabaseStorage) -> None:
    storage.probe()
    commits = Commits(storage)
    with half_put(storage, content(9 * PART), 6 * PART) as (key, finish):
        assert commits.committed == 1
        assert commits.open == 0
        assert finish() is None
    reader = storage.open(key)
    for _ in range(4):
        reader.read(PART)
        assert commits.open == 0
    reader.close()
    with pytest.raises(ValueError, match="closed"):
        reader.read(1)


def test_a_range_takes_only_its_bytes_from_the_database(storage: DatabaseStorage) -> None:
    key = put(storage, content(3 * PART))
    fetched = storage._database.read(lambda session: session.scalar(chunks.stretch(key, PART + 5, PART + 12)))
    assert fetched == content(3 * PART)[PART + 5 : PART + 12]


def test_what_a_dead_put_left_is_cleaned(storage: DatabaseStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after SIGKILL: the put does not get to tidy up."""
    monkeypatch.setattr(storage, "delete", lambda key: None)
    with half_put(storage, content(9 * PART), 6 * PART) as (_, finish):
        assert storage.clean(LONG_AGO) == 0
        assert rows(storage) == (1, 4)
        assert storage.clean(tomorrow()) == 1
        assert rows(storage) == (0, 0)
        assert isinstance(finish(), StorageUnavailable)
    assert rows(storage) == (0, 0)


def test_a_deletion_hides_first_and_works_in_batches(
    storage: DatabaseStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks, "PARTS_REMOVED_AT_ONCE", 2)
    key = put(storage, content(5 * PART))
    with storage._at_work("delete") as database:
        assert database.write(lambda session: chunks.remove_some(session, key, 0, None)) == 2
    # Interrupted here, for good.
    assert rows(storage) == (1, 3)
    assert not is_there(storage, key)
    assert storage.clean(LONG_AGO) == 1, "however young, its removal had begun"
    assert rows(storage) == (0, 0)
    key = put(storage, content(5 * PART))
    storage.delete(key)
    assert rows(storage) == (0, 0)


def test_cleaning_spares_what_went_on_meanwhile(storage: DatabaseStorage) -> None:
    with half_put(storage, content(9 * PART), 6 * PART) as (key, finish):
        stale = chunks.stale(tomorrow())
        assert finish() is None
    assert not storage._remove("clean", key, stale)
    assert read_whole(storage.open(key)) == content(9 * PART)


@pytest.mark.parametrize("storage", ["postgresql"], indirect=True)
@pytest.mark.parametrize("parts", [0, 4])
def test_a_put_finds_out_whether_a_broken_commit_happened(storage: DatabaseStorage, parts: int) -> None:
    storage.probe()
    engine = storage._database.engine
    seen = []

    def commit_and_break(connection: Connection) -> None:
        seen.append(connection)
        if len(seen) == 1 + parts // 4:
            driver = connection.connection.dbapi_connection
            driver.commit()  # type: ignore[union-attr]
            driver.close()  # type: ignore[union-attr]

    event.listen(engine, "commit", commit_and_break)
    data = content(parts * PART + 5)
    key = put(storage, data)
    assert read_whole(storage.open(key)) == data
    assert rows(storage) == (1, parts + 1)


def test_an_object_ends_where_a_part_is_gone_or_short(storage: DatabaseStorage) -> None:
    """As a file that was cut short: whoever compares sizes or digests finds out."""
    data = content(3 * PART)
    for statement, left in (
        ("DELETE FROM blob_data WHERE part = 1", 0),
        ("UPDATE blob_data SET data = substr(data, 1, 9) WHERE part = 1", 9),
    ):
        key = put(storage, data)
        storage._database.write(lambda session, statement=statement: session.execute(text(statement)))
        assert storage.size(key) == 2 * PART + left
        assert read_whole(storage.open(key)) == data[: PART + left]
        assert read_whole(storage.open(key, PART + 5, 2 * PART)) == data[PART + 5 : PART + left]
        storage.delete(key)


def test_what_is_removed_while_it_is_read_is_missing_and_not_short(storage: DatabaseStorage) -> None:
    key = put(storage, content(3 * PART))
    reader = storage.open(key)
    assert reader.read(PART) == content(3 * PART)[:PART]
    storage.delete(key)
    with pytest.raises(ObjectMissing):
        reader.read(PART)


def test_errors_of_the_database_become_storage_errors(storage: DatabaseStorage) -> None:
    storage.probe()
    for error, kind in (
        (sql.DatabaseFull("The database has no room left."), StorageFull),
        (sql.DatabaseUnavailable("The database does not answer."), StorageUnavailable),
        (sql.Busy("The database is busy."), StorageUnavailable),
    ):
        with pytest.raises(kind), storage._at_work("put"):
            raise error
    with pytest.raises(StorageRefused) as caught, storage._at_work("read") as database:
        database.read(lambda session: session.execute(text("SELECT 'secret' FROM nowhere")))
    assert "secret" not in str(caught.value)


def test_tables_appear_at_first_use_and_threads_may_race(storage: DatabaseStorage) -> None:
    start = threading.Barrier(8)
    failed = []

    def first() -> None:
        start.wait()
        try:
            put(storage, b"abc")
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=first) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert rows(storage) == (8, 8)


def test_keys_are_compared_by_bytes_on_postgresql(postgres_database: str) -> None:
    """The database's own order is English: there, the marker would stand elsewhere, and pages with it."""
    storage = DatabaseStorage("rows", DatabaseOptions.model_validate({"url": postgres_database}))
    put(storage, b"abc")
    query = """
        SELECT collname FROM pg_attribute JOIN pg_collation ON pg_collation.oid = attcollation
        WHERE attname = 'storage_key'
    """
    assert set(storage._database.read(lambda session: session.scalars(text(query)).all())) == {"C"}
    external = (
        "SELECT attstorage FROM pg_attribute WHERE attname = 'data' AND attrelid = 'blob_data'::regclass"
    )
    stored = storage._database.read(lambda session: session.scalar(text(external)))
    assert stored == "e"
    storage.close()


def test_the_marker_is_not_among_the_keys(storage: DatabaseStorage) -> None:
    key = put(storage, b"abc")
    storage.put(MARKER, source_of(b"mine"))
    assert list(storage.keys()) == [key]
