"""The audit log: what was done is in it, what was not done is not, and nobody changes it afterwards."""

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import delete, update
from sqlalchemy.exc import DBAPIError

from simpledrive.errors import BlobExists, Forbidden, Invalid
from simpledrive.keys import NewKey, rights_of
from simpledrive.models import AuditEntry
from simpledrive.parts import Parts
from simpledrive.rights import SERVER
from tests.apps import BEARER
from tests.drives import keep, replace
from tests.moves import move


@pytest.fixture
def client(any_app: Flask) -> FlaskClient:
    """A client on each database."""
    client = any_app.test_client()
    client.environ_base["HTTP_AUTHORIZATION"] = BEARER["Authorization"]
    return client


def entries(parts: Parts, **filters: object) -> list[AuditEntry]:
    """The oldest first."""
    return parts.audit.page(SERVER, limit=1000, **filters).entries[::-1]


def test_every_deed_has_its_entry(client: FlaskClient, any_parts: Parts) -> None:
    client.put("/v1/content/a", data=b"one")
    client.put("/v1/content/a", data=b"two!", headers={"If-Match": "*"})
    client.patch("/v1/blobs/a", json={"filename": "x", "metadata": {"k": "v"}})
    client.patch("/v1/blobs/a", json={"storage_backend": "database"})
    client.patch("/v1/blobs/a", json={"version": 1})
    client.delete("/v1/blobs/a")
    client.delete("/v1/blobs/a?permanent=true")
    found = entries(any_parts)
    assert [(entry.action, entry.details) for entry in found] == [
        ("blob.stored", {"version": 1, "size": 3}),
        ("blob.replaced", {"version": 2, "size": 4}),
        ("blob.changed", {"version": 3, "fields": ["blob_metadata", "filename"]}),
        ("blob.moved", {"came_from": "local", "went_to": "database"}),
        ("blob.restored", {"version": 5, "was": 1}),
        ("blob.deleted", {"version": 5}),
        ("blob.erased", {"versions": 3}),
    ]
    assert {entry.target for entry in found} == {"a"}
    assert {entry.key_name for entry in found} == {"API_TOKEN"}
    assert {entry.address for entry in found} == {"127.0.0.1"}
    assert all(entry.request_id for entry in found)
    assert len({entry.pk for entry in found}) == len(found)


def test_a_migration_says_what_moved(any_parts: Parts) -> None:
    for id in ("a", "b"):
        keep(any_parts, id, b"same")
    move(any_parts, "local", "database")
    moved = entries(any_parts, action="blob.moved")
    assert sorted(entry.target for entry in moved) == ["a", "b"]
    assert {entry.key_name for entry in moved} == {SERVER.name}


def test_what_did_not_happen_is_not_logged(any_parts: Parts) -> None:
    keep(any_parts, "a", b"one")
    with pytest.raises(BlobExists):
        keep(any_parts, "a", b"two")
    assert [entry.action for entry in entries(any_parts)] == ["blob.stored"]


def test_nobody_changes_or_removes_an_entry(any_parts: Parts) -> None:
    keep(any_parts, "a", b"one")
    for statement in (update(AuditEntry).values(key_name="somebody else"), delete(AuditEntry)):
        with pytest.raises(DBAPIError, match="append-only"):
            any_parts.database.write(lambda session, statement=statement: session.execute(statement))
    assert len(entries(any_parts)) == 1


def test_entries_come_in_pages_the_latest_first(any_parts: Parts) -> None:
    for number in range(5):
        keep(any_parts, f"f/{number}", b"x")
    seen, cursor = [], None
    for size in (2, 2, 1):
        page = any_parts.audit.page(SERVER, cursor=cursor, limit=2)
        assert len(page.entries) == size
        seen += [entry.target for entry in page.entries]
        cursor = page.next
    assert (seen, cursor) == ([f"f/{number}" for number in (4, 3, 2, 1, 0)], None)
    with pytest.raises(Invalid):
        any_parts.audit.page(SERVER, cursor="nonsense")


def test_filters_find_what_they_say(any_parts: Parts) -> None:
    keep(any_parts, "a/1", b"x")
    keep(any_parts, "b/1", b"x")
    replace(any_parts, "b/1", b"y")
    assert [entry.target for entry in entries(any_parts, target_prefix="a/")] == ["a/1"]
    assert [entry.target for entry in entries(any_parts, action="blob.replaced")] == ["b/1"]
    assert len(entries(any_parts, key_id=SERVER.key_id)) == 3
    assert entries(any_parts, key_id="nobody") == []


def test_the_log_is_for_admins_and_a_confined_one_sees_his_part(any_parts: Parts) -> None:
    keep(any_parts, "mine/1", b"x")
    keep(any_parts, "theirs/1", b"x")
    confined, _ = any_parts.keys.issue(SERVER, NewKey("c", scopes=["admin"], prefix="mine/"))
    seen = any_parts.audit.page(rights_of(confined)).entries
    assert [entry.target for entry in seen] == ["mine/1"]
    assert any_parts.audit.page(rights_of(confined), target_prefix="theirs/").entries == []
    reader, _ = any_parts.keys.issue(SERVER, NewKey("r", scopes=["read"]))
    with pytest.raises(Forbidden):
        any_parts.audit.page(rights_of(reader))
