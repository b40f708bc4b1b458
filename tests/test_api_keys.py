"""/v1/keys and PutPlace's /api_keys: the same keys in two contracts (CONTRACTS, parts 3 and 4)."""

import io
import re
from base64 import b64encode
from collections.abc import Callable
from datetime import timedelta

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from simpledrive.keys import NewKey
from simpledrive.models import now
from simpledrive.parts import Parts
from simpledrive.rights import SERVER
from tests.apps import BEARER, TOKEN
from tests.drives import digest_of, keep
from tests.problems import assert_problem
from tests.servers import Server
from tests.visitors import Visitor

KEY = re.compile(r"sd_[A-Za-z0-9_-]{43}")
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
MEMBERS = [
    "id",
    "name",
    "description",
    "scopes",
    "prefix",
    "backends",
    "max_bytes",
    "quota_bytes",
    "used_bytes",
    "created_at",
    "created_by",
    "expires_at",
    "last_used_at",
    "revoked_at",
]
BOTH = pytest.mark.parametrize("url", ["/v1/keys", "/api_keys"])


@pytest.fixture
def make(api: FlaskClient) -> Callable[..., dict[str, object]]:
    """Makes a key over HTTP; its document."""

    def post(**asked: object) -> dict[str, object]:
        answer = api.post("/v1/keys", json={"name": "a key"} | asked)
        assert answer.status_code == 201, answer.text
        document: dict[str, object] = answer.get_json()
        return document

    return post


def using(app: Flask, credential: object) -> FlaskClient:
    """A client that sends this key."""
    client = app.test_client()
    client.environ_base["HTTP_X_API_KEY"] = str(credential)
    return client


# --- /v1/keys


def test_a_new_key_is_shown_once_with_all_that_it_may(api: FlaskClient, parts: Parts) -> None:
    asked = {
        "name": "tablet",
        "description": "on the site",
        "scopes": ["write", "read"],
        "prefix": "site/",
        "backends": ["database"],
        "max_bytes": 1000,
        "quota_bytes": 5000,
        "expires_at": "2099-01-01T02:00:00+02:00",
    }
    answer = api.post("/v1/keys", json=asked)
    assert answer.status_code == 201
    document = answer.get_json()
    assert list(document) == ["key", *MEMBERS]
    assert KEY.fullmatch(document["key"])
    assert (document["scopes"], document["expires_at"]) == (["read", "write"], "2099-01-01T00:00:00Z")
    assert {name: document[name] for name in ("name", "description", "prefix", "backends")} == {
        name: asked[name] for name in ("name", "description", "prefix", "backends")
    }
    assert (document["max_bytes"], document["quota_bytes"], document["used_bytes"]) == (1000, 5000, 0)
    assert MOMENT.fullmatch(document["created_at"])
    assert document["created_by"] == parts.keys.verify(TOKEN).key_id
    assert (document["last_used_at"], document["revoked_at"]) == (None, None)
    assert answer.headers["Location"] == f"/v1/keys/{document['id']}"
    assert answer.headers["Cache-Control"] == "no-store"
    again = api.get(answer.headers["Location"])
    assert again.get_json() == {name: document[name] for name in MEMBERS}
    assert document["key"] not in again.text + api.get("/v1/keys").text


def test_what_is_left_out_or_null_is_as_the_maker_has_it(make: Callable[..., dict[str, object]]) -> None:
    for asked in (
        {},
        dict.fromkeys(["scopes", "prefix", "backends", "max_bytes", "quota_bytes", "expires_at"]),
    ):
        document = make(**asked)
        assert document["scopes"] == ["read", "write", "delete", "admin"]
        assert (document["prefix"], document["description"]) == ("", "")
        for name in ("backends", "max_bytes", "quota_bytes", "used_bytes", "expires_at"):
            assert document[name] is None, name


def test_keys_are_listed_oldest_first_with_both_spellings(
    api: FlaskClient, make: Callable[..., dict[str, object]]
) -> None:
    made = [make(name=name) for name in ("c", "a", "b")]
    for url in ("/v1/keys", "/v1/keys/"):
        answer = api.get(url)
        assert answer.status_code == 200
        assert list(answer.get_json()) == ["items", "next_cursor"]
        assert answer.get_json()["next_cursor"] is None
        assert [item["id"] for item in answer.get_json()["items"]] == [document["id"] for document in made]
    assert api.post("/v1/keys/", json={"name": "d"}).status_code == 201


