"""API keys in the domain: how they are made and kept, what each may do, and how much it may store."""

import io
import re
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from functools import partial
from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy import select, text, update

from simpledrive import keys as keys_module
from simpledrive import quotas as quotas_module
from simpledrive.audit import Audit
from simpledrive.drive import NewBlob
from simpledrive.errors import (
    DatabaseFull,
    Forbidden,
    Invalid,
    InvalidToken,
    KeyExists,
    KeyNotFound,
    NotSignedIn,
    QuotaExceeded,
    TooLarge,
    TruncatedBody,
)
from simpledrive.ids import uuid7
from simpledrive.keys import Keys, NewKey, rights_of
from simpledrive.models import ApiKey, Blob, Reservation, now
from simpledrive.parts import Parts
from simpledrive.quotas import LEAST_LIFETIME
from simpledrive.rights import SCOPES, SERVER, Caller
from simpledrive.streams.staging import Incoming
from tests.apps import TOKEN
from tests.drives import check, digest_of, impatient, keep, replicas
from tests.sources import content

KEY = re.compile(r"sd_[A-Za-z0-9_-]{43}")
HOUR = timedelta(hours=1)


@pytest.fixture
def keys(any_parts: Parts) -> Keys:
    return any_parts.keys


def issue(parts: Parts, maker: Caller = SERVER, **asked: object) -> tuple[Caller, str]:
    """A caller with a key of his own, and that key."""
    _, credential = parts.keys.issue(maker, NewKey(**{"name": "a key"} | asked))
    return parts.keys.verify(credential), credential


def row(parts: Parts, caller: Caller) -> ApiKey:
    return parts.keys.get(SERVER, caller.key_id)


def used(parts: Parts, caller: Caller) -> int:
    return row(parts, caller).used_bytes


def reserved(parts: Parts) -> list[int]:
    return list(parts.database.read(lambda session: session.scalars(select(Reservation.bytes)).all()))


def execute(parts: Parts, statement: object) -> None:
    parts.database.write(lambda session: session.execute(statement) and None)


def together(*works: Callable[[], object]) -> list[object]:
    """What each returns or raises. All begin at the same moment."""
    ready, outcomes = threading.Barrier(len(works)), [None] * len(works)

    def run(at: int, work: Callable[[], object]) -> None:
        ready.wait(30)
        try:
            outcomes[at] = work()
        except Exception as error:
            outcomes[at] = error

    threads = [threading.Thread(target=run, args=each) for each in enumerate(works)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return outcomes


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[timedelta], None]:
    """Moves the clock of keys and quotas ahead."""

    def move(ahead: timedelta) -> None:
        for module in (keys_module, quotas_module):
            monkeypatch.setattr(module, "now", lambda: now() + ahead)

    return move


# --- What a key is and what is kept of it


def test_a_key_is_32_random_bytes_with_a_mark_in_front(any_parts: Parts) -> None:
    found = {issue(any_parts)[1] for _ in range(20)}
    assert len(found) == 20
    assert all(KEY.fullmatch(credential) for credential in found)


def test_only_the_digest_of_a_key_is_kept(any_parts: Parts) -> None:
    caller, credential = issue(any_parts)
    [kept] = any_parts.database.read(
        lambda session: session.execute(text("SELECT * FROM api_keys")).mappings().all()
    )
    assert kept["digest"] == digest_of(credential.encode())
    for table in ("api_keys", "audit_log", "replays", "reservations"):
        rows = any_parts.database.read(
            lambda session, t=table: session.execute(text(f"SELECT * FROM {t}")).all()
        )
        assert credential not in str(rows)
        assert credential.removeprefix("sd_") not in str(rows)
    assert credential not in repr(caller)


def test_the_text_of_a_key_is_nowhere_on_the_disk(app: Flask, parts: Parts, tmp_path: Path) -> None:
    _, credential = issue(parts)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(digest_of(credential.encode()).encode() in path.read_bytes() for path in files)
    for path in files:
        assert credential.removeprefix("sd_").encode() not in path.read_bytes(), path


