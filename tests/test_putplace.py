"""/put_file, /upload_file and /get_file: each row of the contract, and what is around it."""

import io
import json
import re
import socket
from base64 import b64encode
from collections.abc import Callable
from hashlib import sha256
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
import requests
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from simpledrive.parts import Parts
from tests.apps import BEARER, TOKEN, client_of
from tests.drives import assert_nothing_stored, keep, replicas
from tests.problems import assert_problem
from tests.servers import Server

SAID = {
    "filepath": "/etc/hosts",
    "hostname": "web1",
    "ip_address": "192.0.2.7",
    "sha256": sha256(b"hello").hexdigest(),
    "file_size": 5,
    "file_mode": 33188,
    "file_uid": 1000,
    "file_gid": 100,
    "file_mtime": 1769117875.25,
    "file_atime": 1769117876.5,
    "file_ctime": 1769117877.0,
}
DIGEST = str(SAID["sha256"])
STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


def put_file(client: FlaskClient, **changes: Any) -> TestResponse:
    """Announces a file; what is None is left out."""
    said = {name: value for name, value in (SAID | changes).items() if value is not None}
    return client.post("/put_file", json=said)


def upload(client: FlaskClient, data: bytes = b"hello", digest: str = DIGEST, **more: Any) -> TestResponse:
    query = {"hostname": SAID["hostname"], "filepath": SAID["filepath"]} | more
    return client.post(
        f"/upload_file/{digest}", query_string=query, data={"file": (io.BytesIO(data), "hosts")}
    )


# --- POST /put_file


def test_an_announced_file_is_answered_with_all_members_of_the_contract(api: FlaskClient) -> None:
    answer = put_file(api)
    assert answer.status_code == 201
    document = answer.json
    assert document.pop("_id")
    assert STAMP.fullmatch(document.pop("created_at"))
    assert document == SAID | {
        "has_file_content": False,
        "file_uploaded_at": None,
        "storage_path": None,
        "upload_required": True,
        "upload_url": f"/upload_file/{DIGEST}",
    }
    assert {name: type(document[name]) for name in SAID} == {name: type(SAID[name]) for name in SAID}


def test_a_file_whose_bytes_the_drive_has_needs_no_upload(api: FlaskClient, parts: Parts) -> None:
    keep(parts, "somewhere/else", b"hello")
    document = put_file(api).json
    assert STAMP.fullmatch(document["file_uploaded_at"])
    assert (document["has_file_content"], document["upload_required"]) == (True, False)
    assert (document["storage_path"], document["upload_url"]) == ("/v1/content/web1/etc/hosts", None)
    assert api.get(document["storage_path"]).data == b"hello"


def test_what_a_client_claims_to_be_there_is_not_believed(api: FlaskClient) -> None:
    claims = {
        "has_file_content": True,
        "storage_path": "/x",
        "upload_required": False,
        "_id": "1",
        "more": [],
    }
    document = put_file(api, **claims).json
    assert (document["has_file_content"], document["upload_required"]) == (False, True)
    assert (document["storage_path"], len(document["_id"])) == (None, 36)
    assert "more" not in document


def test_a_digest_in_capitals_is_the_same_digest(api: FlaskClient) -> None:
    document = put_file(api, sha256=DIGEST.upper()).json
    assert (document["sha256"], document["upload_url"]) == (DIGEST, f"/upload_file/{DIGEST}")
    assert upload(api, digest=DIGEST.upper()).status_code == 200


@pytest.mark.parametrize("field", SAID)
def test_a_missing_member_is_422(api: FlaskClient, field: str) -> None:
    assert_problem(put_file(api, **{field: None}), 422, "invalid", field)


