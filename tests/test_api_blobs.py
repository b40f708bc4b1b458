"""/v1/blobs, row by row of the contract: POST, GET, HEAD, DELETE."""

import hashlib
import re
from base64 import b64decode, b64encode
from collections.abc import Callable
from urllib.parse import quote
from uuid import UUID

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from simpledrive.errors import StorageFull, StorageRefused, StorageUnavailable
from simpledrive.parts import Parts
from simpledrive.rights import SERVER
from simpledrive.streams.pieces import LEAF
from tests.apps import BEARER, TOKEN
from tests.problems import assert_problem
from tests.sources import content

HELLO = "SGVsbG8gU2ltcGxlIFN0b3JhZ2UgV29ybGQh"
MEMBERS = ["id", "size", "created_at", "sha256", "filename", "content_type", "storage_backend", "metadata"]


def post(api: FlaskClient, id: str, data: str = HELLO, **more: object) -> TestResponse:
    return api.post("/v1/blobs", json={"id": id, "data": data, **more})


def stored(api: FlaskClient) -> list[str]:
    return [item["id"] for item in api.get("/v1/blobs").json["items"]]


def test_the_example_of_the_task_is_stored_and_comes_back(api: FlaskClient) -> None:
    answer = post(api, "any_valid_string_or_identifier")
    assert answer.status_code == 201
    assert list(answer.json) == MEMBERS
    assert answer.json["size"] == 27
    assert answer.json["sha256"] == hashlib.sha256(b"Hello Simple Storage World!").hexdigest()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", answer.json["created_at"])
    assert answer.json["storage_backend"] == "local"
    assert answer.json["metadata"] == {}

    got = api.get("/v1/blobs/any_valid_string_or_identifier")
    assert got.status_code == 200
    assert got.json == answer.json | {"data": HELLO}
    assert got.mimetype == "application/json"


@pytest.mark.parametrize("path", ["/v1/blobs", "/v1/blobs/"])
def test_post_answers_under_both_spellings_without_a_redirect(api: FlaskClient, path: str) -> None:
    answer = api.post(path, json={"id": "a/ü", "data": HELLO})
    assert answer.status_code == 201
    assert answer.headers["Location"] == "/v1/blobs/a/%C3%BC"
    assert answer.headers["ETag"] == f'"{answer.json["sha256"]}-1"'
    assert "private" in answer.headers["Cache-Control"]
    assert api.get(answer.headers["Location"]).headers["ETag"] == answer.headers["ETag"]


def test_everything_that_is_said_of_a_blob_is_kept(api: FlaskClient) -> None:
    said = {
        "filename": 'Übung "1".txt',
        "content_type": "text/x-strange; charset=utf-8",
        "storage_backend": "database",
        "metadata": {"b": "2", "a": "ü", "": ""},
    }
    answer = post(api, "x", **said)
    assert {name: answer.json[name] for name in said} == said
    assert api.get("/v1/blobs/x?data=false").json == answer.json


@pytest.mark.parametrize(
    ("id", "filename", "content_type"),
    [
        ("a/b/photo.JPG", "photo.JPG", "image/jpeg"),
        ("a/b/", "a/b/", "application/octet-stream"),
        ("notes", "notes", "application/octet-stream"),
        ("src.tar.gz", "src.tar.gz", "application/gzip"),
        ("drawing.svgz", "drawing.svgz", "application/gzip"),
        ("data:text/html,x", "html,x", "application/octet-stream"),
        ("data:a b,c", "data:a b,c", "application/octet-stream"),
    ],
)
def test_name_and_type_are_taken_from_the_id_where_none_is_given(
    api: FlaskClient, id: str, filename: str, content_type: str
) -> None:
    answer = post(api, id)
    assert (answer.json["filename"], answer.json["content_type"]) == (filename, content_type)


def test_without_an_id_the_server_makes_a_uuid_that_sorts_by_time(api: FlaskClient) -> None:
    ids = [api.post("/v1/blobs", json={"data": ""}).json["id"] for _ in range(2)]
    assert [UUID(id).version for id in ids] == [7, 7]
    assert ids[0] != ids[1]