def test_a_key_lets_in_and_nearly_the_same_does_not(any_parts: Parts) -> None:
    caller, credential = issue(any_parts, scopes=["read"], prefix="in/")
    assert (caller.scopes, caller.prefix, caller.name) == (frozenset({"read"}), "in/", "a key")
    digest = digest_of(credential.encode())
    for wrong in (
        credential[:-1],
        credential + "A",
        credential.swapcase(),
        credential[3:],
        digest,
        "",
        caller.key_id,
    ):
        with pytest.raises(InvalidToken):
            any_parts.keys.verify(wrong)


def test_the_token_is_the_first_key_and_needs_no_row(any_parts: Parts) -> None:
    first = any_parts.keys.verify(TOKEN)
    assert any_parts.keys.all(first) == []
    assert (first.scopes, first.prefix, first.backends) == (frozenset(SCOPES), "", None)
    assert (first.max_bytes, first.quota_bytes, first.expires_at) == (None, None, None)
    assert any_parts.keys.named(first.key_id).key_id == first.key_id
    assert TOKEN not in first.key_id
    assert digest_of(TOKEN.encode()) != first.key_id
    caller, _ = issue(any_parts, first)
    assert row(any_parts, caller).created_by == first.key_id


def test_the_id_of_a_key_is_no_key(any_parts: Parts) -> None:
    first = any_parts.keys.verify(TOKEN)
    with pytest.raises(InvalidToken):
        any_parts.keys.verify(first.key_id)


def test_a_key_ends_at_its_time(any_parts: Parts, later: Callable[[timedelta], None]) -> None:
    caller, credential = issue(any_parts, expires_at=now() + HOUR)
    later(HOUR - timedelta(seconds=5))
    assert any_parts.keys.verify(credential) == caller
    later(HOUR + timedelta(seconds=5))
    for enter in (lambda: any_parts.keys.verify(credential), lambda: any_parts.keys.named(caller.key_id)):
        with pytest.raises(InvalidToken):
            enter()


def test_a_time_in_any_zone_is_kept_in_utc(any_parts: Parts) -> None:
    there = datetime(2099, 1, 1, 2, tzinfo=timezone(timedelta(hours=2)))
    made, _ = any_parts.keys.issue(SERVER, NewKey("a key", expires_at=there))
    assert made.expires_at == any_parts.keys.get(SERVER, made.id).expires_at == there
    assert made.expires_at.utcoffset() == timedelta(0)


def test_a_revoked_key_lets_nobody_in(any_parts: Parts) -> None:
    caller, credential = issue(any_parts)
    first = any_parts.keys.revoke(SERVER, caller.key_id).revoked_at
    assert any_parts.keys.revoke(SERVER, caller.key_id).revoked_at == first
    with pytest.raises(InvalidToken):
        any_parts.keys.verify(credential)
    with pytest.raises(InvalidToken):
        any_parts.keys.named(caller.key_id)
    assert [key.id for key in any_parts.keys.all(SERVER)] == [caller.key_id]


def test_a_removed_key_is_gone_and_what_it_stored_stays(any_parts: Parts) -> None:
    caller, credential = issue(any_parts)
    keep(any_parts, "x", b"bytes", caller=caller)
    any_parts.keys.remove(SERVER, caller.key_id)
    with pytest.raises(InvalidToken):
        any_parts.keys.verify(credential)
    with pytest.raises(KeyNotFound):
        any_parts.keys.remove(SERVER, caller.key_id)
    assert any_parts.drive.describe(SERVER, "x").owner == caller.key_id


def test_blobs_know_the_key_that_made_them(any_parts: Parts) -> None:
    caller, credential = issue(any_parts)
    blob = keep(any_parts, "x", b"bytes", caller=caller)
    assert blob.owner == caller.key_id
    assert credential not in blob.owner