def test_a_key_opens_what_it_may(app: Flask, make: Callable[..., dict[str, object]]) -> None:
    client = using(app, make(scopes=["write"], prefix="in/")["key"])
    assert client.post("/v1/blobs", json={"id": "in/x", "data": ""}).status_code == 201
    assert_problem(client.get("/v1/blobs/in/x"), 403, "insufficient_scope")
    assert_problem(client.post("/v1/blobs", json={"id": "x", "data": ""}), 403, "insufficient_scope")


def test_a_revoked_key_is_refused_and_stays_in_the_list(
    app: Flask, api: FlaskClient, make: Callable[..., dict[str, object]]
) -> None:
    document = make()
    client = using(app, document["key"])
    assert client.get("/v1/blobs").status_code == 200
    for _ in range(2):
        answer = api.delete(f"/v1/keys/{document['id']}")
        assert (answer.status_code, answer.data) == (204, b"")
    assert_problem(client.get("/v1/blobs"), 401, "not-signed-in")
    [item] = api.get("/v1/keys").get_json()["items"]
    assert MOMENT.fullmatch(item["revoked_at"])
    assert MOMENT.fullmatch(item["last_used_at"])


def test_a_session_ends_with_its_key(
    app: Flask, api: FlaskClient, make: Callable[..., dict[str, object]]
) -> None:
    document = make()
    visitor = Visitor(app)
    visitor.sign_in(str(document["key"]))
    assert visitor.get("/drive/files/").status_code == 200
    api.delete(f"/v1/keys/{document['id']}")
    assert visitor.get("/drive/files/").status_code == 303


@pytest.mark.parametrize(
    "id", ["nothing", "01a1f93e-d1a6-7b58-aa21-655bb5133d2f", "a%00b", "%F0%9F%94%91", "x" * 3000]
)
def test_an_unknown_key_is_404(api: FlaskClient, id: str) -> None:
    for answer in (api.get(f"/v1/keys/{id}"), api.delete(f"/v1/keys/{id}")):
        assert_problem(answer, 404, "key-not-found")
    for answer in (api.put(f"/api_keys/{id}/revoke"), api.delete(f"/api_keys/{id}")):
        assert_problem(answer, 404, "key-not-found")


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({}, "name"),
        ({"name": ""}, "name"),
        ({"name": None}, "name"),
        ({"name": 1}, "name"),
        ({"name": "a\x00"}, "name"),
        ({"name": "a", "scopes": "read"}, "scopes"),
        ({"name": "a", "scopes": ["root"]}, "scopes"),
        ({"name": "a", "scopes": [1]}, "scopes.0"),
        ({"name": "a", "backends": ["nowhere"]}, "backends"),
        ({"name": "a", "max_bytes": "20M"}, "max_bytes"),
        ({"name": "a", "max_bytes": -1}, "max_bytes"),
        ({"name": "a", "max_bytes": True}, "max_bytes"),
        ({"name": "a", "quota_bytes": 1 << 63}, "quota_bytes"),
        ({"name": "a", "expires_at": "2020-01-01T00:00:00Z"}, "expires_at"),
        ({"name": "a", "expires_at": "2099-01-01T00:00:00"}, "expires_at"),
        ({"name": "a", "expires_at": "9999-12-31T23:59:59-10:00"}, "expires_at"),
        ({"name": "a", "expires_at": 4070908800}, "expires_at"),
        ({"name": "a", "expires": "30d"}, "expires"),
    ],
)
def test_what_is_not_acceptable_is_422(api: FlaskClient, asked: dict[str, object], field: str) -> None:
    assert_problem(api.post("/v1/keys", json=asked), 422, "invalid", field)
    assert api.get("/v1/keys").get_json()["items"] == []


@BOTH
def test_a_body_that_is_no_json_is_refused(api: FlaskClient, url: str) -> None:
    assert_problem(api.post(url, data="{", content_type="application/json"), 400, "bad-request")
    assert_problem(api.post(url, data={"name": "a"}), 415, "unsupported-type")


