"""/files: each row of the contract, and what is around it."""

import io
import json
import re
import socket
from base64 import b64encode
from collections.abc import Callable
from hashlib import sha256
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import pytest
import requests
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import event, insert, text
from werkzeug.test import TestResponse

from simpledrive.models import Blob
from simpledrive.parts import Parts
from simpledrive.rights import SERVER, Caller
from tests.apps import BEARER, TOKEN, client_of
from tests.drives import assert_nothing_stored, check, keep
from tests.problems import assert_problem
from tests.servers import Server
from tests.sources import content

MIB = 1 << 20
LIMIT = 20971520
TOO_LARGE = "File size exceeds maximum limit of 20MB."
BOUNDARY = "a-boundary"
UNKNOWN = "5724e881-fc0c-4a9f-908d-1e3dd5cce3cc"


def post(
    client: FlaskClient, data: bytes, name: str = "a.txt", url: str = "/files", **more: Any
) -> TestResponse:
    return client.post(url, data={"file": (io.BytesIO(data), name)}, **more)


def raw_form(*parts: tuple[str, bytes]) -> bytes:
    """A multipart body, from the headers of each part and its bytes, as they are."""
    whole = b"".join(
        f"--{BOUNDARY}\r\n{headers}\r\n\r\n".encode() + data + b"\r\n" for headers, data in parts
    )
    return whole + f"--{BOUNDARY}--\r\n".encode()


def post_raw(client: FlaskClient, *parts: tuple[str, bytes], **headers: str) -> TestResponse:
    kind = f"multipart/form-data; boundary={BOUNDARY}"
    return client.post("/files", data=raw_form(*parts), content_type=kind, headers=headers)


def part(name: str, data: bytes = b"x", field: str = "file", kind: str = "text/plain") -> tuple[str, bytes]:
    return f'Content-Disposition: form-data; name="{field}"; {name}\r\nContent-Type: {kind}', data


# --- POST /files


@pytest.mark.parametrize("url", ["/files", "/files/"])
def test_a_posted_file_is_answered_with_id_name_and_size(api: FlaskClient, url: str) -> None:
    answer = post(api, b"five!", "My file (1).txt", url)
    assert answer.status_code == 201
    assert list(answer.json) == ["id", "filename", "size"]
    assert str(UUID(answer.json["id"])) == answer.json["id"]
    assert (answer.json["filename"], answer.json["size"]) == ("My file (1).txt", 5)
    assert answer.headers["Location"] == f"/files/{answer.json['id']}"


def test_a_posted_file_is_a_blob_like_any_other(api: FlaskClient) -> None:
    id = post(api, b"five!", content_type="multipart/form-data").json["id"]
    record = api.get(f"/v1/blobs/{id}").json
    assert (record["filename"], record["size"], record["data"]) == ("a.txt", 5, "Zml2ZSE=")
    assert [item["id"] for item in api.get("/v1/blobs").json["items"]] == [id]


def test_zero_bytes_are_a_file(api: FlaskClient) -> None:
    answer = post(api, b"")
    assert (answer.status_code, answer.json["size"]) == (201, 0)
    assert api.get(f"/files/{answer.json['id']}").data == b""


def test_20_mib_are_a_file_and_one_byte_more_is_413(api: FlaskClient, parts: Parts) -> None:
    data = content(LIMIT + 1)
    document = assert_problem(post_raw(api, part('filename="a"', data)), 413, "too-large")
    assert document["detail"] == TOO_LARGE
    assert_nothing_stored(parts)
    answer = post_raw(api, part('filename="a"', data[:LIMIT]))
    assert (answer.status_code, answer.json["size"]) == (201, LIMIT)
    with api.get(f"/files/{answer.json['id']}") as found:
        assert sha256(found.data).digest() == sha256(data[:LIMIT]).digest()