def test_no_data_at_all_is_a_blob_of_zero_bytes(api: FlaskClient) -> None:
    assert post(api, "empty", "").json["size"] == 0
    assert api.get("/v1/blobs/empty").json["data"] == ""
    assert api.get("/v1/content/empty").data == b""


@pytest.mark.parametrize("size", [1, 2, 3, 4, LEAF - 1, LEAF, LEAF + 1, 3 * LEAF + 2])
def test_bytes_of_any_length_come_back_as_the_same_base64(api: FlaskClient, size: int) -> None:
    data = b64encode(content(size)).decode()
    assert post(api, "x", data).status_code == 201
    got = api.get("/v1/blobs/x")
    assert got.json["data"] == data
    assert int(got.headers["Content-Length"]) == len(got.data)


@pytest.mark.parametrize("data", [1, 1.5, True, None, [], {}], ids=repr)
def test_data_that_is_no_text_is_422_and_says_what_it_has_to_be(api: FlaskClient, data: object) -> None:
    document = assert_problem(api.post("/v1/blobs", json={"data": data}), 422, "invalid", "data")
    assert document["errors"] == [{"field": "data", "message": "This is not a string of base64."}]
    assert stored(api) == []


def test_data_false_leaves_the_bytes_out(api: FlaskClient) -> None:
    answer = post(api, "x")
    got = api.get("/v1/blobs/x?data=false")
    assert got.json == answer.json
    assert got.headers["ETag"] == answer.headers["ETag"]


@pytest.mark.parametrize("query", ["", "?data=false"])
def test_head_has_the_headers_of_get_and_no_body(api: FlaskClient, query: str) -> None:
    post(api, "x")
    got, head = api.get(f"/v1/blobs/x{query}"), api.head(f"/v1/blobs/x{query}")
    assert (head.status_code, head.data) == (200, b"")
    assert head.headers["Content-Length"] == str(len(got.data))
    for name in ("Content-Type", "ETag", "Cache-Control"):
        assert head.headers[name] == got.headers[name]


def test_delete_answers_204_once_and_404_afterwards(api: FlaskClient) -> None:
    post(api, "x")
    answer = api.delete("/v1/blobs/x")
    assert (answer.status_code, answer.data) == (204, b"")
    assert "Content-Type" not in answer.headers
    assert_problem(api.delete("/v1/blobs/x"), 404, "blob-not-found")
    assert_problem(api.get("/v1/blobs/x"), 404, "blob-not-found")
    assert api.head("/v1/blobs/x").status_code == 404
    assert stored(api) == []


def test_a_deleted_id_can_be_used_again_and_its_versions_count_on(api: FlaskClient) -> None:
    first = post(api, "x").headers["ETag"]
    api.delete("/v1/blobs/x")
    assert post(api, "x").headers["ETag"] not in (first, None)


def test_an_id_that_exists_is_409_and_nothing_changes(api: FlaskClient) -> None:
    before = post(api, "x").json
    assert_problem(post(api, "x", "AAAA", filename="other"), 409, "blob-exists")
    assert api.get("/v1/blobs/x").json == before | {"data": HELLO}


# --- Ids


ODD_IDS = [
    "/lead",
    "//",
    "a//b",
    "a/b//c.txt",
    "trailing/",
    " ",
    "a b",
    "a+b",
    "%2F",
    "100%",
    "a?b#c&d=e;f",
    "...",
    ".hidden/..x/x..",
    "back\\slash",
    '"quoted"',
    "ünï/日本/😀.txt",
    "e\u0301",
    "\u202e\u200b",
    "\uffff",
    "\U0010ffff",
    "x" * 1024,
    "😀" * 1024,
    "/" * 1024,
]


@pytest.mark.parametrize("safe", ["", "/"], ids=["slashes as %2F", "slashes as they are"])
def test_odd_ids_are_reached_by_url(api: FlaskClient, safe: str) -> None:
    for id in ODD_IDS:
        answer = post(api, id)
        assert answer.json["id"] == id
        url = quote(id, safe=safe)
        assert api.get(f"/v1/blobs/{url}").json["id"] == id
        assert api.get(f"/v1/content/{url}").data == b64decode(HELLO)
        assert api.get(answer.headers["Location"]).json["id"] == id
        assert id in [item["id"] for item in api.get("/v1/blobs", query_string={"prefix": id}).json["items"]]
        assert api.delete(f"/v1/blobs/{url}").status_code == 204
        assert api.put(f"/v1/content/{url}", data=b"x").json["id"] == id
    assert stored(api) == sorted(ODD_IDS)