def test_a_key_makes_none_that_may_do_more_than_itself(
    app: Flask, make: Callable[..., dict[str, object]]
) -> None:
    client = using(app, make(scopes=["read", "admin"], prefix="in/")["key"])
    for more in ({"prefix": ""}, {"prefix": "out/"}, {"scopes": ["write"]}):
        assert_problem(client.post("/v1/keys", json={"name": "b"} | more), 403, "insufficient_scope")
    document = client.post("/v1/keys", json={"name": "b", "prefix": "in/deeper/"}).get_json()
    assert (document["scopes"], document["prefix"]) == (["read", "admin"], "in/deeper/")
    assert len(client.get("/v1/keys").get_json()["items"]) == 2


@BOTH
def test_without_admin_keys_are_nobodys_business(
    app: Flask, make: Callable[..., dict[str, object]], url: str
) -> None:
    document = make(scopes=["read", "write", "delete"])
    client = using(app, document["key"])
    assert_problem(client.get(url), 403, "insufficient_scope")
    assert_problem(client.post(url, json={"name": "b"}), 403, "insufficient_scope")
    assert_problem(client.delete(f"{url}/{document['id']}"), 403, "insufficient_scope")
    assert_problem(app.test_client().get(url), 401, "not-signed-in")
    assert_problem(app.test_client().post(url, data=b"{"), 401, "not-signed-in")