@pytest.mark.parametrize(
    ("most", "amount"), [(1 << 30, "1GB"), (MIB, "1MB"), (1536, "1536 bytes"), (2048, "2KB"), (0, "0 bytes")]
)
def test_the_sentence_names_the_limit_that_is_set(
    make_app: Callable[..., Flask], most: int, amount: str
) -> None:
    client = make_app(files_max_bytes=most).test_client()
    announced = {"CONTENT_LENGTH": str(most + MIB), "CONTENT_TYPE": "multipart/form-data; boundary=x"}
    answer = client.post("/files", headers=BEARER, environ_overrides=announced)
    document = assert_problem(answer, 413, "too-large")
    assert document["detail"] == f"File size exceeds maximum limit of {amount}."


def test_a_key_with_less_room_is_told_its_own_limit(app: Flask, parts: Parts) -> None:
    document = assert_problem(post(client_of(app, max_bytes=10), b"x" * 11), 413, "too-large")
    assert "10 bytes" in document["detail"]
    document = assert_problem(post(client_of(app, quota_bytes=10), b"x" * 11), 413, "too-large")
    assert "quota" in document["detail"]
    assert_nothing_stored(parts)


def test_a_form_without_the_field_is_422(api: FlaskClient, parts: Parts) -> None:
    forms: list[dict[str, Any]] = [
        {},
        {"data": {"other": "text"}},
        {"data": {"other": (io.BytesIO(b"x"), "a.txt")}},
        {"data": {"file": "a field, and no file"}},
        {"data": {"file": "text"}, "content_type": "multipart/form-data"},
        {"json": {"file": "x"}},
    ]
    for form in forms:
        assert_problem(api.post("/files", **form), 422, "invalid", "file")
    assert_problem(post_raw(api), 422, "invalid", "file")
    assert_nothing_stored(parts)


def test_an_empty_file_name_is_400(api: FlaskClient, parts: Parts) -> None:
    document = assert_problem(post_raw(api, part('filename=""')), 400, "bad-request")
    assert document["detail"] == "The file has no name."
    assert_nothing_stored(parts)


def test_several_files_are_refused_and_none_is_stored(api: FlaskClient, parts: Parts) -> None:
    two = part('filename="a"'), part('filename="b"')
    assert_problem(post_raw(api, *two), 422, "invalid", "file")
    other = part('filename="b"', field="other")
    assert_problem(post_raw(api, two[0], other), 422, "invalid", "file")
    assert_nothing_stored(parts)


def test_other_fields_are_passed_over(api: FlaskClient) -> None:
    field = 'Content-Disposition: form-data; name="description"', b"anything"
    assert post_raw(api, field, part('filename="a"'), field).status_code == 201


@pytest.mark.parametrize(
    ("sent", "name"),
    [
        ('filename="../../etc/passwd"', "../../etc/passwd"),
        ('filename="/etc/passwd"', "/etc/passwd"),
        (r'filename="a\"b.txt"', 'a"b.txt'),
        ('filename="<script>alert(1)</script>"', "<script>alert(1)</script>"),
        ("filename*=UTF-8''%E2%82%AC%20%F0%9F%8E%89.txt", "€ 🎉.txt"),
        ('filename="übung.txt"', "übung.txt"),
        ('filename="a; filename=b"', "a; filename=b"),
        ('filename=".."', ".."),
        (f'filename="{"n" * 1024}"', "n" * 1024),
    ],
)
def test_a_hostile_name_is_answered_as_it_was_sent_and_does_no_harm(
    api: FlaskClient, sent: str, name: str
) -> None:
    answer = post_raw(api, part(sent, b"bytes"))
    assert (answer.status_code, answer.json["filename"]) == (201, name)
    (listed,) = api.get("/files").json
    assert listed["filename"] == re.sub("[^A-Za-z0-9_.-]", "_", name)
    found = api.get(f"/files/{answer.json['id']}")
    assert found.data == b"bytes"
    assert found.headers["Content-Disposition"].startswith("attachment; filename=")
    assert "\n" not in found.headers["Content-Disposition"]


