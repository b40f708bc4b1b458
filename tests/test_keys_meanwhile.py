"""A key that ends while something is done with it, and what a key may not do by a side door."""

import io
import sqlite3
from collections.abc import Callable

import pytest
from flask import Flask
from sqlalchemy import update

from simpledrive import sql
from simpledrive.drive import NewBlob
from simpledrive.errors import BlobNotFound, Forbidden, InvalidToken, KeyExists, TooLarge
from simpledrive.ids import uuid7
from simpledrive.keys import Keys, NewKey, rights_of
from simpledrive.models import ApiKey, now
from simpledrive.parts import Parts
from simpledrive.rights import SERVER, Caller
from simpledrive.streams.staging import Incoming
from tests.drives import check, digest_of, keep, objects, replace


def issued(parts: Parts, **rights: object) -> Caller:
    key, _ = parts.keys.issue(SERVER, NewKey("k", **rights))
    return rights_of(key)


def expire(parts: Parts, caller: Caller) -> None:
    ended = update(ApiKey).where(ApiKey.id == caller.key_id).values(expires_at=now())
    parts.database.write(lambda session: session.execute(ended))


ENDS: dict[str, Callable[[Parts, Caller], object]] = {
    "revoked": lambda parts, caller: parts.keys.revoke(SERVER, caller.key_id),
    "deleted": lambda parts, caller: parts.keys.remove(SERVER, caller.key_id),
    "expired": expire,
}


@pytest.mark.parametrize("end", ENDS)
def test_an_upload_whose_key_ends_before_it_does_is_not_stored(any_parts: Parts, end: str) -> None:
    caller = issued(any_parts)

    class Slow(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            data = super().read(size)
            if not data:
                ENDS[end](any_parts, caller)
            return data

    with pytest.raises(InvalidToken):
        any_parts.drive.store(caller, Incoming(Slow(b"abc")), NewBlob(id="a"))
    with pytest.raises(BlobNotFound):
        any_parts.drive.describe(SERVER, "a")
    assert objects(any_parts, "local") == set()


ACTS: dict[str, Callable[[Parts, Caller], object]] = {
    "delete": lambda parts, caller: parts.drive.delete(caller, "a"),
    "erase": lambda parts, caller: parts.drive.delete(caller, "a", permanent=True),
    "change": lambda parts, caller: parts.drive.change(caller, "a", filename="x"),
    "restore": lambda parts, caller: parts.drive.restore(caller, "a", 1),
    "move": lambda parts, caller: parts.mover.move(caller, "a", "database"),
    "name": lambda parts, caller: parts.drive.store_known(caller, digest_of(b"two"), 3, NewBlob(id="b")),
}


@pytest.mark.parametrize("act", ACTS)
def test_nothing_is_done_with_a_key_that_has_ended(any_parts: Parts, act: str) -> None:
    keep(any_parts, "a", b"one")
    replace(any_parts, "a", b"two")
    caller = issued(any_parts)
    any_parts.keys.revoke(SERVER, caller.key_id)
    with pytest.raises(InvalidToken):
        ACTS[act](any_parts, caller)
    assert [blob.id for blob in any_parts.listing.page(SERVER).blobs] == ["a"]
    assert any_parts.drive.describe(SERVER, "a").version == 2
    check(any_parts)


@pytest.mark.parametrize("act", ["change", "restore", "move"])
def test_who_may_not_read_gets_no_record_by_changing_one(any_parts: Parts, act: str) -> None:
    keep(any_parts, "a", b"one")
    replace(any_parts, "a", b"two")
    with pytest.raises(Forbidden):
        ACTS[act](any_parts, issued(any_parts, scopes=["write"]))


def test_an_earlier_version_comes_back_only_where_a_key_may_place_bytes(any_parts: Parts) -> None:
    keep(any_parts, "a", b"one", "local")
    replace(any_parts, "a", b"two", "database")
    caller = issued(any_parts, backends=["database"])
    with pytest.raises(Forbidden):
        any_parts.drive.restore(caller, "a", 1)
    assert any_parts.drive.describe(SERVER, "a").version == 2


def test_known_bytes_are_no_way_around_the_largest_upload(any_parts: Parts) -> None:
    keep(any_parts, "a", b"one")
    with pytest.raises(TooLarge):
        any_parts.drive.store_known(issued(any_parts, max_bytes=2), digest_of(b"one"), 3, NewBlob(id="b"))


def test_the_id_of_a_deleted_key_never_stands_for_another(any_parts: Parts) -> None:
    id = str(uuid7())
    any_parts.keys.issue(SERVER, NewKey("first", prefix="mine/", id=id))
    any_parts.keys.remove(SERVER, id)
    with pytest.raises(KeyExists):
        any_parts.keys.issue(SERVER, NewKey("second", id=id))
    with pytest.raises(InvalidToken):
        any_parts.keys.named(id)
    assert any_parts.keys.all(SERVER) == []


def test_the_name_of_the_first_key_tells_nothing_of_the_token(parts: Parts) -> None:
    """Who has it could otherwise try words against it: it is in every session and record."""

    def key_id(secret: str) -> str:
        keys = Keys(parts.database, "changeme", secret, ["local"], frozenset())
        return keys.verify("changeme").key_id

    assert key_id("one secret") == key_id("one secret") != key_id("another secret")


def test_reading_with_a_key_does_not_wait_for_a_locked_database(
    monkeypatch: pytest.MonkeyPatch, make_app: Callable[..., Flask]
) -> None:
    monkeypatch.setattr(sql, "PATIENCE", 3600)
    monkeypatch.setattr(sql, "BUSY_SECONDS", 3600)
    app = make_app()
    parts: Parts = app.extensions["simpledrive"]
    keep(parts, "a", b"abc")
    key, credential = parts.keys.issue(SERVER, NewKey("k"))
    holder = sqlite3.connect(parts.settings.instance_path / "drive.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    try:
        answer = app.test_client().get("/v1/content/a", headers={"X-API-Key": credential})
        assert answer.data == b"abc"
    finally:
        holder.execute("ROLLBACK")
        holder.close()
    assert parts.keys.get(SERVER, key.id).last_used_at is None