@BOTH
def test_an_answer_with_a_key_is_never_kept_for_a_second_request(api: FlaskClient, url: str) -> None:
    answers = [api.post(url, json={"name": "a"}, headers={"Idempotency-Key": "once"}) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert len({answer.get_json()["key" if url == "/v1/keys" else "api_key"] for answer in answers}) == 2


def test_used_bytes_are_told_where_there_is_a_quota(
    app: Flask, api: FlaskClient, make: Callable[..., dict[str, object]]
) -> None:
    document = make(quota_bytes=100)
    using(app, document["key"]).put("/v1/content/x", data=b"1234567")
    assert api.get(f"/v1/keys/{document['id']}").get_json()["used_bytes"] == 7


def test_no_key_is_in_the_log(server: Server) -> None:
    answer = server.run("drive", "keys", "create", "a key", "--quiet")
    credential = answer.stdout.strip()
    assert KEY.fullmatch(credential)
    assert credential not in server.output()


# --- PutPlace's /api_keys


def test_putplace_makes_lists_revokes_and_deletes_keys(app: Flask, api: FlaskClient) -> None:
    answer = api.post("/api_keys", json={"name": "laptop", "description": "of ana"})
    assert answer.status_code == 201
    assert answer.headers["Cache-Control"] == "no-store"
    document = answer.get_json()
    assert set(document) == {"api_key", "_id", "name", "description", "created_at", "is_active"}
    assert KEY.fullmatch(document["api_key"])
    assert (document["name"], document["description"], document["is_active"]) == ("laptop", "of ana", True)
    assert MOMENT.fullmatch(document["created_at"])
    client = using(app, document["api_key"])
    assert client.get("/v1/blobs").status_code == 200

    def listed() -> list[dict[str, object]]:
        found: list[dict[str, object]] = api.get("/api_keys").get_json()
        return found

    [item] = listed()
    assert set(item) == {"_id", "name", "description", "created_at", "last_used_at", "is_active"}
    assert (item["_id"], item["is_active"]) == (document["_id"], True)
    assert MOMENT.fullmatch(str(item["last_used_at"]))

    for _ in range(2):
        answer = api.put(f"/api_keys/{document['_id']}/revoke")
        assert (answer.status_code, list(answer.get_json())) == (200, ["message"])
    assert_problem(client.get("/v1/blobs"), 401, "not-signed-in")
    assert [item["is_active"] for item in listed()] == [False]

    answer = api.delete(f"/api_keys/{document['_id']}")
    assert (answer.status_code, list(answer.get_json())) == (200, ["message"])
    assert listed() == []
    assert_problem(api.delete(f"/api_keys/{document['_id']}"), 404, "key-not-found")


def test_a_key_of_putplace_needs_no_description(api: FlaskClient) -> None:
    for asked in ({"name": "a"}, {"name": "a", "description": None}):
        assert api.post("/api_keys", json=asked).get_json()["description"] is None
    assert_problem(api.post("/api_keys", json={"description": "b"}), 422, "invalid", "name")


def test_a_key_that_has_ended_is_not_active(
    parts: Parts, api: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts.keys.issue(SERVER, NewKey("a", expires_at=now() + timedelta(hours=1)))
    monkeypatch.setattr("simpledrive.keys.now", lambda: now() + timedelta(hours=2))
    assert [item["is_active"] for item in api.get("/api_keys").get_json()] == [False]


# --- What a key may store, through both faces

SENT = {
    "json": lambda client, id, data: client.post("/v1/blobs", json={"id": id, "data": _base64(data)}),
    "raw": lambda client, id, data: client.put(f"/v1/content/{id}", data=data),
    "chunked": lambda client, id, data: client.put(
        f"/v1/content/{id}",
        input_stream=io.BytesIO(data),
        headers={"Transfer-Encoding": "chunked"},
        environ_overrides={"wsgi.input_terminated": True, "CONTENT_LENGTH": ""},
    ),
}
each_way = pytest.mark.parametrize("send", SENT.values(), ids=SENT)

Send = Callable[[FlaskClient, str, bytes], TestResponse]


def _base64(data: bytes) -> str:
    return b64encode(data).decode()


@each_way
def test_more_than_a_quota_is_413_and_a_used_up_one_507(
    app: Flask, make: Callable[..., dict[str, object]], send: Send
) -> None:
    client = using(app, make(quota_bytes=100)["key"])
    assert_problem(send(client, "never", b"x" * 101), 413, "too-large")
    assert send(client, "most", b"x" * 70).status_code == 201
    document = assert_problem(send(client, "now", b"x" * 31), 507, "quota-exceeded")
    assert "30 are left" in str(document["detail"])
    assert send(client, "rest", b"x" * 30).status_code == 201
    assert_problem(send(client, "one more", b"x"), 507, "quota-exceeded")


@each_way
def test_the_largest_upload_of_a_key_is_413(
    app: Flask, make: Callable[..., dict[str, object]], send: Send
) -> None:
    client = using(app, make(max_bytes=100)["key"])
    assert send(client, "most", b"x" * 100).status_code == 201
    assert_problem(send(client, "more", b"x" * 101), 413, "too-large")


def test_a_form_of_the_browser_has_the_same_quota(app: Flask, make: Callable[..., dict[str, object]]) -> None:
    visitor = Visitor(app)
    visitor.sign_in(str(make(quota_bytes=100)["key"]))
    visitor.get("/drive/files/")
    answer = visitor.upload((b"x" * 101, "never.txt"))
    assert answer.status_code == 413
    assert "is 100 bytes in all" in answer.text
    assert visitor.upload((b"x" * 70, "most.txt")).status_code == 303
    answer = visitor.upload((b"x" * 31, "now.txt"), (b"x" * 30, "rest.txt"))
    assert answer.status_code == 507
    assert "30 are left" in answer.text
    assert visitor.get("/drive/blob/rest.txt").status_code == 200
    assert visitor.get("/drive/blob/now.txt").status_code == 404


def test_a_form_of_the_browser_has_the_same_largest_upload(
    app: Flask, make: Callable[..., dict[str, object]]
) -> None:
    visitor = Visitor(app)
    visitor.sign_in(str(make(max_bytes=100)["key"]))
    visitor.get("/drive/files/")
    answer = visitor.upload((b"x" * 101, "more.txt"))
    assert answer.status_code == 413
    assert "More than 100 bytes are not taken" in answer.text


def test_a_file_of_file_share_has_the_same_quota(app: Flask, make: Callable[..., dict[str, object]]) -> None:
    client = using(app, make(quota_bytes=100)["key"])

    def send(size: int) -> TestResponse:
        return client.post("/files", data={"file": (io.BytesIO(b"x" * size), "a.txt")})

    assert_problem(send(101), 413, "too-large")
    assert send(70).status_code == 201
    assert_problem(send(31), 507, "quota-exceeded")
    assert send(30).status_code == 201


def test_known_bytes_have_the_same_quota(
    app: Flask, parts: Parts, make: Callable[..., dict[str, object]]
) -> None:
    keep(parts, "theirs", b"x" * 70)
    client = using(app, make(quota_bytes=100)["key"])

    def send(id: str, data: bytes) -> TestResponse:
        return client.post("/v1/blobs", json={"id": id, "sha256": digest_of(data), "size": len(data)})

    assert send("mine", b"x" * 70).status_code == 201
    assert_problem(send("again", b"x" * 70), 507, "quota-exceeded")
    assert_problem(send("never", b"x" * 101), 413, "too-large")


def test_the_token_is_a_key_without_a_row(api: FlaskClient) -> None:
    assert api.get("/v1/blobs", headers=BEARER).status_code == 200
    assert api.get("/v1/keys").get_json()["items"] == []