@pytest.mark.parametrize(
    "sent", ["filename*=UTF-8''a%0D%0ASet-Cookie:%20b", "filename*=UTF-8''a%00b", f'filename="{"n" * 1025}"']
)
def test_a_name_that_cannot_be_kept_is_422(api: FlaskClient, parts: Parts, sent: str) -> None:
    assert_problem(post_raw(api, part(sent)), 422, "invalid", "filename")
    assert_nothing_stored(parts)


def test_the_type_is_the_one_that_was_sent_or_guessed_from_the_name(api: FlaskClient) -> None:
    for headers, stored in (
        (part('filename="a.txt"', kind="application/x-own")[0], "application/x-own"),
        (part('filename="a.txt"', kind="text/plain; charset=latin-1")[0], "text/plain; charset=latin-1"),
        ('Content-Disposition: form-data; name="file"; filename="a.png"', "image/png"),
        ('Content-Disposition: form-data; name="file"; filename="a"', "application/octet-stream"),
    ):
        id = post_raw(api, (headers, b"x")).json["id"]
        assert api.get(f"/files/{id}").headers["Content-Type"] == stored
    assert_problem(post_raw(api, part('filename="a"', kind="nonsense")), 422, "invalid", "content_type")


def test_a_digest_of_the_body_is_checked(api: FlaskClient, parts: Parts) -> None:
    form = part('filename="a"', b"bytes")
    wrong = {"Content-Digest": f"sha-256=:{b64encode(sha256(b'bytes').digest()).decode()}:"}
    assert_problem(post_raw(api, form, **wrong), 400, "digest-mismatch")
    assert_nothing_stored(parts)
    right = {"Content-Digest": f"sha-256=:{b64encode(sha256(raw_form(form)).digest()).decode()}:"}
    assert post_raw(api, form, **right).status_code == 201


def test_a_compressed_body_is_415(api: FlaskClient, parts: Parts) -> None:
    answer = post_raw(api, part('filename="a"'), **{"Content-Encoding": "gzip"})
    assert_problem(answer, 415, "unsupported-type")
    assert_nothing_stored(parts)


def test_a_repeated_request_with_the_same_idempotency_key_stores_one_file(api: FlaskClient) -> None:
    headers = {"Idempotency-Key": "one"}
    first = post(api, b"bytes", headers=headers)
    again = post(api, b"bytes", url="/files/", headers=headers)
    assert (again.status_code, again.json) == (201, first.json)
    assert len(api.get("/files").json) == 1
    assert_problem(post(api, b"other", headers=headers), 422, "idempotency-key-reused")


# --- The limit, over a real connection


def connect(server: Server, headers: str) -> socket.socket:
    address = urlsplit(server.url)
    connection = socket.create_connection((address.hostname, address.port), 30)
    head = f"POST /files HTTP/1.1\r\nHost: drive\r\nAuthorization: Bearer {TOKEN}\r\n{headers}"
    kind = f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n\r\n"
    connection.sendall((head + kind).encode())
    return connection


def answer_of(connection: socket.socket) -> tuple[int, dict[str, Any]]:
    head, _, body = b"".join(iter(lambda: connection.recv(1 << 16), b"")).partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


def opening() -> bytes:
    """A form up to the first byte of its file."""
    return raw_form(part('filename="a"', b"")).partition(f"\r\n--{BOUNDARY}--".encode())[0]


def test_an_announced_body_that_is_too_long_is_refused_before_it_is_read(server: Server) -> None:
    with connect(server, f"Content-Length: {LIMIT + MIB}\r\n") as connection:
        status, problem = answer_of(connection)  # nothing of the body was ever sent
    assert (status, problem["detail"]) == (413, TOO_LARGE)