WRONG = {
    "filepath": [1, ["/x"], "", "/", "/a/../b", "..", "/a/./b", "/a\0b", "/a\nb", "/" + "n" * 1025],
    "hostname": [1, "", ".", "..", "a/b", "/", "a\0b", "a\r\nb", "n" * 256],
    "ip_address": [1, {}, "a\0b", "1" * 256],
    "sha256": [1, "", "x" * 64, DIGEST[:-1], DIGEST + "0", f" {DIGEST}"],
    "file_size": ["5", 5.5, True, -1, 1 << 63, 10**400, [], {}],
    "file_mode": ["33188", -1, 1 << 63],
    "file_uid": ["0", -1, 1 << 64, 0.5],
    "file_gid": ["0", -1, 1 << 64, False],
    "file_mtime": ["1.5", True, []],
    "file_atime": ["1.5", False, {}],
    "file_ctime": ["now", True],
}
WRONG_VALUES = [(field, value) for field, values in WRONG.items() for value in values]


@pytest.mark.parametrize(("field", "value"), WRONG_VALUES, ids=lambda value: str(value)[:20])
def test_a_member_of_the_wrong_kind_is_422(api: FlaskClient, field: str, value: Any) -> None:
    assert_problem(put_file(api, **{field: value}), 422, "invalid", field)
    assert_problem(api.get(f"/get_file/{DIGEST}"), 404, "blob-not-found")


def test_every_wrong_member_is_named(api: FlaskClient) -> None:
    problem = put_file(api, file_size=-1, file_mtime="x", sha256="x")
    assert_problem(problem, 422, "invalid", "sha256", "file_size", "file_mtime")
    assert_problem(put_file(api, hostname="", ip_address="\0"), 422, "invalid", "hostname", "ip_address")


@pytest.mark.parametrize("member", ["file_mtime", "file_size"])
@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_what_is_no_number_of_json_is_400(api: FlaskClient, member: str, number: str) -> None:
    body = json.dumps(SAID | {member: 0}).replace(f'"{member}": 0', f'"{member}": {number}')
    assert_problem(api.post("/put_file", data=body, content_type="application/json"), 400, "bad-request")


@pytest.mark.parametrize("number", ["1e999", "-1e999"])
def test_a_time_beyond_all_times_is_422(api: FlaskClient, number: str) -> None:
    body = json.dumps(SAID | {"file_mtime": 0}).replace('"file_mtime": 0', f'"file_mtime": {number}')
    answer = api.post("/put_file", data=body, content_type="application/json")
    assert_problem(answer, 422, "invalid", "file_mtime")


def test_the_largest_numbers_are_kept(any_app: Flask) -> None:
    client = any_app.test_client()
    client.environ_base["HTTP_AUTHORIZATION"] = BEARER["Authorization"]
    most = (1 << 63) - 1
    numbers = dict.fromkeys(("file_size", "file_mode", "file_uid", "file_gid"), most)
    numbers |= {"file_mtime": -1.7976931348623157e308, "file_atime": 5e-324, "file_ctime": 0.1 + 0.2}
    assert put_file(client, **numbers).status_code == 201
    document = client.get(f"/get_file/{DIGEST}").json
    assert {name: document[name] for name in numbers} == numbers
    assert upload(client).status_code == 200


def test_what_is_not_json_is_415_or_400(api: FlaskClient) -> None:
    assert_problem(api.post("/put_file", data=json.dumps(SAID)), 415, "unsupported-type")
    assert_problem(api.post("/put_file", data="{", content_type="application/json"), 400, "bad-request")


@pytest.mark.parametrize(
    ("filepath", "id"),
    [
        ("/etc/hosts", "web1/etc/hosts"),
        ("etc/hosts", "web1/etc/hosts"),
        ("//share/file", "web1//share/file"),
        ("C:\\Users\\x\\a.txt", "web1/C:\\Users\\x\\a.txt"),
        ("\\\\server\\share\\a", "web1/\\\\server\\share\\a"),
        ("/Größe/🎉 &%2F?#.txt", "web1/Größe/🎉 &%2F?#.txt"),
        ("/" + "n" * 1019, "web1/" + "n" * 1019),
    ],
)
def test_the_blob_is_called_by_host_and_path(api: FlaskClient, filepath: str, id: str) -> None:
    assert put_file(api, filepath=filepath).json["filepath"] == filepath
    assert upload(api, filepath=filepath).json["filepath"] == filepath
    assert [item["id"] for item in api.get("/v1/blobs").json["items"]] == [id]
    path = put_file(api, filepath=filepath).json["storage_path"]
    assert api.get(path).data == b"hello"


