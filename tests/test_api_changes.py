"""PATCH /v1/blobs/{id}: what is said of a blob, and where its bytes are."""

import pytest
from flask import Flask
from flask.testing import FlaskClient

from simpledrive.errors import PreconditionFailed
from simpledrive.parts import Parts
from simpledrive.rights import SERVER
from tests.apps import BEARER
from tests.drives import check, fetch, flip, impatient, keep, replace, replicas, versions
from tests.problems import assert_problem
from tests.sources import content


@pytest.fixture
def client(any_app: Flask) -> FlaskClient:
    """A client on each database."""
    client = any_app.test_client()
    client.environ_base["HTTP_AUTHORIZATION"] = BEARER["Authorization"]
    return client


def test_only_what_is_named_changes(client: FlaskClient, any_parts: Parts) -> None:
    keep(any_parts, "a/b.txt", b"abc")
    before = client.get("/v1/blobs/a/b.txt?data=false").json
    answer = client.patch("/v1/blobs/a/b.txt", json={"filename": "c.md"})
    assert (answer.status_code, answer.json) == (200, before | {"filename": "c.md"})
    answer = client.patch("/v1/blobs/a/b.txt", json={"content_type": "text/markdown", "metadata": {"k": "v"}})
    changed = before | {"filename": "c.md", "content_type": "text/markdown", "metadata": {"k": "v"}}
    assert answer.json == changed == client.get("/v1/blobs/a/b.txt?data=false").json
    assert answer.headers["ETag"] == f'"{before["sha256"]}-3"'
    assert versions(any_parts, "a/b.txt") == []


def test_metadata_is_replaced_as_a_whole(client: FlaskClient, any_parts: Parts) -> None:
    keep(any_parts, "a", b"abc")
    client.patch("/v1/blobs/a", json={"metadata": {"k": "v", "l": "w"}})
    assert client.patch("/v1/blobs/a", json={"metadata": {"m": "x"}}).json["metadata"] == {"m": "x"}
    assert client.patch("/v1/blobs/a", json={"metadata": {}}).json["metadata"] == {}


def test_an_empty_name_or_type_is_chosen_anew(client: FlaskClient, any_parts: Parts) -> None:
    keep(any_parts, "a/b.txt", b"abc")
    client.patch("/v1/blobs/a/b.txt", json={"filename": "x", "content_type": "image/png"})
    answer = client.patch("/v1/blobs/a/b.txt", json={"filename": "", "content_type": ""})
    assert (answer.json["filename"], answer.json["content_type"]) == ("b.txt", "text/plain")


def test_a_merge_patch_is_json_too(client: FlaskClient, any_parts: Parts) -> None:
    keep(any_parts, "a", b"abc")
    answer = client.patch(
        "/v1/blobs/a", data='{"filename": "x"}', content_type="application/merge-patch+json"
    )
    assert answer.json["filename"] == "x"


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, ["body"]),
        ({"filename": 1}, ["filename"]),
        ({"filename": None}, ["filename"]),
        ({"filename": "a\nb"}, ["filename"]),
        ({"content_type": "nonsense"}, ["content_type"]),
        ({"metadata": {"k": 1}}, ["metadata.k"]),
        ({"metadata": {"k": "v" * 2048}}, ["metadata"]),
        ({"storage_backend": "nowhere"}, ["storage_backend"]),
        ({"version": 0}, ["version"]),
        ({"version": "1"}, ["version"]),
        ({"version": 1, "filename": "x"}, ["body"]),
        ({"data": "YWJj"}, ["data"]),
        ({"id": "b"}, ["id"]),
    ],
)
def test_what_cannot_be_changed_so_is_422(
    client: FlaskClient, any_parts: Parts, body: dict[str, object], fields: list[str]
) -> None:
    keep(any_parts, "a", b"abc")
    before = client.get("/v1/blobs/a").json
    assert_problem(client.patch("/v1/blobs/a", json=body), 422, "invalid", *fields)
    assert client.get("/v1/blobs/a").json == before


@pytest.mark.parametrize("body", [{"filename": "x"}, {"storage_backend": "database"}])
@pytest.mark.parametrize("id", ["nothing", "a%00b"])
def test_what_is_not_there_cannot_be_changed(client: FlaskClient, body: dict[str, str], id: str) -> None:
    assert_problem(client.patch(f"/v1/blobs/{id}", json=body), 404, "blob-not-found")


def test_other_bodies_are_refused(client: FlaskClient, any_parts: Parts) -> None:
    keep(any_parts, "a", b"abc")
    assert_problem(client.patch("/v1/blobs/a", data="{}"), 415, "unsupported-type")
    answer = client.patch("/v1/blobs/a", data="{", content_type="application/json")
    assert_problem(answer, 400, "bad-request")
    large = client.patch("/v1/blobs/a", json={"filename": "x" * 70_000})
    assert_problem(large, 413, "too-large")


def test_a_change_wants_the_condition_to_hold(client: FlaskClient, any_parts: Parts) -> None:
    blob = keep(any_parts, "a", b"abc")
    etag = f'"{blob.sha256}-1"'
    assert client.patch("/v1/blobs/a", json={"filename": "x"}, headers={"If-Match": etag}).status_code == 200
    for body in ({"filename": "y"}, {"storage_backend": "database"}):
        answer = client.patch("/v1/blobs/a", json=body, headers={"If-Match": etag})
        assert_problem(answer, 412, "precondition-failed")
    found = client.get("/v1/blobs/a").json
    assert (found["filename"], found["storage_backend"]) == ("x", "local")


