"""Earlier versions, the trash, and what brings them back: /v1/versions, /v1/trash, PATCH, ?permanent=true."""

from datetime import datetime, timedelta
from urllib.parse import quote

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import event

from simpledrive.parts import Parts
from simpledrive.rights import SERVER
from tests.apps import BEARER
from tests.drives import check, impatient, replicas, versions
from tests.problems import assert_problem

MEMBERS = [
    "id", "size", "created_at", "sha256", "filename", "content_type", "storage_backend", "metadata",
    "version", "deleted", "put_aside_at", "gone_at",
]  # fmt: skip


@pytest.fixture
def client(any_app: Flask) -> FlaskClient:
    """A client on each database."""
    client = any_app.test_client()
    client.environ_base["HTTP_AUTHORIZATION"] = BEARER["Authorization"]
    return client


def put(client: FlaskClient, id: str, data: bytes) -> None:
    """Stores it, or replaces what is there."""
    path = f"/v1/content/{quote(id)}"
    answer = client.put(path, data=data)
    if answer.status_code == 409:
        answer = client.put(path, data=data, headers={"If-Match": "*"})
    assert answer.status_code in (200, 201)


def content(client: FlaskClient, id: str, **query: object) -> bytes:
    answer = client.get(f"/v1/content/{quote(id)}", query_string=query)
    assert answer.status_code == 200, answer.get_data(as_text=True)
    return answer.data


def numbers(client: FlaskClient, id: str) -> list[int]:
    return [item["version"] for item in client.get(f"/v1/versions/{quote(id)}").json["items"]]


def test_earlier_versions_are_listed_newest_first(client: FlaskClient) -> None:
    for data in (b"one", b"two!", b"three"):
        put(client, "a/b.txt", data)
    answer = client.get("/v1/versions/a/b.txt")
    assert answer.status_code == 200
    assert [(item["version"], item["size"], item["deleted"]) for item in answer.json["items"]] == [
        (2, 4, False),
        (1, 3, False),
    ]
    assert all(list(item) == MEMBERS for item in answer.json["items"])
    assert answer.json["next_cursor"] is None


def test_a_version_is_kept_as_long_as_the_settings_say(client: FlaskClient, any_parts: Parts) -> None:
    put(client, "a", b"one")
    put(client, "a", b"two")
    (item,) = client.get("/v1/versions/a").json["items"]
    kept = datetime.fromisoformat(item["gone_at"]) - datetime.fromisoformat(item["put_aside_at"])
    assert kept == timedelta(days=any_parts.settings.history_days)


def test_versions_come_in_pages(client: FlaskClient) -> None:
    for number in range(6):
        put(client, "a", b"%d" % number)
    first = client.get("/v1/versions/a?limit=2")
    assert [item["version"] for item in first.json["items"]] == [5, 4]
    link = first.headers["Link"]
    assert link.startswith("</v1/versions/a?limit=2&cursor=")
    assert link.endswith('>; rel="next"')
    second = client.get(link[1 : link.index(">")])
    assert [item["version"] for item in second.json["items"]] == [3, 2]
    third = client.get("/v1/versions/a", query_string={"cursor": second.json["next_cursor"]})
    assert ([item["version"] for item in third.json["items"]], third.json["next_cursor"]) == ([1], None)


def test_a_blob_that_never_changed_has_no_earlier_versions(client: FlaskClient) -> None:
    put(client, "a", b"one")
    assert client.get("/v1/versions/a").json == {"items": [], "next_cursor": None}


@pytest.mark.parametrize("id", ["nothing", "a%00b", "x" * 1025])
def test_versions_of_nothing_are_404(client: FlaskClient, id: str) -> None:
    assert_problem(client.get(f"/v1/versions/{id}"), 404, "blob-not-found")


