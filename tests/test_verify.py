"""flask drive verify: what is read, in which order, what is recorded of it, and when nothing is known."""

import io
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskCliRunner
from sqlalchemy import insert, update

from simpledrive import threads
from simpledrive.errors import StorageRefused, StorageUnavailable
from simpledrive.integrity import checking, comparing, verifying
from simpledrive.integrity.due import amount, drawn, due, oldest
from simpledrive.integrity.findings import Looked
from simpledrive.models import Replica, now
from simpledrive.moving.flow import Flow
from simpledrive.parts import Parts
from simpledrive.storage import registry
from simpledrive.storage.base import MARKER
from simpledrive.streams.source import Reader
from tests.apps import BEARER
from tests.broken_storages import MemoryStorage
from tests.contract import MIB, memory_within
from tests.damage import DAMAGE, alter, as_it_is, remove, replica_of, verify
from tests.drives import PIECE, check, digest_of, fetch, keep, lose, replicas, trust_no_more
from tests.plans import plans_of
from tests.sources import content, source_of
from tests.test_metrics import scrape, value

VERIFY = ("drive", "verify")
DATA = content(1000)


@pytest.fixture
def cli(app: Flask) -> FlaskCliRunner:
    return app.test_cli_runner()


@pytest.fixture(autouse=True)
def _impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checking, "PAUSES", (0.0, 0.0))


def kept(parts: Parts, number: int, backend: str = "local") -> list[bytes]:
    contents = [content(100, seed) for seed in range(number)]
    for seed, data in enumerate(contents):
        keep(parts, f"{backend}/{seed}", data, backend)
    return contents


def known_days_ago(parts: Parts, row: Replica, *, created: int, verified: int | None = None) -> None:
    there = (Replica.sha256 == row.sha256, Replica.storage_backend == row.storage_backend)
    values = {
        "created_at": now() - timedelta(days=created),
        "verified_at": None if verified is None else now() - timedelta(days=verified),
    }
    parts.database.write(lambda session: session.execute(update(Replica).where(*there).values(values)))


# --- What is recorded


def test_what_is_right_is_recorded_with_the_time_at_which_it_was(any_parts: Parts) -> None:
    kept(any_parts, 3)
    before = now()
    assert [verdict.state for verdict in verify(any_parts, threads=2)] == ["right"] * 3
    assert all(row.verified_at is not None and row.verified_at >= before for row in replicas(any_parts))
    assert any_parts.soundness.of(["local"])["local"].verified == 3


@pytest.mark.parametrize("kind", DAMAGE)
def test_what_is_wrong_is_marked_once_and_told_each_time(any_parts: Parts, kind: str) -> None:
    keep(any_parts, "a", DATA)
    DAMAGE[kind](any_parts, replica_of(any_parts, DATA, "local"))
    (verdict,) = verify(any_parts)
    marked_at = replicas(any_parts)[0].bad_at
    assert marked_at is not None
    assert verify(any_parts)[0].state == verdict.state != "right"
    (row,) = replicas(any_parts)
    assert (row.bad_at, row.verified_at) == (marked_at, None)
    assert any_parts.soundness.of(["local"])["local"].found_bad == 1


def test_what_is_right_after_all_is_trusted_again(any_parts: Parts) -> None:
    keep(any_parts, "a", DATA)
    trust_no_more(any_parts, DATA, "local")
    assert [verdict.state for verdict in verify(any_parts)] == ["right"]
    assert replicas(any_parts)[0].bad_at is None


def test_right_bytes_whose_sums_are_wrong_get_right_sums(parts: Parts) -> None:
    data = content(3 * PIECE + 5)
    keep(parts, "a", data)
    parts.database.write(lambda session: session.execute(update(Replica).values(pieces=bytes(32))))
    keep(parts, "b", data, "database")
    assert fetch(parts, "a") == data
    assert replica_of(parts, data, "local").bad_at is not None, "as its reader found"
    lose(parts, data, "database")
    assert [verdict.state for verdict in verify(parts)] == ["right"]
    assert fetch(parts, "a") == data
    assert replica_of(parts, data, "local").bad_at is None


def test_a_mark_that_is_younger_than_the_reading_stays_until_the_next_one(any_parts: Parts) -> None:
    """Sums that readers find wrong are made anew only by who knew of it when he began to read."""
    keep(any_parts, "a", DATA)
    run = any_parts.verifier.run("local", marked_as_it_is_read(any_parts), Flow())
    assert [verdict.state for verdict in run] == ["gone"]
    assert replica_of(any_parts, DATA, "local").bad_at is not None
    assert [verdict.state for verdict in verify(any_parts)] == ["right"]
    assert replica_of(any_parts, DATA, "local").bad_at is None


