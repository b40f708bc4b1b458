"""Many at once, on both databases: two apps on one drive stand for two processes, each with its threads."""

import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from itertools import count

import pytest
import requests
from flask import Flask
from sqlalchemy import event, text
from sqlalchemy.orm import Session

from simpledrive.moving import Outcome
from simpledrive.parts import Parts
from simpledrive.records import Deletion
from simpledrive.rights import SERVER
from tests.apps import BEARER
from tests.drives import check, digest_of, fetch, keep, objects, replace, replicas, versions
from tests.moves import after_reading_back, begin, move, run, states
from tests.servers import Server, wait_for
from tests.sources import content

DEADLOCK = "40P01"
X, Y = content(300_000, 1), content(300_000, 2)


@pytest.fixture(params=["sqlite", "postgres"])
def settings(request: pytest.FixtureRequest) -> dict[str, object]:
    """Nothing is kept that nothing needs: whatever may be swept is swept at once."""
    database = (
        {} if request.param == "sqlite" else {"database_url": request.getfixturevalue("postgres_database")}
    )
    return {"sweep_grace": 0, "history_days": 0, **database}


@pytest.fixture
def pair(make_app: Callable[..., Flask], settings: dict[str, object]) -> Iterator[tuple[Parts, Parts]]:
    """One drive, opened twice. There is no deadlock, however briefly."""
    made: list[Parts] = [make_app(**settings).extensions["simpledrive"] for _ in range(2)]
    if made[1].database._turn is not None:
        made[1].database._turn = threading.Lock()  # as another process has its own
    deadlocks: list[object] = []

    def note(context) -> None:
        if getattr(context.original_exception, "sqlstate", None) == DEADLOCK:
            deadlocks.append(context.statement)

    for parts in made:
        event.listen(parts.database.engine, "handle_error", note)
    yield made[0], made[1]
    assert deadlocks == []
    check(made[0])


def together(*works: Callable[[], object]) -> list[object]:
    """What each returns or raises. All begin at the same moment."""
    ready = threading.Barrier(len(works))

    def run(work: Callable[[], object]) -> object:
        ready.wait(30)
        try:
            return work()
        except Exception as error:
            return error

    with ThreadPoolExecutor(len(works)) as pool:
        return list(pool.map(run, works))


def always(_: object) -> bool:
    return True


def all_well(answers: list[object]) -> None:
    for answer in answers:
        if isinstance(answer, Exception):
            raise answer


def test_of_two_that_create_one_id_one_wins(pair: tuple[Parts, Parts]) -> None:
    for number in range(25):
        id = f"of round {number}"
        first, second = partial(keep, pair[0], id, X + b"1"), partial(keep, pair[1], id, X + b"2")
        answers = together(first, second)
        assert sorted(type(answer).__name__ for answer in answers) == ["Blob", "BlobExists"], answers
        assert fetch(pair[0], id)[:-1] == X
    assert len(objects(pair[0], "local")) == len(replicas(pair[0]))


def test_of_two_requests_for_one_id_one_is_201_and_one_409(
    make_server: Callable[..., Server], settings: dict[str, object]
) -> None:
    server = make_server(**{name.upper(): value for name, value in settings.items()})
    for number in range(10):
        put = partial(requests.put, f"{server.url}/v1/content/{number}", X, headers=BEARER, timeout=30)
        assert sorted(answer.status_code for answer in together(put, put)) == [201, 409]


def test_the_same_bytes_stored_at_once_are_kept_once(pair: tuple[Parts, Parts]) -> None:
    for number in range(25):
        data = content(1000, number)
        all_well(together(*(partial(keep, pair[n % 2], f"{number} {n}", data) for n in range(4))))
        (row,) = replicas(pair[0], data)
        assert {key for key in objects(pair[0], "local") if key.startswith(row.sha256)} == {row.storage_key}


def test_every_replacement_at_once_counts(pair: tuple[Parts, Parts]) -> None:
    """Who waited for a version that was replaced meanwhile finds its successor, not nothing."""
    keep(pair[0], "a", b"the first")
    for number in range(25):
        writers = (partial(replace, pair[n % 2], "a", b"%d %d" % (number, n)) for n in range(4))
        all_well(together(*writers))
    assert pair[0].drive.describe(SERVER, "a").version == 101
    assert [aside.version for aside in versions(pair[0], "a")] == list(range(1, 101))