def test_a_chunked_body_is_refused_while_it_is_read(server: Server) -> None:
    with connect(server, "Transfer-Encoding: chunked\r\n") as connection:

        def send(data: bytes) -> None:
            connection.sendall(b"%x\r\n%s\r\n" % (len(data), data))

        send(opening())
        for _ in range(20):
            send(bytes(MIB))
        send(bytes(512 << 10))  # and no end: whoever waits for it waits for ever
        status, problem = answer_of(connection)
    assert (status, problem["detail"]) == (413, TOO_LARGE)
    assert requests.get(f"{server.url}/files", headers=BEARER, timeout=30).json() == []


def test_a_chunked_file_of_exactly_the_limit_is_stored(server: Server) -> None:
    body = raw_form(part('filename="a"', bytes(LIMIT)))
    kind = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    answer = requests.post(
        f"{server.url}/files", data=iter([body[:MIB], body[MIB:]]), headers=BEARER | kind, timeout=60
    )
    assert (answer.status_code, answer.json()["size"]) == (201, LIMIT)


def test_a_form_that_breaks_off_stores_nothing(server: Server) -> None:
    with connect(server, "Content-Length: 100000\r\n") as connection:
        connection.sendall(opening() + bytes(5000))
        connection.shutdown(socket.SHUT_WR)
        status, problem = answer_of(connection)
    assert (status, problem["type"]) == (400, "/problems/truncated-body")
    assert requests.get(f"{server.url}/files", headers=BEARER, timeout=30).json() == []


# --- GET /files


@pytest.mark.parametrize("url", ["/files", "/files/"])
def test_without_files_the_list_is_empty(api: FlaskClient, url: str) -> None:
    answer = api.get(url)
    assert (answer.status_code, answer.json) == (200, [])
    assert "Link" not in answer.headers


@pytest.mark.parametrize("url", ["/files", "/files/"])
def test_a_file_is_listed_with_all_its_members(api: FlaskClient, url: str) -> None:
    id = post(api, b"five!", "Größe & (1).txt").json["id"]
    (listed,) = api.get(url).json
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", listed.pop("uploadedAt"))
    assert listed == {
        "fileId": id,
        "filename": "Gr__e____1_.txt",
        "sizeBytes": 5,
        "contentType": "text/plain",
        "sha256": sha256(b"five!").hexdigest(),
    }


def test_pages_follow_one_another_by_their_links(any_app: Flask) -> None:
    client = any_app.test_client()
    client.environ_base["HTTP_AUTHORIZATION"] = BEARER["Authorization"]
    stored = [post(client, bytes([number])).json["id"] for number in range(5)]
    found, url, pages = [], "/files?limit=2", 0
    while url:
        answer = client.get(url)
        found += [file["fileId"] for file in answer.json]
        link = answer.headers.get("Link")
        url = re.fullmatch(r'<(/files\?limit=2&cursor=[^>]+)>; rel="next"', link)[1] if link else ""
        pages += 1
    assert (found, pages) == (sorted(stored), 3)


def test_a_page_that_nobody_can_have_asked_for_is_422(api: FlaskClient) -> None:
    for query in ("limit=0", "limit=1001", "limit=x", "cursor=x", "cursor=AA=="):
        assert_problem(api.get(f"/files?{query}"), 422, "invalid", query.partition("=")[0])


NO_FILES = (
    "a.txt", "0", "deadbeef", "0" * 36, f"{UNKNOWN}.txt", f"folder/{UNKNOWN}", f"x{UNKNOWN}",
    str(UUID(int=11)).replace("b", "g"), str(UUID(int=11)).replace("b", "B"), f"/{UNKNOWN}", f"{UNKNOWN}/",
)  # fmt: skip