def test_the_last_use_is_written_once_a_minute(
    any_parts: Parts, later: Callable[[timedelta], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    caller, credential = issue(any_parts)  # which verifies it once
    first = row(any_parts, caller).last_used_at
    assert first is not None
    written: list[object] = []
    write = any_parts.database.write_if_free
    monkeypatch.setattr(any_parts.database, "write_if_free", lambda work: written.append(work) or write(work))
    for _ in range(5):
        any_parts.keys.verify(credential)
        any_parts.keys.named(caller.key_id)
    assert written == []
    later(timedelta(seconds=61))
    for _ in range(5):
        any_parts.keys.verify(credential)
    assert len(written) == 1
    last = row(any_parts, caller).last_used_at
    assert last is not None
    assert last - first >= timedelta(seconds=60)


def test_a_use_that_another_process_has_noted_is_not_noted_again(
    make_app: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = (make_app().extensions["simpledrive"] for _ in range(2))
    _, credential = issue(one)

    def refuse(work: object) -> None:
        raise AssertionError("it writes")

    monkeypatch.setattr(other.database, "write_if_free", refuse)
    other.keys.verify(credential)


def test_a_database_that_takes_no_writes_still_lets_people_in(
    any_parts: Parts, monkeypatch: pytest.MonkeyPatch, later: Callable[[timedelta], None]
) -> None:
    caller, credential = issue(any_parts)
    tried: list[object] = []

    def full(work: object) -> None:
        tried.append(work)
        raise DatabaseFull("The database has no room left.")

    later(timedelta(minutes=2))
    monkeypatch.setattr(any_parts.database, "write_if_free", full)
    for _ in range(3):
        assert any_parts.keys.verify(credential) == caller
    assert len(tried) == 1, "requests do not queue up for it"


def test_making_and_ending_keys_is_in_the_audit_log(any_parts: Parts) -> None:
    caller, credential = issue(any_parts)
    any_parts.keys.revoke(SERVER, caller.key_id)
    any_parts.keys.revoke(SERVER, caller.key_id)
    any_parts.keys.remove(SERVER, caller.key_id)
    entries = any_parts.audit.page(SERVER).entries
    assert [entry.action for entry in entries] == ["key.deleted", "key.revoked", "key.created"]
    assert {entry.target for entry in entries} == {caller.key_id}
    assert credential not in str([entry.details for entry in entries])


def test_a_key_that_was_asked_for_twice_is_made_once(any_parts: Parts) -> None:
    id = str(uuid7())
    outcomes = together(*[lambda: any_parts.keys.issue(SERVER, NewKey("a key", id=id))] * 4)
    made = [outcome for outcome in outcomes if isinstance(outcome, tuple)]
    assert len(made) == 1
    assert sum(isinstance(outcome, KeyExists) for outcome in outcomes) == 3
    assert any_parts.keys.verify(made[0][1]).key_id == id
    assert len(any_parts.keys.all(SERVER)) == 1


# --- What may be asked of a key


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("name", "  "),
        ("name", "x" * 201),
        ("name", "a\x00b"),
        ("name", "a\ud800b"),
        ("description", "x" * 1001),
        ("description", "a\nb"),
        ("scopes", []),
        ("scopes", ["root"]),
        ("scopes", ["read", ""]),
        ("prefix", "a\x00"),
        ("prefix", "x" * 1025),
        ("backends", []),
        ("backends", ["nowhere"]),
        ("backends", ["local", "nowhere"]),
        ("max_bytes", -1),
        ("quota_bytes", 1 << 63),
        ("expires_at", datetime(2020, 1, 1, tzinfo=UTC)),
        ("expires_at", datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=10)))),
        ("expires_at", datetime.max.replace(tzinfo=timezone(timedelta(hours=-10)))),
    ],
)
def test_what_is_not_acceptable_is_named(keys: Keys, field: str, value: object) -> None:
    with pytest.raises(Invalid) as raised:
        keys.issue(SERVER, NewKey(**{"name": "a key", field: value}))
    assert {name for name, _ in raised.value.problems} == {field}
    assert keys.all(SERVER) == []


def test_all_that_is_wrong_is_named_at_once(keys: Keys) -> None:
    with pytest.raises(Invalid) as raised:
        keys.issue(SERVER, NewKey("", scopes=["root"], max_bytes=-1))
    assert [name for name, _ in raised.value.problems] == ["name", "scopes", "max_bytes"]