def test_a_blob_that_is_being_replaced_can_be_deleted(pair: tuple[Parts, Parts]) -> None:
    first, second = pair
    for number in range(25):
        keep(first, "a", b"%d" % number, replaces=always)
        change = partial(keep, first, "a", b"new %d" % number, replaces=always)
        all_well(together(change, lambda: second.drive.delete(SERVER, "a")))


def test_create_or_replace_at_once_never_refuses(pair: tuple[Parts, Parts]) -> None:
    for number in range(25):
        id = f"of round {number}"
        writers = (partial(keep, pair[n % 2], id, b"%d" % n, replaces=always) for n in range(4))
        all_well(together(*writers))
        assert pair[0].drive.describe(SERVER, id).version == 4


def test_replacements_that_swap_their_digests_do_not_wait_for_each_other_for_ever(
    pair: tuple[Parts, Parts],
) -> None:
    keep(pair[0], "a", X)
    keep(pair[0], "b", Y)
    for number in range(25):
        x, y = (X, Y) if number % 2 else (Y, X)
        all_well(together(partial(replace, pair[0], "a", x), partial(replace, pair[1], "b", y)))
        assert (fetch(pair[1], "a"), fetch(pair[0], "b")) == (x, y)


class Background:
    """Runs work over and over until the block ends; its errors end the test."""

    def __init__(self, *works: Callable[[], object]) -> None:
        self._works, self._over = works, threading.Event()
        self.rounds = [0] * len(works)

    def __enter__(self) -> "Background":
        self._pool = ThreadPoolExecutor(len(self._works))
        self._futures = [self._pool.submit(self._run, n, work) for n, work in enumerate(self._works)]
        return self

    def _run(self, number: int, work: Callable[[], object]) -> None:
        while not self._over.is_set():
            work()
            self.rounds[number] += 1

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._pool.shutdown()
        for future in self._futures:
            future.result()


def sweep(parts: Parts) -> None:
    assert parts.upkeep.sweep().problems == []


@pytest.mark.parametrize("backend", ["local", "database"])
def test_storing_and_deleting_the_same_bytes_while_sweeping(pair: tuple[Parts, Parts], backend: str) -> None:
    """Eight clients, three contents, a sweep without grace all the time: no record ever lacks its bytes."""
    contents = [content(size, 7) for size in (10, 20_000, 300_000)]

    def client(number: int) -> None:
        parts, dice = pair[number % 2], random.Random(number)
        for turn in count():
            if turn >= 12 and min(sweeping.rounds) > 2:
                break
            id, data = f"{number} {turn % 2}", dice.choice(contents)
            keep(parts, id, data, backend, replaces=always)
            assert fetch(parts, id) == data
            if dice.random() < 0.7:
                parts.drive.delete(SERVER, id)

    with Background(lambda: sweep(pair[0]), lambda: sweep(pair[1])) as sweeping:
        all_well(together(*(lambda n=n: client(n) for n in range(8))))
    check(pair[0])
    for blob in pair[0].listing.page(SERVER).blobs:
        pair[0].drive.delete(SERVER, blob.id)
    while replicas(pair[0]):
        sweep(pair[0])
    assert objects(pair[0], backend) == set()


def test_moving_back_and_forth_under_readers_and_writers(pair: tuple[Parts, Parts]) -> None:
    contents = {f"{n}": content(200_000 * (1 + n % 4), n) for n in range(12)}
    for id, data in contents.items():
        keep(pair[0], id, data)
    dice = random.Random(1)
    writes = iter(range(1_000_000))

    def read() -> None:
        id = dice.choice(list(contents))
        start = dice.randrange(len(contents[id]))
        assert fetch(pair[dice.randrange(2)], id, start) == contents[id][start:]

    def write() -> None:
        number = next(writes)
        parts = pair[number % 2]
        keep(parts, f"new {number}", content(50_000, number % 7), dice.choice(["local", "database"]))
        if number % 3 == 0:
            parts.drive.delete(SERVER, f"new {number}")

    with Background(read, read, write, lambda: sweep(pair[1])) as busy:
        for source, target in (("local", "database"), ("database", "local")) * 2:
            told = move(pair[0], source, target).values()
            assert {outcome.state for outcome in told} <= {"moved", "gone"}
            assert len(told) >= len(contents)
        wait_for(lambda: min(busy.rounds) > 2, "everybody to have had a turn")
    for id, data in contents.items():
        assert pair[0].drive.describe(SERVER, id).storage_backend == "local"
        assert fetch(pair[1], id) == data


