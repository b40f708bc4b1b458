"""POST /v1/blobs with a digest instead of bytes: for who may read them already, and for nobody else."""

from dataclasses import replace

import pytest
from flask import Flask
from flask.testing import FlaskClient

from simpledrive.drive import NewBlob
from simpledrive.errors import QuotaExceeded
from simpledrive.keys import NewKey, rights_of
from simpledrive.parts import Parts
from simpledrive.rights import SERVER, Caller
from tests.apps import BEARER
from tests.drives import check, digest_of, fetch, keep, lose, replicas, trust_no_more
from tests.problems import assert_problem

DATA = b"bytes that are known"
SHA256 = digest_of(DATA)


@pytest.fixture
def client(any_app: Flask) -> FlaskClient:
    """A client on each database."""
    client = any_app.test_client()
    client.environ_base["HTTP_AUTHORIZATION"] = BEARER["Authorization"]
    return client


def known(client: FlaskClient, id: str = "new", **more: object) -> object:
    return client.post("/v1/blobs", json={"id": id, "sha256": SHA256, "size": len(DATA)} | more)


def test_known_bytes_need_not_be_sent(client: FlaskClient, any_parts: Parts) -> None:
    keep(any_parts, "old", DATA, "database")
    answer = known(client, filename="n.txt")
    assert answer.status_code == 201
    assert answer.headers["Location"] == "/v1/blobs/new"
    assert answer.headers["ETag"] == f'"{SHA256}-1"'
    assert (answer.json["storage_backend"], answer.json["filename"]) == ("database", "n.txt")
    assert fetch(any_parts, "new") == DATA
    assert len(replicas(any_parts, DATA)) == 1
    check(any_parts)


def test_a_digest_in_capitals_is_the_same(client: FlaskClient, any_parts: Parts) -> None:
    keep(any_parts, "old", DATA)
    assert known(client, sha256=SHA256.upper()).status_code == 201


def test_unknown_bytes_are_asked_for(client: FlaskClient) -> None:
    answer = known(client, id="a b/ü")
    assert answer.status_code == 202
    assert answer.json == {"upload_required": True, "upload_url": "/v1/content/a%20b/%C3%BC"}
    assert client.put(answer.json["upload_url"], data=DATA).status_code == 201
    assert client.get("/v1/blobs/a%20b/%C3%BC?data=false").json["sha256"] == SHA256


def test_without_an_id_one_is_made_for_the_upload(client: FlaskClient) -> None:
    answer = client.post("/v1/blobs", json={"sha256": SHA256, "size": len(DATA)})
    assert answer.status_code == 202
    assert client.put(answer.json["upload_url"], data=DATA).status_code == 201


def test_another_backend_wants_the_bytes(client: FlaskClient, any_parts: Parts) -> None:
    keep(any_parts, "old", DATA, "local")
    assert known(client, storage_backend="database").status_code == 202
    keep(any_parts, "other", DATA, "database")
    assert known(client, storage_backend="database").json["storage_backend"] == "database"


def test_of_several_homes_the_default_is_taken(client: FlaskClient, any_parts: Parts) -> None:
    for id, backend in (("a", "database"), ("b", "local")):
        keep(any_parts, id, DATA, backend)
    assert known(client).json["storage_backend"] == "local"


def test_another_size_is_not_these_bytes(client: FlaskClient, any_parts: Parts) -> None:
    keep(any_parts, "old", DATA)
    assert known(client, size=1).status_code == 202


def test_a_taken_id_is_409(client: FlaskClient, any_parts: Parts) -> None:
    keep(any_parts, "new", b"x")
    assert_problem(known(client), 409, "blob-exists")


def test_lost_or_damaged_bytes_are_asked_for(client: FlaskClient, any_parts: Parts) -> None:
    keep(any_parts, "old", DATA)
    trust_no_more(any_parts, DATA, "local")
    assert known(client).status_code == 202
    keep(any_parts, "again", DATA)
    lose(any_parts, DATA, "local")
    assert known(client).status_code == 202