def test_ids_are_compared_byte_for_byte(any_app: Flask) -> None:
    client = any_app.test_client()
    ids = ["x/y.txt", "x_y.txt", "X/y.txt", "x/y.txt ", "\u00fc", "u\u0308", "/x/y.txt", "x//y.txt"]
    for number, id in enumerate(ids):
        document = {"id": id, "data": b64encode(bytes([number])).decode()}
        assert client.post("/v1/blobs", json=document, headers=BEARER).status_code == 201
    for number, id in enumerate(ids):
        assert client.get(f"/v1/content/{quote(id)}", headers=BEARER).data == bytes([number])
    listed = client.get("/v1/blobs", headers=BEARER).json["items"]
    assert [item["id"] for item in listed] == sorted(ids)


REFUSED_IDS = {
    "empty": "",
    "1025 characters": "x" * 1025,
    "1025 characters of four bytes": "😀" * 1025,
    "a million characters": "x" * 1_000_000,
    "zero": "a\0b",
    "line feed": "a\nb",
    "line feed at the end": "a\n",
    "carriage return": "a\rb",
    "delete": "\x7f",
    "of the second block": "\x85",
    "unpaired surrogate": "a\ud800b",
    "unpaired surrogate at the end": "\ud800",
    "low surrogate": "\udc00",
    "surrogates swapped": "\udc00\ud800",
    "dot": ".",
    "two dots": "..",
    "dot segment": "a/./b",
    "two dots at the end": "a/..",
    "two dots in front": "../a",
}


def test_refused_ids_are_422_and_say_so(api: FlaskClient) -> None:
    for name, id in REFUSED_IDS.items():
        field = "body" if "surrogate" in name else "id"
        document = assert_problem(post(api, id), 422, "invalid", field)
        assert len(str(document)) < 1000, name
    assert stored(api) == []


def test_refused_ids_are_422_for_raw_bytes_too(api: FlaskClient) -> None:
    for id in URL_IDS:
        assert_problem(api.put(f"/v1/content/{quote(id)}", data=b"x"), 422, "invalid", "id")
    assert stored(api) == []


URL_IDS = [id[:5000] for name, id in REFUSED_IDS.items() if "surrogate" not in name and id]


def test_ids_that_no_blob_can_have_are_simply_not_there(any_app: Flask) -> None:
    client = any_app.test_client()
    for id in URL_IDS:
        for method, resource in (("GET", "blobs"), ("GET", "content"), ("DELETE", "blobs")):
            answer = client.open(f"/v1/{resource}/{quote(id)}", method=method, headers=BEARER)
            assert_problem(answer, 404, "blob-not-found")
        listed = client.get("/v1/blobs", query_string={"prefix": id}, headers=BEARER)
        assert listed.json == {"items": [], "prefixes": [], "next_cursor": None}


# --- Members


UNACCEPTABLE = [
    ("id", 5, "id"),
    ("id", None, "id"),
    ("id", True, "id"),
    ("id", ["x"], "id"),
    ("data", 5, "data"),
    ("data", None, "data"),
    ("data", [1, 2, 3], "data"),
    ("data", {"a": "b"}, "data"),
    ("filename", 5, "filename"),
    ("filename", None, "filename"),
    ("filename", "a\nb", "filename"),
    ("filename", "x" * 1025, "filename"),
    ("content_type", 5, "content_type"),
    ("content_type", "text", "content_type"),
    ("content_type", "text/plain\r\nX-Evil: 1", "content_type"),
    ("content_type", "text/plain;\x01", "content_type"),
    ("content_type", "téxt/plain", "content_type"),
    ("content_type", "text/" + "x" * 251, "content_type"),
    ("storage_backend", "nowhere", "storage_backend"),
    ("storage_backend", "", "storage_backend"),
    ("storage_backend", None, "storage_backend"),
    ("storage_backend", 1, "storage_backend"),
    ("metadata", None, "metadata"),
    ("metadata", [], "metadata"),
    ("metadata", "x", "metadata"),
    ("metadata", {"a": 1}, "metadata.a"),
    ("metadata", {"a": None}, "metadata.a"),
    ("metadata", {"a": {"b": "c"}}, "metadata.a"),
    ("metadata", {"a": "x" * 2048}, "metadata"),
    ("metadata", {str(n): "" for n in range(2000)}, "metadata"),
    ("metadata", {"a": "\0"}, "metadata"),
    ("metadata", {"\n": "a"}, "metadata"),
    ("sha-256", "misspelt", "sha-256"),
]