MAKER = {
    "scopes": ["read", "write", "admin"],
    "prefix": "in/",
    "backends": ["database", "local"],
    "max_bytes": 1000,
    "expires_at": datetime(2099, 1, 1, tzinfo=UTC),
}


def test_what_is_left_out_is_as_the_maker_has_it(any_parts: Parts) -> None:
    maker, _ = issue(any_parts, **MAKER)
    child, _ = issue(any_parts, maker)
    assert (child.scopes, child.prefix, child.backends) == (maker.scopes, "in/", ("database", "local"))
    assert (child.max_bytes, child.quota_bytes, child.expires_at) == (1000, None, maker.expires_at)
    assert maker.covers(child)
    assert child.covers(maker)


@pytest.mark.parametrize(
    "more",
    [
        {"scopes": list(SCOPES)},
        {"scopes": ["delete"]},
        {"prefix": ""},
        {"prefix": "in"},
        {"prefix": "out/"},
        {"prefix": "IN/"},
        {"max_bytes": 1001},
        {"expires_at": datetime(2099, 1, 1, 0, 0, 1, tzinfo=UTC)},
    ],
)
def test_a_key_makes_none_that_may_do_more(any_parts: Parts, more: dict[str, object]) -> None:
    maker, _ = issue(any_parts, **MAKER)
    with pytest.raises(Forbidden, match="no more than itself"):
        issue(any_parts, maker, **more)
    assert len(any_parts.keys.all(SERVER)) == 1


def test_a_backend_that_a_key_may_not_use_is_one_it_does_not_know(any_parts: Parts) -> None:
    maker, _ = issue(any_parts, **MAKER | {"backends": ["local"]})
    sentences = set()
    for name in ("database", "nowhere"):
        with pytest.raises(Invalid) as raised:
            issue(any_parts, maker, backends=["local", name])
        sentences.add(str(raised.value))
    assert sentences == {"backends: Backends are one or more of local."}


@pytest.mark.parametrize(
    "less",
    [
        {"scopes": ["read"]},
        {"prefix": "in/side"},
        {"backends": ["local"]},
        {"max_bytes": 0},
        {"quota_bytes": 0},
        {"expires_at": datetime(2098, 1, 1, tzinfo=UTC)},
    ],
)
def test_a_key_makes_those_that_may_do_less(any_parts: Parts, less: dict[str, object]) -> None:
    maker, _ = issue(any_parts, **MAKER)
    child, _ = issue(any_parts, maker, **less)
    assert maker.covers(child)
    assert not child.covers(maker)
    assert [key.id for key in any_parts.keys.all(maker)] == [maker.key_id, child.key_id]


def test_without_admin_nothing_of_keys_is_told(any_parts: Parts) -> None:
    reader, _ = issue(any_parts, scopes=["read", "write", "delete"])
    for act in (
        lambda: any_parts.keys.issue(reader, NewKey("x")),
        lambda: any_parts.keys.all(reader),
        lambda: any_parts.keys.get(reader, reader.key_id),
        lambda: any_parts.keys.revoke(reader, reader.key_id),
        lambda: any_parts.keys.remove(reader, reader.key_id),
    ):
        with pytest.raises(Forbidden):
            act()


def test_a_key_with_a_quota_makes_no_keys(any_parts: Parts) -> None:
    maker, _ = issue(any_parts, quota_bytes=100)
    with pytest.raises(Forbidden, match="quota"):
        any_parts.keys.issue(maker, NewKey("x", quota_bytes=50))


def test_a_key_reaches_no_key_that_may_do_more(any_parts: Parts) -> None:
    maker, _ = issue(any_parts, **MAKER)
    strong, _ = issue(any_parts)
    beside, _ = issue(any_parts, prefix="out/", scopes=["read"], backends=["local"], max_bytes=1)
    sentences = set()
    for id in (strong.key_id, beside.key_id, str(uuid7()), "no id", "a\x00b", "\ud800"):
        for act in (any_parts.keys.get, any_parts.keys.revoke, any_parts.keys.remove):
            with pytest.raises(KeyNotFound) as raised:
                act(maker, id)
            sentences.add(str(raised.value))
    assert len(sentences) == 1
    assert [key.id for key in any_parts.keys.all(maker)] == [maker.key_id]
    assert [key.revoked_at for key in any_parts.keys.all(SERVER)] == [None, None, None]