@pytest.mark.parametrize("path", ["/v1/versions/a", "/v1/trash"])
@pytest.mark.parametrize("cursor", ["x!", "-1", "99999999999999"])
def test_a_cursor_that_no_page_named_is_refused(client: FlaskClient, path: str, cursor: str) -> None:
    put(client, "a", b"one")
    assert_problem(client.get(path, query_string={"cursor": cursor}), 422, "invalid", "cursor")


def test_the_bytes_of_an_earlier_version_can_be_read(client: FlaskClient) -> None:
    put(client, "a", b"one")
    put(client, "a", b"two!")
    assert content(client, "a", version=1) == b"one"
    assert content(client, "a", version=2) == content(client, "a") == b"two!"
    part = client.get("/v1/content/a?version=1", headers={"Range": "bytes=1-"})
    assert (part.status_code, part.data) == (206, b"ne")
    assert_problem(client.get("/v1/content/a?version=3"), 404, "blob-not-found")
    assert_problem(client.get("/v1/content/a?version=one"), 422, "invalid", "version")


def test_deleted_bytes_can_be_read_by_their_version_alone(client: FlaskClient) -> None:
    put(client, "a", b"one")
    assert client.delete("/v1/blobs/a").status_code == 204
    assert_problem(client.get("/v1/content/a"), 404, "blob-not-found")
    assert content(client, "a", version=1) == b"one"


def test_a_version_made_current_again_is_a_new_version(client: FlaskClient, any_parts: Parts) -> None:
    put(client, "a", b"one")
    put(client, "a", b"two!")
    answer = client.patch("/v1/blobs/a", json={"version": 1})
    assert (answer.status_code, answer.json["size"]) == (200, 3)
    assert answer.headers["ETag"] == f'"{answer.json["sha256"]}-3"'
    assert content(client, "a") == b"one"
    assert numbers(client, "a") == [2, 1]
    assert content(client, "a", version=2) == b"two!"
    check(any_parts)


def test_the_version_that_is_current_stays_as_it_is(client: FlaskClient) -> None:
    put(client, "a", b"one")
    answer = client.patch("/v1/blobs/a", json={"version": 1})
    assert (answer.status_code, answer.headers["ETag"][-3:]) == (200, '-1"')
    assert numbers(client, "a") == []


def test_a_version_that_is_not_remembered_is_404(client: FlaskClient) -> None:
    put(client, "a", b"one")
    assert_problem(client.patch("/v1/blobs/a", json={"version": 7}), 404, "blob-not-found")
    assert_problem(client.patch("/v1/blobs/b", json={"version": 1}), 404, "blob-not-found")


def test_a_deleted_version_comes_out_of_the_trash(client: FlaskClient, any_parts: Parts) -> None:
    put(client, "a", b"one")
    client.delete("/v1/blobs/a")
    assert client.patch("/v1/blobs/a", json={"version": 1}).status_code == 200
    assert content(client, "a") == b"one"
    assert client.get("/v1/trash").json["items"] == []
    check(any_parts)


def test_an_earlier_version_of_a_deleted_blob_comes_back_too(client: FlaskClient) -> None:
    put(client, "a", b"one")
    put(client, "a", b"two!")
    client.delete("/v1/blobs/a")
    assert client.patch("/v1/blobs/a", json={"version": 1}).status_code == 200
    assert content(client, "a") == b"one"
    assert numbers(client, "a") == [2, 1]
    assert client.get("/v1/trash").json["items"] == []


def test_restoring_wants_the_condition_to_hold(client: FlaskClient) -> None:
    put(client, "a", b"one")
    put(client, "a", b"two!")
    refused = client.patch("/v1/blobs/a", json={"version": 1}, headers={"If-Match": '"other"'})
    assert_problem(refused, 412, "precondition-failed")
    assert content(client, "a") == b"two!"


# --- The trash