def test_only_blobs_that_have_a_uuid_for_a_name_are_files(any_app: Flask, any_parts: Parts) -> None:
    client = any_app.test_client()
    client.environ_base["HTTP_AUTHORIZATION"] = BEARER["Authorization"]
    for id in NO_FILES:
        keep(any_parts, id, b"no file")
    file = str(uuid4())
    keep(any_parts, file, b"a file")
    assert [listed["fileId"] for listed in client.get("/files?limit=1").json] == [file]
    assert [listed["fileId"] for listed in client.get("/files").json] == [file]
    for id in NO_FILES:
        assert_problem(client.get(f"/files/{id.replace('/', '%2F')}"), 404, "blob-not-found")


def test_a_page_costs_a_look_at_its_files_alone(any_parts: Parts, somebody: Caller) -> None:
    seed = keep(any_parts, "seed", b"bytes").described()
    names = [sha256(bytes([number % 251, number // 251])).hexdigest() for number in range(3000)]
    rows = [seed | {"id": name} for name in (*names, *(str(uuid4()) for _ in names))]
    any_parts.database.write(lambda session: session.execute(insert(Blob), rows))
    any_parts.database.write(lambda session: session.execute(text("ANALYZE")))
    asked: list[tuple[str, Any]] = []

    def note(connection: object, cursor: object, statement: str, given: Any, *rest: object) -> None:
        if "FROM blob_metadata" in statement:
            asked.append((statement, given))

    event.listen(any_parts.database.engine, "before_cursor_execute", note)
    assert len(any_parts.files.page(somebody).blobs) == 100
    event.remove(any_parts.database.engine, "before_cursor_execute", note)
    ((statement, given),) = asked
    with any_parts.database.engine.connect() as connection:
        explain = "EXPLAIN QUERY PLAN" if connection.dialect.name == "sqlite" else "EXPLAIN"
        plan = str(connection.exec_driver_sql(f"{explain} {statement}", given).all())
    assert re.search(
        "SEARCH .* USING INDEX ix_blob_metadata_files|Index Scan using ix_blob_metadata_files", plan
    )
    assert "Sort" not in plan
    assert "TEMP B-TREE" not in plan


# --- GET /files/UUID


def test_a_file_is_answered_with_its_bytes_type_and_name(api: FlaskClient) -> None:
    id = post_raw(api, part('filename="a b.html"', b"<p>", kind="text/html")).json["id"]
    answer = api.get(f"/files/{id}")
    assert (answer.status_code, answer.data) == (200, b"<p>")
    assert answer.headers["Content-Type"] == "text/html"
    assert answer.headers["Content-Disposition"] == 'attachment; filename="a b.html"'
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    head = api.head(f"/files/{id}")
    assert (head.status_code, head.data, head.headers["Content-Length"]) == (200, b"", "3")


def test_pictures_and_text_are_attachments_too(api: FlaskClient) -> None:
    id = post_raw(api, part('filename="a.png"', kind="image/png")).json["id"]
    assert api.get(f"/files/{id}").headers["Content-Disposition"] == 'attachment; filename="a.png"'


def test_ranges_and_conditions_are_those_of_content(api: FlaskClient) -> None:
    id = post(api, b"0123456789").json["id"]
    ranged = api.get(f"/files/{id}", headers={"Range": "bytes=-3"})
    assert (ranged.status_code, ranged.data) == (206, b"789")
    etag = ranged.headers["ETag"]
    assert api.get(f"/files/{id}", headers={"If-None-Match": etag}).status_code == 304
    past = api.get(f"/files/{id}", headers={"Range": "bytes=10-"})
    assert_problem(past, 416, "range-not-satisfiable")


@pytest.mark.parametrize(
    "id",
    [
        UNKNOWN,
        str(UUID(int=11)).upper(),
        "x",
        "1",
        f"{UNKNOWN}/",
        "{" + UNKNOWN + "}",
        "%00",
        "a/b",
    ],
)
def test_an_unknown_file_is_404(api: FlaskClient, id: str) -> None:
    document = assert_problem(api.get(f"/files/{id}"), 404, "blob-not-found")
    assert document["detail"] == "File not found"


def test_a_deleted_file_is_404_and_no_longer_listed(api: FlaskClient) -> None:
    id = post(api, b"bytes").json["id"]
    assert api.delete(f"/v1/blobs/{id}").status_code == 204
    assert_problem(api.get(f"/files/{id}"), 404, "blob-not-found")
    assert api.get("/files").json == []


# --- Who is asking


def test_without_a_token_everything_is_401(app: Flask) -> None:
    client = app.test_client()
    for answer in (client.get("/files"), client.get(f"/files/{UNKNOWN}"), post(client, b"x")):
        assert_problem(answer, 401, "not-signed-in")


def test_anonymous_callers_may_do_what_the_setting_says(make_app: Callable[..., Flask]) -> None:
    writer = make_app(anonymous_access="write").test_client()
    id = post(writer, b"bytes").json["id"]
    reader = make_app(anonymous_access="read").test_client()
    assert [file["fileId"] for file in reader.get("/files").json] == [id]
    assert reader.get(f"/files/{id}").data == b"bytes"
    assert_problem(post_raw(reader, part('filename="a"', bytes(MIB))), 403, "insufficient_scope")


def test_each_scope_is_wanted(app: Flask, api: FlaskClient) -> None:
    id = post(api, b"bytes").json["id"]
    reader, writer = client_of(app, scopes=["read"]), client_of(app, scopes=["write"])
    assert_problem(post(reader, b"x"), 403, "insufficient_scope")
    assert post(writer, b"x").status_code == 201
    for url in ("/files", f"/files/{id}", "/files/no-uuid"):
        assert_problem(writer.get(url), 403, "insufficient_scope")


@pytest.mark.parametrize("prefix", ["team/", "team-", "Größe/🎉/", "a'%_\\/"])
def test_confined_callers_have_files_of_their_own(any_app: Flask, any_parts: Parts, prefix: str) -> None:
    whole = any_app.test_client()
    whole.environ_base["HTTP_AUTHORIZATION"] = BEARER["Authorization"]
    team, other = client_of(any_app, prefix=prefix), client_of(any_app, prefix="other/")
    id = post(team, b"theirs").json["id"]
    assert str(UUID(id)) == id
    assert any_parts.drive.describe(SERVER, prefix + id).size == 6
    assert [file["fileId"] for file in team.get("/files").json] == [id]
    assert team.get(f"/files/{id}").data == b"theirs"
    for client in (other, whole):
        assert client.get("/files").json == []
        document = assert_problem(client.get(f"/files/{id}"), 404, "blob-not-found")
        assert document["detail"] == "File not found"
    top = post(whole, b"of all").json["id"]
    assert_problem(team.get(f"/files/{top}"), 404, "blob-not-found")
    check(any_parts)


WHOLE = (
    b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n'
    b"Content-Type: text/plain\r\n\r\nabc\r\n--x--\r\n"
)


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("multipart/form-data; boundary=x", WHOLE.replace(b"\r\n--x--", b"")),
        ("multipart/form-data; boundary=x", WHOLE.replace(b"--x--", b"--x-")),
        ("multipart/form-data; boundary=x", WHOLE.replace(b"a.txt", b"\xff\xfe.txt")),
        ("multipart/form-data; boundary=x", WHOLE.replace(b"Content-Disposition", b"X-Disposition")),
        ("multipart/form-data; boundary=x", b"no form at all"),
        ("multipart/form-data", WHOLE),
    ],
)
def test_a_damaged_form_is_400_and_stores_nothing(api: FlaskClient, content_type: str, body: bytes) -> None:
    assert_problem(api.post("/files", data=body, content_type=content_type), 400, "bad-request")
    assert api.get("/files").json == []


def test_the_same_form_undamaged_is_stored(api: FlaskClient) -> None:
    answer = api.post("/files", data=WHOLE, content_type="multipart/form-data; boundary=x")
    assert answer.status_code == 201