# --- Where and how much at once


def test_bytes_are_placed_only_where_the_key_may(any_parts: Parts) -> None:
    caller, _ = issue(any_parts, backends=["database"])
    assert keep(any_parts, "x", b"bytes", caller=caller).storage_backend == "database", "not at the default"
    with pytest.raises(Forbidden):
        keep(any_parts, "y", b"bytes", "local", caller=caller)
    with pytest.raises(Forbidden):
        any_parts.mover.move(caller, "x", "local")
    keep(any_parts, "z", b"other", "local")
    assert any_parts.mover.move(caller, "z", "database").storage_backend == "database"


def test_the_first_of_its_backends_is_the_default_of_a_key(any_parts: Parts) -> None:
    caller, _ = issue(any_parts, backends=["database", "local"])
    assert keep(any_parts, "x", b"bytes", caller=caller).storage_backend == "local", "the drive's own default"


def test_known_bytes_at_another_backend_are_sent_again(any_parts: Parts) -> None:
    keep(any_parts, "x", b"bytes", "local")
    caller, _ = issue(any_parts, backends=["database"])
    new = NewBlob(id="y")
    assert any_parts.drive.store_known(caller, digest_of(b"bytes"), 5, new) is None


def chunked(data: bytes) -> Incoming:
    return Incoming(io.BytesIO(data))


def announced(data: bytes) -> Incoming:
    return Incoming(io.BytesIO(data), len(data))


each_way = pytest.mark.parametrize("body", [chunked, announced], ids=["without a length", "with a length"])


def store(parts: Parts, caller: Caller, id: str, body: Incoming, *, replaces: bool = False) -> Blob:
    condition = (lambda blob: blob is not None) if replaces else None
    return parts.drive.store(caller, body, NewBlob(id=id), condition)[0]


@each_way
def test_the_largest_upload_of_a_key_is_413(any_parts: Parts, body: Callable[[bytes], Incoming]) -> None:
    caller, _ = issue(any_parts, max_bytes=10)
    assert store(any_parts, caller, "fits", body(content(10, 1))).size == 10
    with pytest.raises(TooLarge, match="More than 10 bytes are not taken"):
        store(any_parts, caller, "not", body(content(11, 1)))


# --- Quotas


@each_way
def test_a_quota_can_be_used_up_to_its_last_byte(any_parts: Parts, body: Callable[[bytes], Incoming]) -> None:
    caller, _ = issue(any_parts, quota_bytes=100)
    for at, size in enumerate((60, 39, 1)):
        assert store(any_parts, caller, f"{at}", body(content(size, at))).size == size
    assert used(any_parts, caller) == 100
    with pytest.raises(QuotaExceeded, match="Of 100 bytes that the key a key may store, 0 are left"):
        store(any_parts, caller, "more", body(b"x"))
    store(any_parts, caller, "nothing", body(b""))
    assert reserved(any_parts) == []
    check(any_parts)


@each_way
def test_what_can_never_fit_is_413_and_what_does_not_fit_now_is_507(
    any_parts: Parts, body: Callable[[bytes], Incoming]
) -> None:
    caller, _ = issue(any_parts, quota_bytes=100)
    with pytest.raises(TooLarge, match="is 100 bytes in all"):
        store(any_parts, caller, "never", body(content(101, 1)))
    store(any_parts, caller, "some", body(content(60, 2)))
    with pytest.raises(QuotaExceeded, match="40 are left"):
        store(any_parts, caller, "now", body(content(41, 3)))
    assert used(any_parts, caller) == 60
    assert reserved(any_parts) == []