# --- POST /upload_file


def test_uploaded_bytes_are_answered_and_become_the_files_blob(api: FlaskClient) -> None:
    put_file(api)
    answer = upload(api)
    assert (answer.status_code, answer.json) == (
        200,
        {
            "message": "File uploaded successfully",
            "sha256": DIGEST,
            "size": "5",
            "hostname": "web1",
            "filepath": "/etc/hosts",
            "status": "uploaded",
        },
    )
    record = api.get("/v1/blobs/web1/etc/hosts").json
    assert (record["data"], record["filename"]) == ("aGVsbG8=", "hosts")
    assert record["metadata"] == {
        "mode": "100644",
        "uid": "1000",
        "gid": "100",
        "mtime": "1769117875.25",
        "ctime": "1769117877.0",
    }


def test_uploading_again_is_fine_and_adds_nothing(api: FlaskClient) -> None:
    put_file(api)
    first = upload(api)
    etag = api.head("/v1/blobs/web1/etc/hosts").headers["ETag"]
    assert upload(api).json == first.json
    assert api.head("/v1/blobs/web1/etc/hosts").headers["ETag"] == etag
    assert api.get("/v1/versions/web1/etc/hosts").json["items"] == []


def test_an_empty_file_is_uploaded_like_any_other(api: FlaskClient) -> None:
    empty = sha256(b"").hexdigest()
    assert put_file(api, sha256=empty, file_size=0).json["upload_required"] is True
    assert upload(api, b"", empty).json["size"] == "0"
    assert put_file(api, sha256=empty, file_size=0).json["upload_required"] is False


def test_other_bytes_than_announced_are_400_and_nothing_is_stored(api: FlaskClient, parts: Parts) -> None:
    put_file(api)
    assert_problem(upload(api, b"HELLO"), 400, "digest-mismatch")
    assert_nothing_stored(parts)
    assert put_file(api).json["has_file_content"] is False


@pytest.mark.parametrize("digest", ["x", DIGEST[:-1], DIGEST + "0", "g" * 64, "%0A" + DIGEST])
def test_what_is_no_digest_is_400(api: FlaskClient, parts: Parts, digest: str) -> None:
    put_file(api)
    assert_problem(upload(api, digest=digest), 400, "bad-request")
    assert_problem(api.get(f"/get_file/{digest}"), 400, "bad-request")
    assert_nothing_stored(parts)


def test_what_was_not_announced_for_these_three_is_404(api: FlaskClient, parts: Parts) -> None:
    put_file(api)
    other = sha256(b"other").hexdigest()
    for answer in (
        upload(api, hostname="web2"),
        upload(api, filepath="/etc/passwd"),
        upload(api, b"other", other),
        upload(api, hostname="a/b"),
        upload(api, filepath="/etc/../hosts"),
        upload(api, filepath="/a\0b"),
        upload(api, hostname="", filepath=""),
    ):
        assert_problem(answer, 404, "blob-not-found")
    assert_nothing_stored(parts)


def test_an_upload_that_does_not_say_of_which_file_is_422(api: FlaskClient) -> None:
    put_file(api)
    form = {"data": {"file": (io.BytesIO(b"hello"), "hosts")}}
    assert_problem(api.post(f"/upload_file/{DIGEST}", **form), 422, "invalid", "hostname", "filepath")
    url = f"/upload_file/{DIGEST}?hostname=web1"
    assert_problem(api.post(url), 422, "invalid", "filepath")