def test_a_member_that_is_not_acceptable_is_422_and_named(api: FlaskClient) -> None:
    for member, value, field in UNACCEPTABLE:
        answer = api.post("/v1/blobs", json={"id": "x", "data": "", member: value})
        assert_problem(answer, 422, "invalid", field)
    assert stored(api) == []


def test_what_is_too_long_is_told_in_the_same_words_by_every_door(api: FlaskClient) -> None:
    too_long = {"id": "x" * 1025, "filename": "x" * 1025, "content_type": "text/" + "x" * 251}
    for field, value in too_long.items():
        given = {"id": "x", "filename": "x", "content_type": "text/plain"} | {field: value}
        json_answer = api.post("/v1/blobs", json=given | {"data": ""})
        raw_answer = api.put(
            f"/v1/content/{given['id']}",
            query_string={"filename": given["filename"]},
            content_type=given["content_type"],
        )
        assert json_answer.json["errors"] == raw_answer.json["errors"] != []


def test_the_longest_acceptable_members_are_accepted(api: FlaskClient) -> None:
    more = {"filename": "😀" * 1024, "content_type": "text/" + "x" * 250, "metadata": {"ü": "x" * 2046}}
    assert post(api, "x", **more).status_code == 201
    assert api.get("/v1/content/x").status_code == 200


def test_a_missing_member_is_422(api: FlaskClient) -> None:
    assert_problem(api.post("/v1/blobs", json={"id": "x"}), 422, "invalid", "data")
    assert_problem(api.post("/v1/blobs", json={}), 422, "invalid", "data")


def test_an_unknown_backend_is_told_the_known_ones(api: FlaskClient) -> None:
    document = assert_problem(post(api, "x", storage_backend="nowhere"), 422, "invalid", "storage_backend")
    assert "database, local" in str(document["detail"])


def test_every_faulty_field_is_named_at_once(api: FlaskClient) -> None:
    answer = post(api, "a/../b", filename="\n", content_type="x", metadata={"a": "\n"})
    assert_problem(answer, 422, "invalid", "id", "filename", "content_type", "metadata")


def test_a_thousand_unknown_members_are_not_all_listed(api: FlaskClient) -> None:
    answer = api.post("/v1/blobs", json={f"m{n}": n for n in range(1000)})
    assert 1 <= len(answer.json["errors"]) <= 20
    assert answer.status_code == 422


# --- Who is asking


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": ""},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer "},
        {"Authorization": "Bearer wrong"},
        {"Authorization": f"Bearer {TOKEN}x"},
        {"Authorization": f"Bearer {TOKEN[:-1]}"},
        {"Authorization": f"Bearer {TOKEN.upper()}"},
        {"Authorization": "Bearer \xfc"},
        {"Authorization": TOKEN},
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": "Basic " + b64encode(f"x:{TOKEN}".encode()).decode()},
        {"X-API-Key": ""},
        {"X-API-Key": "wrong"},
        {"Authorization": "Bearer wrong", "X-API-Key": TOKEN},
    ],
    ids=str,
)
def test_without_a_valid_token_everything_is_401(app: Flask, headers: dict[str, str]) -> None:
    client = app.test_client()
    for method, path in (
        ("GET", "/v1/blobs"),
        ("POST", "/v1/blobs"),
        ("GET", "/v1/blobs/x"),
        ("DELETE", "/v1/blobs/x"),
        ("GET", "/v1/content/x"),
        ("PUT", "/v1/content/x"),
    ):
        answer = client.open(path, method=method, headers=headers)
        assert_problem(answer, 401, "not-signed-in")
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize(
    "headers", [BEARER, {"Authorization": f"bearer  {TOKEN} "}, {"X-API-Key": TOKEN}], ids=str
)
def test_a_token_is_taken_as_bearer_and_as_api_key(app: Flask, headers: dict[str, str]) -> None:
    assert app.test_client().get("/v1/blobs", headers=headers).status_code == 200