def test_the_trash_lists_what_was_deleted_by_id(client: FlaskClient) -> None:
    for id in ("b/2", "a", "b/1", "c"):
        put(client, id, id.encode())
    for id in ("b/2", "a", "b/1"):
        client.delete(f"/v1/blobs/{id}")
    answer = client.get("/v1/trash")
    assert [item["id"] for item in answer.json["items"]] == ["a", "b/1", "b/2"]
    assert all(list(item) == MEMBERS and item["deleted"] for item in answer.json["items"])
    assert [item["id"] for item in client.get("/v1/trash/?prefix=b/").json["items"]] == ["b/1", "b/2"]


def test_the_trash_comes_in_pages(client: FlaskClient) -> None:
    for number in range(5):
        put(client, f"f/{number}", b"x")
        client.delete(f"/v1/blobs/f/{number}")
    seen, cursor = [], ""
    for size in (2, 2, 1):
        answer = client.get("/v1/trash", query_string={"limit": 2, "cursor": cursor})
        assert len(answer.json["items"]) == size
        seen += [item["id"] for item in answer.json["items"]]
        cursor = answer.json["next_cursor"]
    assert (seen, cursor) == ([f"f/{number}" for number in range(5)], None)


def test_an_id_that_is_taken_again_is_not_in_the_trash(client: FlaskClient) -> None:
    put(client, "a", b"one")
    client.delete("/v1/blobs/a")
    put(client, "a", b"two!")
    assert client.get("/v1/trash").json["items"] == []
    client.delete("/v1/blobs/a")
    (item,) = client.get("/v1/trash").json["items"]
    assert (item["size"], item["version"]) == (4, 2)


@pytest.mark.parametrize("prefix", ["\x00", "a\x00", "\x1f"])
def test_the_trash_below_an_impossible_prefix_is_empty(client: FlaskClient, prefix: str) -> None:
    assert client.get("/v1/trash", query_string={"prefix": prefix}).json == {
        "items": [],
        "next_cursor": None,
    }


def test_the_trash_is_found_by_an_index_of_its_own(parts: Parts) -> None:
    """Not by a look at every earlier version."""
    statements: list[tuple[str, tuple[object, ...]]] = []
    engine = parts.database.engine
    event.listen(engine, "before_cursor_execute", lambda *told: statements.append((told[2], told[3])))
    parts.history.trash(SERVER)
    (statement, values) = next(found for found in statements if "blob_history" in found[0])
    with engine.connect() as connection:
        plan = str(connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values).all())
    assert "ix_blob_history_deleted" in plan
    assert "ix_blob_history_id" not in plan
    assert "TEMP B-TREE" not in plan


# --- For good


def test_a_permanent_deletion_leaves_nothing_behind(client: FlaskClient, any_parts: Parts) -> None:
    put(client, "a", b"one")
    put(client, "a", b"two!")
    put(client, "b", b"one")
    assert client.delete("/v1/blobs/a?permanent=true").status_code == 204
    assert_problem(client.get("/v1/versions/a"), 404, "blob-not-found")
    assert client.get("/v1/trash").json["items"] == []
    assert_problem(client.delete("/v1/blobs/a?permanent=true"), 404, "blob-not-found")
    impatient(any_parts).sweep()
    assert replicas(any_parts, b"two!") == []
    assert content(client, "b") == b"one"
    check(any_parts)


def test_what_is_in_the_trash_can_be_erased(client: FlaskClient, any_parts: Parts) -> None:
    put(client, "a", b"one")
    client.delete("/v1/blobs/a")
    assert client.delete("/v1/blobs/a?permanent=true").status_code == 204
    assert versions(any_parts, "a") == []


def test_a_permanent_deletion_wants_the_condition_to_hold(client: FlaskClient) -> None:
    put(client, "a", b"one")
    refused = client.delete("/v1/blobs/a?permanent=true", headers={"If-Match": '"other"'})
    assert_problem(refused, 412, "precondition-failed")
    assert content(client, "a") == b"one"


def test_a_switch_is_true_or_false(client: FlaskClient) -> None:
    put(client, "a", b"one")
    assert_problem(client.delete("/v1/blobs/a?permanent=perhaps"), 422, "invalid", "permanent")
    assert content(client, "a") == b"one"