def test_an_upload_without_a_file_is_422_or_400(api: FlaskClient, parts: Parts) -> None:
    put_file(api)
    url = f"/upload_file/{DIGEST}?{urlencode({'hostname': 'web1', 'filepath': '/etc/hosts'})}"
    assert_problem(api.post(url), 422, "invalid", "file")
    assert_problem(api.post(url, data={"other": (io.BytesIO(b"hello"), "a")}), 422, "invalid", "file")
    two = {"file": [(io.BytesIO(b"hello"), "a"), (io.BytesIO(b"hello"), "b")]}
    assert_problem(api.post(url, data=two), 422, "invalid", "file")
    nameless = b'--b\r\nContent-Disposition: form-data; name="file"; filename=""\r\n\r\nhello\r\n--b--\r\n'
    answer = api.post(url, data=nameless, content_type="multipart/form-data; boundary=b")
    assert_problem(answer, 400, "bad-request")
    assert_nothing_stored(parts)


def test_a_digest_of_the_body_that_is_wrong_is_400(api: FlaskClient, parts: Parts) -> None:
    put_file(api)
    wrong = {"Content-Digest": f"sha-256=:{b64encode(bytes(32)).decode()}:"}
    answer = api.post(
        f"/upload_file/{DIGEST}?hostname=web1&filepath=/etc/hosts",
        data={"file": (io.BytesIO(b"hello"), "hosts")},
        headers=wrong,
    )
    assert_problem(answer, 400, "digest-mismatch")
    assert_nothing_stored(parts)


def test_more_bytes_than_a_key_may_store_are_413(app: Flask, parts: Parts) -> None:
    client = client_of(app, max_bytes=4)
    put_file(client)
    assert_problem(upload(client), 413, "too-large")
    assert_nothing_stored(parts)


def test_an_idempotency_key_stands_for_one_upload(api: FlaskClient) -> None:
    put_file(api)
    put_file(api, filepath="/other", sha256=sha256(b"other").hexdigest())
    api.environ_base["HTTP_IDEMPOTENCY_KEY"] = "one"
    assert upload(api).json == upload(api).json
    answer = upload(api, b"other", sha256(b"other").hexdigest(), filepath="/other")
    assert_problem(answer, 422, "idempotency-key-reused")


def connect(server: Server, target: str) -> socket.socket:
    """A connection on which a body of a gigabyte was announced, and none of it sent."""
    address = urlsplit(server.url)
    connection = socket.create_connection((address.hostname, address.port), 30)
    head = f"POST {target} HTTP/1.1\r\nHost: drive\r\nX-API-Key: {TOKEN}\r\nContent-Length: {1 << 30}\r\n"
    connection.sendall(f"{head}Content-Type: multipart/form-data; boundary=b\r\n\r\n".encode())
    return connection


def status_of(connection: socket.socket) -> int:
    return int(connection.recv(1 << 16).split()[1])


def test_nothing_of_a_body_is_read_that_will_not_be_stored(make_server: Callable[..., Server]) -> None:
    server = make_server(MAX_BLOB_BYTES=1 << 20)
    requests.post(f"{server.url}/put_file", json=SAID, headers=BEARER, timeout=30).raise_for_status()
    for target, status in (
        (f"/upload_file/{DIGEST}?hostname=web2&filepath=/etc/hosts", 404),
        (f"/upload_file/{'0' * 64}?hostname=web1&filepath=/etc/hosts", 404),
        (f"/upload_file/{DIGEST[1:]}?hostname=web1&filepath=/etc/hosts", 400),
        (f"/upload_file/{DIGEST}?hostname=web1", 422),
        (f"/upload_file/{DIGEST}?hostname=web1&filepath=/etc/hosts", 413),
    ):
        with connect(server, target) as connection:
            assert status_of(connection) == status, target


# --- GET /get_file


def test_a_file_is_found_by_its_digest(api: FlaskClient) -> None:
    announced = put_file(api).json
    known = announced.keys() - {"upload_required", "upload_url"}
    assert api.get(f"/get_file/{DIGEST}").json == {name: announced[name] for name in known}
    upload(api)
    found = api.get(f"/get_file/{DIGEST.upper()}")
    assert (found.status_code, found.json["has_file_content"]) == (200, True)
    assert found.json["storage_path"] == "/v1/content/web1/etc/hosts"
    assert STAMP.fullmatch(found.json["file_uploaded_at"])