class Unread:
    """A body that nobody may look at."""

    def read(self, *_: object) -> bytes:
        raise AssertionError("the body was read")

    readline = read


@pytest.mark.parametrize(("method", "path"), [("POST", "/v1/blobs"), ("PUT", "/v1/content/x")])
def test_nothing_of_a_strangers_body_is_read(app: Flask, method: str, path: str) -> None:
    answer = app.test_client().open(
        path,
        method=method,
        content_type="application/json",
        environ_overrides={"wsgi.input": Unread(), "CONTENT_LENGTH": "1000"},
    )
    assert_problem(answer, 401, "not-signed-in")


# --- Types and sizes


@pytest.mark.parametrize(
    "kind", ["", "text/plain", "application/x-www-form-urlencoded", "application/problem+json"]
)
def test_a_body_of_another_type_is_415(api: FlaskClient, kind: str) -> None:
    assert_problem(api.post("/v1/blobs", data=b'{"data": ""}', content_type=kind), 415, "unsupported-type")


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "Application/JSON"])
def test_json_is_recognised_in_any_spelling(api: FlaskClient, kind: str) -> None:
    assert api.post("/v1/blobs", data=b'{"data": ""}', content_type=kind).status_code == 201


def test_a_body_over_the_limit_is_413_and_told_where_to_go(make_app: Callable[..., Flask]) -> None:
    client = make_app(json_max_bytes=1000).test_client()
    room = 1000 - len('{"id": "x", "data": ""}')
    fits, exceeds = (b'{"id": "x", "data": "%s"}' % (b"A" * n) for n in (room // 4 * 4, 1000))
    padded = fits[:-1] + b" " * (1000 - len(fits)) + b"}"
    assert len(padded) == 1000

    for body in (exceeds, padded + b" "):
        answer = client.post("/v1/blobs", data=body, content_type="application/json", headers=BEARER)
        assert "/v1/content/" in str(assert_problem(answer, 413, "too-large")["detail"])
    answer = client.post("/v1/blobs", data=padded, content_type="application/json", headers=BEARER)
    assert answer.status_code == 201


# --- Backends that fail


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (StorageUnavailable, 503, "storage-unavailable"),
        (StorageFull, 507, "storage-full"),
        (StorageRefused, 502, "storage-refused"),
    ],
)
def test_a_backend_that_cannot_is_told_apart_and_nothing_is_recorded(
    api: FlaskClient, parts: Parts, monkeypatch: pytest.MonkeyPatch, error: type, status: int, kind: str
) -> None:
    def put(key: str, source: object) -> None:
        raise error("local", "put", "did not do it")

    with monkeypatch.context() as patched:
        patched.setattr(parts.backends.use("local"), "put", put)
        for answer in (post(api, "x"), api.put("/v1/content/x", data=b"x")):
            document = assert_problem(answer, status, kind)
            assert "local" in str(document["detail"])
            assert ("Retry-After" in answer.headers) == (status == 503)
    assert stored(api) == []
    assert post(api, "x").status_code == 201


@pytest.mark.parametrize("damage", ["gone", "altered", "cut short"])
def test_lost_bytes_are_500_integrity_fault_and_logged(
    api: FlaskClient, app: Flask, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    post(api, "x")
    sha256 = api.get("/v1/blobs/x?data=false").json["sha256"]
    parts: Parts = app.extensions["simpledrive"]
    [replica] = parts.drive.copies_of(SERVER, [parts.drive.describe(SERVER, "x")])["x"]
    [path] = parts.settings.local_storage_path.rglob(replica.storage_key)
    path.chmod(0o600)
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(b"hello Simple Storage World!" if damage == "altered" else b"Hello")

    for url in ("/v1/blobs/x", "/v1/content/x"):
        caplog.clear()
        assert_problem(api.get(url), 500, "integrity-fault")
        assert any(record.levelname == "ERROR" and sha256 in record.getMessage() for record in caplog.records)
    assert api.get("/v1/blobs/x?data=false").status_code == 200