def test_a_reader_whose_record_is_out_of_date_gets_its_bytes(pair: tuple[Parts, Parts]) -> None:
    """It found the record, or read half of it; then the blob moved and the old bytes were swept."""
    first, second = pair
    data = content(1_000_000)
    keep(first, "a", data)
    before = first.drive.describe(SERVER, "a")
    middle = first.drive.read(SERVER, before)
    got = next(middle)
    for source, target in (("local", "database"), ("database", "local"), ("local", "database")):
        move(second, source, target)
        sweep(second)
        (row,) = replicas(second, data)
        assert row.storage_backend == target
        assert digest_of(b"".join(first.drive.read(SERVER, before))) == before.sha256
        got += next(middle)
    assert got + b"".join(middle) == data


def test_a_reader_of_what_is_deleted_and_swept_hears_that_it_is_gone(pair: tuple[Parts, Parts]) -> None:
    keep(pair[0], "a", X)
    blob = pair[0].drive.describe(SERVER, "a")
    pair[1].drive.delete(SERVER, "a")
    sweep(pair[1])
    with pytest.raises(Exception, match="deleted or replaced"):
        list(pair[0].drive.read(SERVER, blob))


def test_a_replica_that_is_swept_while_it_is_found_is_put_anew(
    pair: tuple[Parts, Parts], monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(pair[0], "a", X)
    replicas_of_first = pair[0].drive._replicas
    provide = replicas_of_first.provide
    found = []

    def slow(*arguments):
        found.append(provide(*arguments))
        if len(found) == 1:
            pair[1].drive.delete(SERVER, "a")
            sweep(pair[1])
        return found[-1]

    monkeypatch.setattr(replicas_of_first, "provide", slow)
    keep(pair[0], "b", X)
    assert [provided.fresh for provided in found] == [False, True]
    assert fetch(pair[1], "b") == X


def test_a_sweep_waits_for_whoever_is_about_to_need_a_replica(
    pair: tuple[Parts, Parts], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The replica is retired and not needed; a transaction that will need it has begun and not ended."""
    keep(pair[0], "a", X)
    pair[1].drive.delete(SERVER, "a")
    pair[1].upkeep._expire_history()
    begun, swept, waits = threading.Event(), threading.Event(), waiting_for_a_lock(pair[1])
    record = pair[0].drive._replicas.record

    def slow(*arguments: object) -> None:
        record(*arguments)
        begun.set()
        wait_for(lambda: swept.is_set() or waits(), "the sweep to wait for this transaction")
        assert not swept.is_set()

    def sweep_then() -> None:
        assert begun.wait(30)
        sweep(pair[1])
        swept.set()

    monkeypatch.setattr(pair[0].drive._replicas, "record", slow)
    all_well(together(lambda: keep(pair[0], "b", X), sweep_then))
    assert fetch(pair[1], "b") == X


def test_what_is_deleted_at_the_moment_of_its_move_moves_as_well(
    pair: tuple[Parts, Parts], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The deletion has put the version aside, and ends when the move waits for the row that it has locked."""
    history = timedelta(days=30)
    for parts in pair:
        monkeypatch.setattr(parts.upkeep, "_history", history)
    keep(pair[0], "a", X)
    migration = begin(pair[0])
    delete, put_aside, waits = Deletion.delete, threading.Event(), waiting_for_a_lock(pair[0])

    def slow(self: Deletion, session: Session) -> bool:
        deleted = delete(self, session)
        session.flush()
        put_aside.set()
        wait_for(waits, "the move to wait for this transaction")
        return deleted

    def move_then() -> list[Outcome]:
        with after_reading_back(monkeypatch, lambda _: put_aside.wait(30)):
            return list(run(pair[0], migration))

    with monkeypatch.context() as patch:
        patch.setattr(Deletion, "delete", slow)
        all_well(together(move_then, lambda: pair[1].drive.delete(SERVER, "a")))
    assert states(pair[0], migration) == {"moved": 1}
    assert [row.storage_backend for row in versions(pair[0], "a")] == ["database"]


def waiting_for_a_lock(parts: Parts) -> Callable[[], bool]:
    """Asks whether a transaction of these parts is waiting for a lock, or on SQLite for its turn to write."""
    engine, statements = parts.database.engine, [""]
    if engine.dialect.name == "sqlite":
        event.listen(engine, "before_cursor_execute", lambda *told: statements.append(told[2]))
        return lambda: statements[-1] == "BEGIN IMMEDIATE"
    waiting = (
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )

    def asked() -> bool:
        with engine.connect() as connection:
            return bool(connection.scalar(text(waiting)))

    return asked