class Watched(io.BytesIO):
    """A body that has something done when it is first read."""

    def __init__(self, data: bytes, act: Callable[[], object]) -> None:
        super().__init__(data)
        self._act: Callable[[], object] | None = act

    def read(self, size: int | None = -1, /) -> bytes:
        act, self._act = self._act, None
        if act is not None:
            act()
        return super().read(size)


def test_an_upload_reserves_its_bytes_before_they_come(any_parts: Parts) -> None:
    caller, _ = issue(any_parts, quota_bytes=100)
    refused: list[str] = []

    def meanwhile() -> None:
        assert reserved(any_parts) == [60]
        with pytest.raises(QuotaExceeded) as raised:
            store(any_parts, caller, "second", announced(content(41, 2)))
        refused.append(str(raised.value))
        store(any_parts, caller, "third", announced(content(40, 3)))

    store(any_parts, caller, "first", Incoming(Watched(content(60, 1), meanwhile), 60))
    assert len(refused) == 1
    assert "40 are left" in refused[0]
    assert used(any_parts, caller) == 100
    assert reserved(any_parts) == []


@each_way
def test_two_uploads_at_once_cannot_exceed_a_quota_together(
    any_parts: Parts, body: Callable[[bytes], Incoming]
) -> None:
    caller, _ = issue(any_parts, quota_bytes=100)
    works = [partial(store, any_parts, caller, f"{at}", body(content(30, at))) for at in range(8)]
    outcomes = together(*works)
    stored = [outcome for outcome in outcomes if isinstance(outcome, Blob)]
    assert len(stored) == 3
    assert sum(isinstance(outcome, QuotaExceeded) for outcome in outcomes) == 5
    assert used(any_parts, caller) == 90
    assert reserved(any_parts) == []
    check(any_parts)


def test_an_upload_that_fails_gives_its_bytes_back(any_parts: Parts) -> None:
    caller, _ = issue(any_parts, quota_bytes=100)
    with pytest.raises(TruncatedBody):
        store(any_parts, caller, "x", Incoming(io.BytesIO(content(50, 1)), 100))
    assert (used(any_parts, caller), reserved(any_parts)) == (0, [])
    assert any_parts.drive.room(caller) == 100


def test_a_crash_leaves_a_reservation_that_expires(
    any_parts: Parts, later: Callable[[timedelta], None]
) -> None:
    caller, _ = issue(any_parts, quota_bytes=100)

    stuck = any_parts.drive._quotas.reserved(caller, 80)
    stuck.__enter__()
    assert any_parts.drive.room(caller) == 20
    with pytest.raises(QuotaExceeded):
        store(any_parts, caller, "x", announced(content(21, 1)))
    later(LEAST_LIFETIME + timedelta(seconds=1))
    assert any_parts.drive.room(caller) == 100
    impatient(any_parts).sweep()
    assert reserved(any_parts) == []
    store(any_parts, caller, "x", announced(content(100, 1)))
    assert used(any_parts, caller) == 100


def test_a_replaced_version_counts_until_it_is_gone(any_parts: Parts) -> None:
    caller, _ = issue(any_parts, quota_bytes=100)
    store(any_parts, caller, "x", announced(content(40, 1)))
    store(any_parts, caller, "x", announced(content(30, 2)), replaces=True)
    assert used(any_parts, caller) == 70
    impatient(any_parts).sweep()
    assert used(any_parts, caller) == 30


def test_the_trash_counts_until_it_is_emptied(any_parts: Parts) -> None:
    caller, _ = issue(any_parts, quota_bytes=100)
    store(any_parts, caller, "x", announced(content(40, 1)))
    any_parts.drive.delete(caller, "x")
    assert used(any_parts, caller) == 40
    any_parts.drive.restore(caller, "x")
    assert used(any_parts, caller) == 40, "what comes back is counted once"
    any_parts.drive.delete(caller, "x")
    impatient(any_parts).sweep()
    assert used(any_parts, caller) == 0


def test_deleting_for_good_gives_everything_back(any_parts: Parts) -> None:
    caller, _ = issue(any_parts, quota_bytes=100)
    store(any_parts, caller, "x", announced(content(40, 1)))
    store(any_parts, caller, "x", announced(content(30, 2)), replaces=True)
    any_parts.drive.delete(caller, "x", permanent=True)
    assert used(any_parts, caller) == 0
    store(any_parts, caller, "x", announced(content(100, 3)))