def test_of_several_files_the_first_is_found(api: FlaskClient) -> None:
    for host in ("web3", "web1", "web2"):
        put_file(api, hostname=host)
    put_file(api, hostname="web3")
    assert api.get(f"/get_file/{DIGEST}").json["hostname"] == "web3"


def test_a_digest_that_nobody_announced_is_404(api: FlaskClient, parts: Parts) -> None:
    keep(parts, "a blob", b"hello")
    assert_problem(api.get(f"/get_file/{DIGEST}"), 404, "blob-not-found")


def test_a_file_whose_blob_was_deleted_has_no_content(api: FlaskClient) -> None:
    put_file(api)
    upload(api)
    api.delete("/v1/blobs/web1/etc/hosts")
    document = api.get(f"/get_file/{DIGEST}").json
    assert (document["has_file_content"], document["file_uploaded_at"]) == (False, None)
    assert put_file(api).json["upload_required"] is True


# --- Who is asking


def test_without_a_token_everything_is_401(app: Flask) -> None:
    client = app.test_client()
    for answer in (put_file(client), upload(client), client.get(f"/get_file/{DIGEST}")):
        assert_problem(answer, 401, "not-signed-in")


def test_each_scope_is_wanted(app: Flask) -> None:
    reader, writer = client_of(app, scopes=["read"]), client_of(app, scopes=["write"])
    assert_problem(put_file(reader), 403, "insufficient_scope")
    assert_problem(upload(reader), 403, "insufficient_scope")
    assert_problem(reader.get(f"/get_file/{DIGEST}"), 404, "blob-not-found")
    assert_problem(writer.get(f"/get_file/{DIGEST}"), 403, "insufficient_scope")


def test_who_may_not_read_is_never_told_that_bytes_are_there(app: Flask, api: FlaskClient) -> None:
    writer = client_of(app, scopes=["write"])
    keep(app.extensions["simpledrive"], "a blob", b"hello")
    for _ in range(2):
        document = put_file(writer).json
        assert (document["has_file_content"], document["upload_required"]) == (False, True)
        assert (document["file_uploaded_at"], document["storage_path"]) == (None, None)
        assert upload(writer).status_code == 200
    assert api.get("/v1/versions/web1/etc/hosts").json["items"] == []


def test_a_confined_key_announces_below_its_prefix_only(app: Flask, api: FlaskClient) -> None:
    put_file(api, hostname="web2")
    confined = client_of(app, prefix="web1/")
    for host in ("web2", "web", "web11", "nowhere"):
        refused = put_file(confined, hostname=host), upload(confined, hostname=host)
        problems = [assert_problem(answer, 403, "insufficient_scope") for answer in refused]
        assert {problem["detail"] for problem in problems} == {
            "The key a key is confined to ids that begin with its prefix."
        }
    assert put_file(confined).status_code == 201
    assert upload(confined).status_code == 200


def test_a_digest_gives_a_confined_key_nobody_elses_bytes(app: Flask, api: FlaskClient) -> None:
    put_file(api, hostname="web2")
    upload(api, hostname="web2")
    confined = client_of(app, prefix="web1/")
    assert_problem(confined.get(f"/get_file/{DIGEST}"), 404, "blob-not-found")
    document = put_file(confined).json
    assert (document["has_file_content"], document["upload_required"]) == (False, True)
    assert_problem(confined.get("/v1/content/web1/etc/hosts"), 404, "blob-not-found")
    assert confined.get(f"/get_file/{DIGEST}").json["hostname"] == "web1"
    assert upload(confined).status_code == 200
    assert put_file(confined).json["upload_required"] is False
    assert len(replicas(app.extensions["simpledrive"])) == 1


def test_anonymous_callers_may_push_where_they_may_write(make_app: Callable[..., Flask]) -> None:
    client = make_app(anonymous_access="write").test_client()
    assert put_file(client).status_code == 201
    assert upload(client).status_code == 200