def test_a_home_that_lost_them_is_asked_once(any_parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    keep(any_parts, "old", DATA)
    lose(any_parts, DATA, "local")
    storage, asked = any_parts.backends.use("local"), []
    size = storage.size
    monkeypatch.setattr(storage, "size", lambda key: asked.append(key) or size(key))
    assert any_parts.drive.store_known(SERVER, SHA256, len(DATA), NewBlob(id="new")) is None
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({"id": "a"}, ["data"]),
        ({"id": "a", "sha256": SHA256}, ["data"]),
        ({"id": "a", "size": 3}, ["data"]),
        ({"id": "a", "sha256": "x" * 64, "size": 3}, ["sha256"]),
        ({"id": "a", "sha256": SHA256[:-1], "size": 3}, ["sha256"]),
        ({"id": "a", "sha256": SHA256, "size": -1}, ["size"]),
        ({"id": "a", "sha256": SHA256, "size": "3"}, ["size"]),
        ({"id": "a", "sha256": SHA256, "size": 1 << 63}, ["size"]),
    ],
)
def test_half_of_it_is_422(client: FlaskClient, body: dict[str, object], fields: list[str]) -> None:
    assert_problem(client.post("/v1/blobs", json=body), 422, "invalid", *fields)


def test_with_the_bytes_it_is_what_they_are_compared_with(client: FlaskClient, any_parts: Parts) -> None:
    body = {"id": "a", "data": "YWJj", "sha256": digest_of(b"abc"), "size": 3}
    assert_problem(client.post("/v1/blobs", json=body | {"sha256": SHA256}), 400, "digest-mismatch")
    assert_problem(client.post("/v1/blobs", json=body | {"size": 2}), 422, "invalid", "size")
    assert client.post("/v1/blobs", json=body).status_code == 201


# --- Whose bytes they are


def caller(any_parts: Parts, prefix: str, *scopes: str, **more: object) -> Caller:
    key, _ = any_parts.keys.issue(SERVER, NewKey("k", scopes=scopes, prefix=prefix, **more))
    return rights_of(key)


@pytest.mark.parametrize(
    ("prefix", "scopes", "is_enough"),
    [
        ("", ("read", "write"), True),
        ("o", ("read", "write"), False),  # the new id is outside
        ("mine/", ("read", "write"), False),
        ("", ("write",), False),
    ],
)
def test_a_digest_alone_gives_nobody_anything(
    any_parts: Parts, prefix: str, scopes: tuple[str, ...], is_enough: bool
) -> None:
    keep(any_parts, "old", DATA)
    asking = caller(any_parts, prefix, *scopes)
    new = NewBlob(id=f"{prefix}new")
    stored = any_parts.drive.store_known(asking, SHA256, len(DATA), new)
    assert (stored is not None) == (is_enough or prefix == "o")


def test_bytes_in_the_trash_alone_are_not_known(any_parts: Parts) -> None:
    keep(any_parts, "old", DATA)
    any_parts.drive.delete(SERVER, "old")
    assert any_parts.drive.store_known(SERVER, SHA256, len(DATA), NewBlob(id="new")) is None


def test_a_key_places_nothing_where_it_may_not(any_parts: Parts) -> None:
    keep(any_parts, "old", DATA, "database")
    asking = caller(any_parts, "", "read", "write", backends=["local"])
    assert any_parts.drive.store_known(asking, SHA256, len(DATA), NewBlob(id="new")) is None
    allowed = replace(asking, backends=("database",))
    assert any_parts.drive.store_known(allowed, SHA256, len(DATA), NewBlob(id="new")) is not None


def test_known_bytes_count_in_a_quota(any_parts: Parts) -> None:
    keep(any_parts, "old", DATA)
    asking = caller(any_parts, "", "read", "write", quota_bytes=len(DATA))
    any_parts.drive.store_known(asking, SHA256, len(DATA), NewBlob(id="new"))
    with pytest.raises(QuotaExceeded):
        any_parts.drive.store_known(asking, SHA256, len(DATA), NewBlob(id="newer"))
    assert any_parts.keys.get(SERVER, asking.key_id).used_bytes == len(DATA)