def marked_as_it_is_read(parts: Parts) -> Iterator[Replica]:
    row = replica_of(parts, DATA, "local")
    trust_no_more(parts, DATA, "local")
    yield row


def test_bytes_that_change_on_their_way_are_not_bad(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    keep(parts, "a", DATA)
    storage = parts.backends.use("local")
    opened, wrong = storage.open, [io.BytesIO(DATA[::-1])]

    def wrong_once(key: str, *rest: Any) -> Any:
        return wrong.pop() if wrong and key != MARKER else opened(key, *rest)

    monkeypatch.setattr(storage, "open", wrong_once)
    assert [verdict.state for verdict in verify(parts)] == ["right"]
    assert wrong == []


def test_what_is_swept_while_it_is_read_is_nobodys_business(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(parts, "a", DATA)
    judged = checking.Checker.judged

    def after_a_change(self: Any, replica: Replica, *rest: Any) -> Any:
        keep(parts, "b", DATA)  # which puts them under another key, as they are gone
        return judged(self, replica, *rest)

    monkeypatch.setattr(checking.Checker, "judged", after_a_change)
    lose(parts, DATA, "local")
    assert [verdict.state for verdict in verify(parts)] == ["gone"]
    assert replicas(parts)[0].bad_at is None
    check(parts)


# --- When nothing is known


def test_an_unmounted_folder_marks_nothing(parts: Parts, cli: FlaskCliRunner) -> None:
    kept(parts, 3)
    base = parts.settings.local_storage_path
    away = base.rename(base.with_name("away"))
    base.mkdir()
    result = cli.invoke(args=[*VERIFY, "--repair"])
    assert result.exit_code == 2
    assert "local cannot be read: local: check: its marker is missing" in result.stderr
    assert "database: 0 copies of 0 bytes: 0 right." in result.output, "the others are read all the same"
    assert not any(row.bad_at for row in replicas(parts))
    assert list(base.iterdir()) == []
    base.rmdir()
    away.rename(base)
    assert {verdict.state for verdict in verify(parts)} == {"right"}


def test_a_folder_that_is_unmounted_in_the_middle_marks_nothing(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept(parts, 60)
    base, read = parts.settings.local_storage_path, []

    def unmount_after_three() -> None:
        for verdict in parts.verifier.run("local", due(parts.database, "local", now()), Flow()):
            read.append(verdict.state)
            if len(read) == 3:
                base.rename(base.with_name("away"))
                base.mkdir()

    with pytest.raises(StorageUnavailable, match="20 copies could not be read, one after the other"):
        unmount_after_three()
    assert set(read) == {"right", "unread"}
    assert not any(row.bad_at for row in replicas(parts))


def test_another_drives_place_marks_nothing(parts: Parts) -> None:
    kept(parts, 3)
    storage = parts.backends.use("local")
    storage.delete(MARKER)
    storage.put(MARKER, source_of(b"another drive's"))
    before = as_it_is(parts)
    for row in replicas(parts):
        remove(parts, row)
    with pytest.raises(StorageRefused, match="its marker is that of another drive"):
        verify(parts, repair=True)
    assert {place: found[:2] for place, found in as_it_is(parts).items()} == {
        place: found[:2] for place, found in before.items()
    }


def test_what_cannot_be_read_is_told_apart_and_makes_the_exit_code_2(
    parts: Parts, cli: FlaskCliRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, *_ = kept(parts, 5)
    alter(parts, replica_of(parts, first, "local"))
    silent, storage = replica_of(parts, second, "local").storage_key, parts.backends.use("local")
    opened, asked = storage.open, []

    def hang(key: str, *rest: Any) -> Any:
        if key == silent:
            asked.append(key)
            raise StorageUnavailable("local", "open", "no answer")
        return opened(key, *rest)

    monkeypatch.setattr(storage, "open", hang)
    result = cli.invoke(args=[*VERIFY, "local"])
    assert result.exit_code == 2
    assert "local: 5 copies of 500 bytes: 3 right, 1 wrong, 1 unread." in result.output
    assert "local: open: no answer" in result.stderr
    assert len(asked) == 3, "it may pass"
    assert replica_of(parts, second, "local").bad_at is None


def test_a_backend_that_is_configured_no_more_cannot_be_read(make_app: Callable[..., Flask]) -> None:
    with_cold = make_app(backends={"cold": {"kind": "local", "path": "cold"}})
    keep(with_cold.extensions["simpledrive"], "a", DATA, "cold")
    result = make_app().test_cli_runner().invoke(args=[*VERIFY])
    assert result.exit_code == 2
    assert "cold cannot be read: cold: use: no backend of this name is configured any more" in result.stderr


# --- The command


def test_the_exit_code_tells_right_from_bad_and_repaired(parts: Parts, cli: FlaskCliRunner) -> None:
    contents = kept(parts, 3)
    result = cli.invoke(args=[*VERIFY, "local"])
    assert (result.exit_code, result.output) == (0, "local: 3 copies of 300 bytes: 3 right.\n")
    alter(parts, replica_of(parts, contents[0], "local"))
    result = cli.invoke(args=[*VERIFY])
    assert result.exit_code == 1
    sha256 = replica_of(parts, contents[0], "local").sha256
    assert f"local: wrong: {sha256}: The bytes of {sha256} are not what was stored." in result.stderr
    keep(parts, "good", contents[0], "database")
    result = cli.invoke(args=[*VERIFY, "local", "--repair"])
    assert result.exit_code == 0
    assert "local: 3 copies of 300 bytes: 2 right, 1 repaired.\n" in result.output
    check(parts)


def test_programs_are_told_what_is_not_right_and_the_end(parts: Parts, cli: FlaskCliRunner) -> None:
    contents = kept(parts, 3)
    lose(parts, contents[1], "local")
    result = cli.invoke(args=[*VERIFY, "local", "--json"])
    lost, end = map(json.loads, result.stdout.splitlines())
    assert (lost["state"], lost["why"]) == ("missing", "It is not there.")
    assert lost["sha256"] == replica_of(parts, contents[1], "local").sha256
    expected = {"right": 2, "repaired": 0, "wrong": 0, "missing": 1, "unread": 0}
    assert end == {"verified": {"backend": "local", "copies": 3, "bytes": 300, **expected, "failure": None}}


def test_a_terminal_shows_a_bar_and_what_is_not_right(
    parts: Parts, cli: FlaskCliRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    contents = kept(parts, 3)
    lose(parts, contents[1], "local")
    terminal = SimpleNamespace(stderr=SimpleNamespace(isatty=lambda: True))
    monkeypatch.setattr("simpledrive.cli.verdicts.sys", terminal)
    result = cli.invoke(args=[*VERIFY, "local"])
    assert "300/300 bytes" in result.stderr
    assert "1 bad" in result.stderr
    assert result.stdout == "local: 3 copies of 300 bytes: 2 right, 1 missing.\n"


def test_ctrl_c_says_how_it_goes_on(
    parts: Parts, cli: FlaskCliRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept(parts, 3)

    def interrupted(*_: object, **_named: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(verifying.Verifier, "run", interrupted)
    monkeypatch.setattr(comparing.Comparison, "findings", interrupted)
    for command, left in (
        ("verify", "The same command begins"),
        ("fsck", "Nothing is half"),
    ):
        result = cli.invoke(args=["drive", command])
        assert result.exit_code == 130
        assert f"Interrupted. {left}" in result.stderr


def test_a_backend_that_does_not_exist_is_2(cli: FlaskCliRunner) -> None:
    for command in ("verify", "fsck"):
        result = cli.invoke(args=["drive", command, "nowhere"])
        assert result.exit_code == 2
        assert "There is no backend 'nowhere'. Known are: database, local." in result.stderr


def test_bandwidth_is_kept_to(parts: Parts, cli: FlaskCliRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr("simpledrive.moving.flow.Flow.wait", lambda _self, seconds: waited.append(seconds))
    monkeypatch.setattr("simpledrive.moving.flow.time.monotonic", lambda: 0.0)
    keep(parts, "a", content(100_000))
    assert cli.invoke(args=[*VERIFY, "local", "--bandwidth", "50KB"]).exit_code == 0
    assert max(waited) == pytest.approx(2.0)


def test_an_interruption_ends_what_is_under_way(parts: Parts) -> None:
    """Also a read that would go on for hours."""
    keep(parts, "small", DATA)
    keep(parts, "large", content(1 << 20))
    began = time.monotonic()
    run = parts.verifier.run("local", due(parts.database, "local", now()), Flow(rate=1000), threads=2)
    with closing(run):
        assert next(run).replica.size == len(DATA)
    assert time.monotonic() - began < 60
    assert sorted(row.verified_at is None for row in replicas(parts)) == [False, True]


# --- Which, and in which order


def test_first_what_is_marked_then_what_was_verified_longest_ago(any_parts: Parts) -> None:
    contents = kept(any_parts, 6)
    rows = [replica_of(any_parts, data, "local") for data in contents]
    for row, (created, verified) in zip(
        rows, [(9, 1), (3, None), (9, 4), (2, None), (9, 5), (8, None)], strict=True
    ):
        known_days_ago(any_parts, row, created=created, verified=verified)
    trust_no_more(any_parts, contents[3], "local")
    order = [rows[number].sha256 for number in (3, 5, 4, 2, 1, 0)]
    assert [row.sha256 for row in due(any_parts.database, "local", now())] == order
    three_days_ago = now() - timedelta(days=3)
    assert [row.sha256 for row in due(any_parts.database, "local", three_days_ago)] == order[:5]
    assert amount(any_parts.database, "local", three_days_ago) == (5, 500)
    assert any_parts.soundness.of(["local"])["local"].bad == 1
    assert any_parts.soundness.of(["local"])["local"].known_since == replicas_created(any_parts, rows[5])


def replicas_created(parts: Parts, row: Replica) -> object:
    (found,) = [other for other in replicas(parts) if other.sha256 == row.sha256]
    return found.created_at


def test_interrupted_the_same_command_begins_with_what_was_left(
    parts: Parts, cli: FlaskCliRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "AHEAD", 2)
    kept(parts, 20)
    run = parts.verifier.run("local", due(parts.database, "local", now()), Flow())
    with closing(run):
        for _ in range(8):
            next(run)
    read = {row.sha256 for row in replicas(parts) if row.verified_at}
    assert 8 <= len(read) < 20
    order = [row.sha256 for row in due(parts.database, "local", now())]
    assert set(order[-len(read) :]) == read
    result = cli.invoke(args=[*VERIFY, "local", "--older-than", "1h"])
    assert f"local: {0} copies" in result.output, "nor what was stored since"
    for row in replicas(parts):
        if row.verified_at is None:
            known_days_ago(parts, row, created=1)
    result = cli.invoke(args=[*VERIFY, "local", "--older-than", "1h"])
    assert f"local: {20 - len(read)} copies" in result.output


def test_what_lies_at_a_page_s_edge_is_read_once(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simpledrive.integrity.pages.PAGE", 3)
    kept(parts, 10)
    same = now() - timedelta(days=5)
    parts.database.write(lambda session: session.execute(update(Replica).values(created_at=same)))
    assert len({verdict.replica.sha256 for verdict in verify(parts)}) == 10
    assert len(verify(parts)) == 10
    parts.database.write(lambda session: session.execute(update(Replica).values(verified_at=same)))
    assert len(verify(parts)) == 10


def test_what_a_wrong_clock_put_into_the_future_is_read_first_and_once(any_parts: Parts) -> None:
    """The clock was ahead when these were stored and verified: nobody knows what they are now."""
    kept(any_parts, 4)
    rows = replicas(any_parts)
    known_days_ago(any_parts, rows[0], created=-300)
    known_days_ago(any_parts, rows[1], created=10, verified=-400)
    known_days_ago(any_parts, rows[2], created=10, verified=10)
    known_days_ago(any_parts, rows[3], created=10, verified=1)
    alter(any_parts, rows[1])
    long_ago = now() - timedelta(days=5)
    assert amount(any_parts.database, "local", long_ago).replicas == 3
    sampled = {row.sha256 for row in drawn(any_parts.database, "local", long_ago, 20)}
    assert sampled == {row.sha256 for row in rows[:3]}
    verdicts = [(verdict.replica.sha256, verdict.state) for verdict in verify(any_parts)]
    assert {(rows[0].sha256, "right"), (rows[1].sha256, "wrong")} < set(verdicts)
    assert {digest for digest, _ in verdicts} == {row.sha256 for row in rows}
    assert len(verdicts) == 4


@pytest.mark.parametrize("number", [1, 3, 7, 20])
def test_a_sample_is_so_many_different_ones(any_parts: Parts, number: int) -> None:
    kept(any_parts, 7)
    kept(any_parts, 3, "database")
    sampled = [verdict.replica.sha256 for verdict in verify(any_parts, sample=number)]
    assert len(set(sampled)) == len(sampled) == min(number, 7)


def test_a_sample_is_drawn_at_random_from_all(parts: Parts) -> None:
    """Each of 8 is among 3 sooner or later: that one is never drawn in 200 times has a chance of 1e-20."""
    kept(parts, 8)
    seen = {row.sha256 for _ in range(200) for row in drawn(parts.database, "local", now(), 3)}
    assert len(seen) == 8


def test_each_way_of_looking_uses_an_index(any_parts: Parts) -> None:
    """Also among many: whatever the number of replicas, what is read first is found at once."""
    moment = now()
    rows = [
        {
            "sha256": f"{number:064x}",
            "storage_backend": "local" if number % 2 else "database",
            "storage_key": f"{number:064x}.{number:032x}",
            "size": 1,
            "pieces": b"",
            "created_at": moment - timedelta(seconds=number),
            "verified_at": moment - timedelta(seconds=number) if number % 3 else None,
        }
        for number in range(5000)
    ]
    any_parts.database.write(lambda session: session.execute(insert(Replica), rows))
    engine = any_parts.database.engine
    if engine.dialect.name == "postgresql":
        with engine.connect() as connection:
            connection.exec_driver_sql("ANALYZE replicas")
    plans = plans_of(engine, lambda: next(oldest(any_parts.database, "local", moment)), "replicas")
    for name in ("ix_replicas_unverified", "ix_replicas_verified"):
        assert any(name in plan for plan in plans), plans
    assert not any("Sort" in plan or "TEMP B-TREE" in plan for plan in plans), plans
    plans += plans_of(engine, lambda: any_parts.soundness.of(["local"]), "replicas")
    plans += plans_of(engine, lambda: next(due(any_parts.database, "local", moment)), "replicas")
    assert any("ix_replicas_bad" in plan for plan in plans), plans
    assert not any("Seq Scan on replicas" in plan or "SCAN replicas" in plan for plan in plans), plans


# --- What others are told


def test_backends_and_metrics_tell_what_is_known(parts: Parts, app: Flask) -> None:
    contents = kept(parts, 4)
    alter(parts, replica_of(parts, contents[0], "local"))
    verify(parts)
    client = app.test_client()
    items = {item["name"]: item for item in client.get("/v1/backends", headers=BEARER).get_json()["items"]}
    assert (items["local"]["bad_replicas"], items["database"]["bad_replicas"]) == (1, 0)
    assert items["local"]["verified_since"] is not None
    assert items["database"]["verified_since"] is None
    text = scrape(client)
    for name, expected in (
        ("simpledrive_backend_bad_replicas", 1),
        ("simpledrive_backend_verified_replicas_total", 3),
        ("simpledrive_backend_replicas_found_bad_total", 1),
    ):
        assert value(text, name, backend="local") == expected
        assert value(text, name, backend="database") == 0
    since = value(text, "simpledrive_backend_verified_since_timestamp_seconds", backend="local")
    assert since == pytest.approx(time.time(), abs=600)


# --- However many there are


class Numbers(MemoryStorage):
    """Holds any number of small objects, which are the second halves of their keys."""

    def open(self, key: str, start: int = 0, stop: int | None = None) -> Reader:
        return super().open(key, start, stop) if key == MARKER else io.BytesIO(key[65:].encode())

    def size(self, key: str) -> int:
        return 32


@pytest.mark.soak
def test_memory_does_not_grow_with_the_number_of_copies(
    make_app: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(registry.KINDS, "numbers", Numbers)
    parts: Parts = make_app(backends={"many": {"kind": "numbers"}}).extensions["simpledrive"]
    parts.backends.check("many")
    for page in range(10):
        rows = [row_of(f"{page * 1000 + number:032x}") for number in range(1000)]
        parts.database.write(lambda session, rows=rows: session.execute(insert(Replica), rows) and None)  # type: ignore[misc]
    with memory_within(6 * MIB):
        run = parts.verifier.run("many", due(parts.database, "many", now()), Flow(), threads=4)
        assert Counter(verdict.state for verdict in run) == {"right": 10_000}
    with memory_within(6 * MIB):
        kinds = Counter(found.kind for found in parts.fsck.findings("many", Looked()))
    assert kinds == {"unneeded": 10_000, "counter": 1}


def row_of(content: str) -> dict[str, object]:
    sha256 = digest_of(content.encode())
    return {
        "sha256": sha256,
        "storage_backend": "many",
        "storage_key": f"{sha256}.{content}",
        "size": 32,
        "pieces": b"",
        "created_at": now(),
    }