def test_each_version_counts_for_the_key_that_made_it(any_parts: Parts) -> None:
    one, _ = issue(any_parts, quota_bytes=100)
    other, _ = issue(any_parts, quota_bytes=100)
    store(any_parts, one, "x", announced(content(40, 1)))
    store(any_parts, other, "x", announced(content(30, 2)), replaces=True)
    assert (used(any_parts, one), used(any_parts, other)) == (40, 30)
    any_parts.drive.restore(other, "x", 1)
    assert (used(any_parts, one), used(any_parts, other)) == (40, 70)
    with pytest.raises(QuotaExceeded):
        any_parts.drive.restore(other, "x", 1)
    any_parts.drive.delete(SERVER, "x", permanent=True)
    assert (used(any_parts, one), used(any_parts, other)) == (0, 0)


def test_bytes_that_are_there_already_count_all_the_same(any_parts: Parts) -> None:
    keep(any_parts, "theirs", content(60, 1))
    caller, _ = issue(any_parts, quota_bytes=100)
    known = any_parts.drive.store_known(caller, digest_of(content(60, 1)), 60, NewBlob(id="mine"))
    assert known is not None
    assert used(any_parts, caller) == 60
    with pytest.raises(QuotaExceeded):
        any_parts.drive.store_known(caller, digest_of(content(60, 1)), 60, NewBlob(id="again"))
    with pytest.raises(TooLarge):
        any_parts.drive.store_known(caller, "0" * 64, 101, NewBlob(id="never"))
    assert len(replicas(any_parts, content(60, 1))) == 1


def test_the_same_request_again_takes_no_more_room(any_parts: Parts) -> None:
    caller, _ = issue(any_parts, quota_bytes=100)
    new = NewBlob(id="x", once="a mark of this request")
    first, _ = any_parts.drive.store(caller, announced(content(80, 1)), new)
    again, _ = any_parts.drive.store(caller, announced(content(80, 1)), new)
    assert again.pk == first.pk
    assert used(any_parts, caller) == 80


def test_keys_without_a_quota_are_not_counted(any_parts: Parts) -> None:
    caller, _ = issue(any_parts)
    store(any_parts, caller, "x", announced(content(40, 1)))
    any_parts.drive.delete(caller, "x", permanent=True)
    assert used(any_parts, caller) == 0


def test_a_key_that_is_deleted_during_an_upload_stores_nothing_against_its_quota(any_parts: Parts) -> None:
    caller, _ = issue(any_parts, quota_bytes=100)
    body = Watched(content(50, 1), lambda: any_parts.keys.remove(SERVER, caller.key_id))
    with pytest.raises(NotSignedIn):
        store(any_parts, caller, "x", Incoming(body, 50))
    assert any_parts.listing.page(SERVER).blobs == []
    assert reserved(any_parts) == []
    check(any_parts)


# --- What a confined key is told


def test_the_log_of_a_confined_key_tells_of_its_blobs_alone(any_parts: Parts) -> None:
    """Ids of keys are ids as well: one may begin with the prefix."""
    strong, _ = issue(any_parts)
    confined, _ = issue(any_parts, prefix=strong.key_id[:2], scopes=["admin"])
    keep(any_parts, strong.key_id[:2] + "mine", b"bytes")
    entries = Audit(any_parts.database).page(confined).entries
    assert [(entry.action, entry.target) for entry in entries] == [
        ("blob.stored", strong.key_id[:2] + "mine")
    ]


def test_rights_of_a_row_are_those_that_were_asked_for(any_parts: Parts) -> None:
    made, credential = any_parts.keys.issue(SERVER, NewKey("a key", **MAKER, quota_bytes=7))
    assert rights_of(made) == any_parts.keys.verify(credential)
    execute(any_parts, update(ApiKey).values(last_used_at=None))
    assert any_parts.keys.verify(credential).quota_bytes == 7