# --- Moving one blob


def test_one_blob_moves_with_every_byte_compared(client: FlaskClient, any_parts: Parts) -> None:
    data = content(600_000)
    for id in ("a", "b"):
        keep(any_parts, id, data)
    answer = client.patch("/v1/blobs/a", json={"storage_backend": "database"})
    assert (answer.status_code, answer.json["storage_backend"]) == (200, "database")
    assert answer.headers["ETag"].endswith('-2"')
    assert client.get("/v1/blobs/b?data=false").json["storage_backend"] == "local"
    assert fetch(any_parts, "a") == fetch(any_parts, "b") == data
    assert all(row.verified_at for row in replicas(any_parts, data) if row.storage_backend == "database")
    check(any_parts)


def test_the_place_it_left_is_swept_if_nothing_needs_it(client: FlaskClient, any_parts: Parts) -> None:
    keep(any_parts, "a", b"abc")
    client.patch("/v1/blobs/a", json={"storage_backend": "database", "filename": "x"})
    impatient(any_parts).sweep()
    assert [row.storage_backend for row in replicas(any_parts, b"abc")] == ["database"]
    assert (fetch(any_parts, "a"), client.get("/v1/blobs/a").json["filename"]) == (b"abc", "x")
    check(any_parts)


def test_earlier_versions_stay_where_they_are(client: FlaskClient, any_parts: Parts) -> None:
    keep(any_parts, "a", b"one")
    replace(any_parts, "a", b"two")
    client.patch("/v1/blobs/a", json={"storage_backend": "database"})
    assert [aside.storage_backend for aside in versions(any_parts, "a")] == ["local"]


def test_moving_to_where_it_is_changes_nothing(client: FlaskClient, any_parts: Parts) -> None:
    keep(any_parts, "a", b"abc")
    answer = client.patch("/v1/blobs/a", json={"storage_backend": "local"})
    assert (answer.status_code, answer.headers["ETag"][-3:]) == (200, '-1"')


@pytest.mark.parametrize(
    ("said", "field"), [({"filename": "x" * 1025}, "filename"), ({"metadata": {"k": "x" * 3000}}, "metadata")]
)
def test_a_move_with_something_unacceptable_is_not_made(
    client: FlaskClient, any_parts: Parts, said: dict[str, object], field: str
) -> None:
    keep(any_parts, "a", b"abc")
    answer = client.patch("/v1/blobs/a", json={"storage_backend": "database"} | said)
    assert_problem(answer, 422, "invalid", field)
    assert client.get("/v1/blobs/a").json["storage_backend"] == "local"
    assert client.get("/v1/blobs/a").headers["ETag"].endswith('-1"')


def test_a_move_and_a_change_are_one_act(client: FlaskClient, any_parts: Parts) -> None:
    blob = keep(any_parts, "a", b"abc")
    body = {"storage_backend": "database", "filename": "x"}
    answer = client.patch("/v1/blobs/a", json=body, headers={"If-Match": f'"{blob.sha256}-1"'})
    assert (answer.json["storage_backend"], answer.json["filename"]) == ("database", "x")
    assert answer.headers["ETag"].endswith('-2"')
    again = client.patch("/v1/blobs/a", json=body | {"filename": "y"})
    assert (again.json["filename"], again.headers["ETag"][-3:]) == ("y", '-3"')


def test_what_is_replaced_while_it_moves_is_not_changed(any_parts: Parts) -> None:
    keep(any_parts, "a", b"mine")
    storage = any_parts.backends.use("database")
    put, others = storage.put, [b"somebody else's"]

    def slow(key: str, source: object) -> None:
        put(key, source)
        if others:
            replace(any_parts, "a", others.pop())

    storage.put = slow
    first = any_parts.drive.describe(SERVER, "a").sha256
    with pytest.raises(PreconditionFailed):
        any_parts.mover.move(
            SERVER, "a", "database", lambda blob: blob is not None and blob.sha256 == first, filename="x"
        )
    assert others == []
    blob = any_parts.drive.describe(SERVER, "a")
    assert (blob.filename, blob.storage_backend) == ("a", "local")
    check(any_parts)


def test_a_place_that_is_away_is_not_taken_for_lost_bytes(app: Flask, api: FlaskClient, parts: Parts) -> None:
    keep(parts, "a", b"abc")
    base = parts.settings.local_storage_path
    base.rename(base.with_name("away"))
    assert_problem(api.patch("/v1/blobs/a", json={"storage_backend": "database"}), 502, "storage-refused")
    base.with_name("away").rename(base)
    assert api.patch("/v1/blobs/a", json={"storage_backend": "database"}).status_code == 200


def test_damaged_bytes_are_not_moved(client: FlaskClient, any_parts: Parts) -> None:
    data = content(10)
    keep(any_parts, "a", data)
    flip(any_parts, data, "local", 3)
    answer = client.patch("/v1/blobs/a", json={"storage_backend": "database", "filename": "x"})
    assert_problem(answer, 500, "integrity-fault")
    blob = any_parts.drive.describe(SERVER, "a")
    assert (blob.storage_backend, blob.filename) == ("local", "a")
    assert [row.storage_backend for row in replicas(any_parts, data)] == ["local"]
