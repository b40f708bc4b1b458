"""Idempotency-Key: a request that is sent again stores nothing more and gets the same answer."""

import threading
from collections.abc import Callable

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select, update

from simpledrive.drive import NewBlob
from simpledrive.keys import NewKey
from simpledrive.models import Replay, now
from simpledrive.parts import Parts
from simpledrive.replays import REMEMBERED
from simpledrive.rights import SERVER
from tests.apps import BEARER
from tests.cutting import CUTS, cutting_proxy
from tests.drives import check, digest_of, impatient, keep, versions
from tests.problems import assert_problem


@pytest.fixture
def client(any_app: Flask) -> FlaskClient:
    """A client on each database."""
    client = any_app.test_client()
    client.environ_base["HTTP_AUTHORIZATION"] = BEARER["Authorization"]
    return client


def post(client: FlaskClient, key: str | None = "k", **body: object) -> object:
    headers = {} if key is None else {"Idempotency-Key": key}
    return client.post("/v1/blobs", json={"data": "YWJj"} | body, headers=headers)


def count(parts: Parts) -> int:
    return len(parts.listing.page(SERVER).blobs)


def test_the_second_request_is_answered_as_the_first(client: FlaskClient, any_parts: Parts) -> None:
    first, second = post(client), post(client)
    assert first.status_code == second.status_code == 201
    assert first.json == second.json
    for name in ("Location", "ETag"):
        assert first.headers[name] == second.headers[name]
    assert count(any_parts) == 1
    check(any_parts)


def test_a_chosen_id_that_was_stored_so_is_no_conflict(client: FlaskClient, any_parts: Parts) -> None:
    assert post(client, id="a").json == post(client, id="a").json
    assert_problem(post(client, key="other", id="a"), 409, "blob-exists")
    assert_problem(post(client, key=None, id="a"), 409, "blob-exists")
    assert versions(any_parts, "a") == []


def test_it_is_the_first_answer_whatever_happened_since(client: FlaskClient, any_parts: Parts) -> None:
    first = post(client, id="a", metadata={"k": "v"})
    client.patch("/v1/blobs/a", json={"filename": "changed"})
    client.patch("/v1/blobs/a", json={"storage_backend": "database"})
    assert post(client, id="a", metadata={"k": "v"}).json == first.json
    client.delete("/v1/blobs/a?permanent=true")
    assert post(client, id="a", metadata={"k": "v"}).json == first.json
    assert count(any_parts) == 0


@pytest.mark.parametrize(
    "other",
    [
        {"data": "YWJk"},
        {"id": "b"},
        {"filename": "f"},
        {"content_type": "image/png"},
        {"metadata": {"a": "b"}},
    ],
)
def test_another_body_under_the_same_key_is_422(
    client: FlaskClient, any_parts: Parts, other: dict[str, object]
) -> None:
    assert post(client, id="a").status_code == 201
    assert_problem(post(client, **{"id": "a"} | other), 422, "idempotency-key-reused")
    assert count(any_parts) == 1


def test_what_was_refused_may_be_tried_again(client: FlaskClient) -> None:
    assert_problem(post(client, data="!"), 400, "bad-request")
    assert_problem(post(client, storage_backend="nowhere"), 422, "invalid", "storage_backend")
    assert post(client).status_code == 201


def test_known_digests_are_repeatable_too(client: FlaskClient, any_parts: Parts) -> None:
    keep(any_parts, "old", b"abc")

    def known() -> object:
        body = {"sha256": digest_of(b"abc"), "size": 3}
        return client.post("/v1/blobs", json=body, headers={"Idempotency-Key": "k"})

    assert known().json == known().json
    assert count(any_parts) == 2


def test_a_replay_belongs_to_the_caller_who_made_it(
    client: FlaskClient, any_app: Flask, any_parts: Parts
) -> None:
    _, credential = any_parts.keys.issue(SERVER, NewKey("other"))
    first = post(client)
    headers = {"Idempotency-Key": "k", "Authorization": f"Bearer {credential}"}
    second = any_app.test_client().post("/v1/blobs", json={"data": "YWJj"}, headers=headers)
    assert second.status_code == 201
    assert first.json["id"] != second.json["id"]


def test_strangers_are_told_apart_by_address(make_app: Callable[..., Flask]) -> None:
    client = make_app(anonymous_access="write").test_client()

    def post_from(address: str) -> str:
        headers = {"Idempotency-Key": "k"}
        answer = client.post(
            "/v1/blobs", json={"data": "YWJj"}, headers=headers, environ_base={"REMOTE_ADDR": address}
        )
        assert answer.status_code == 201
        return str(answer.json["id"])

    assert post_from("127.0.0.1") == post_from("127.0.0.1") != post_from("127.0.0.2")


@pytest.mark.parametrize("key", ["", "x" * 256, "a\tb", "ü"])
def test_a_key_has_visible_characters(client: FlaskClient, key: str) -> None:
    assert_problem(post(client, key=key), 422, "invalid", "Idempotency-Key")


def test_both_spellings_of_the_path_are_one_route(client: FlaskClient) -> None:
    first = post(client)
    second = client.post("/v1/blobs/", json={"data": "YWJj"}, headers={"Idempotency-Key": "k"})
    assert first.json == second.json


def test_requests_at_the_same_moment_store_once(any_app: Flask, any_parts: Parts) -> None:
    answers: list[object] = []
    start = threading.Barrier(6)

    def send() -> None:
        client = any_app.test_client()
        client.environ_base["HTTP_AUTHORIZATION"] = BEARER["Authorization"]
        start.wait()
        answers.append(post(client))

    threads = [threading.Thread(target=send) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json["id"] for answer in answers}) == 1
    assert count(any_parts) == 1
    check(any_parts)


@pytest.mark.parametrize("cut", CUTS)
def test_a_broken_commit_leaves_no_doubt(
    postgres_database: str, make_app: Callable[..., Flask], cut: str
) -> None:
    with cutting_proxy(postgres_database) as proxy:
        app = make_app(database_url=proxy.url.render_as_string(hide_password=False))
        parts: Parts = app.extensions["simpledrive"]
        client = app.test_client()
        client.environ_base["HTTP_AUTHORIZATION"] = BEARER["Authorization"]
        keep(parts, "warm", b"up")
        proxy.arm(cut)
        first = post(client)
        assert proxy.has_cut
        assert first.status_code == 201
        assert post(client).json == first.json
        assert count(parts) == 2


def test_what_is_a_day_old_is_forgotten(client: FlaskClient, any_parts: Parts) -> None:
    first = post(client)
    old = update(Replay).values(created_at=now() - REMEMBERED)
    any_parts.database.write(lambda session: session.execute(old))
    second = post(client)
    assert (second.status_code, second.json["id"] != first.json["id"]) == (201, True)
    any_parts.database.write(lambda session: session.execute(old))
    impatient(any_parts).sweep()
    left = any_parts.database.read(lambda session: session.scalars(select(Replay)).all())
    assert left == []


def test_without_a_key_every_request_counts(client: FlaskClient, any_parts: Parts) -> None:
    post(client, key=None)
    post(client, key=None)
    assert count(any_parts) == 2
    assert NewBlob().once is None
