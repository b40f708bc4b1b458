"""/v1/content: raw bytes in and out, row by row of the contract, and the headers that go with them."""

import hashlib
import re
from base64 import b64encode
from collections.abc import Callable, Iterator
from email.message import Message
from urllib.parse import quote

import pytest
from flask import Flask
from flask.testing import FlaskClient

from simpledrive.api import blobs
from simpledrive.api import content as content_face
from simpledrive.descriptions import media_type
from simpledrive.errors import IntegrityFault, StorageUnavailable
from simpledrive.http.connection import PORTION
from simpledrive.http.content import PICTURES, SHOWN, streamed
from simpledrive.models import Blob
from simpledrive.parts import Parts
from simpledrive.streams.pieces import LEAF
from tests.apps import BEARER
from tests.drives import file_of
from tests.problems import assert_problem
from tests.sources import content

HTML = b"<script>alert(1)</script>"


def staged_files(parts: Parts) -> list[str]:
    return [path.name for path in parts.settings.staging_path.glob("*")]


@pytest.mark.parametrize("size", [0, 1, LEAF, LEAF + 1, 3 * LEAF + 5])
@pytest.mark.parametrize("backend", ["local", "database"])
def test_bytes_of_any_size_come_back_from_each_backend(
    api: FlaskClient, parts: Parts, size: int, backend: str
) -> None:
    data = content(size)
    answer = api.put(f"/v1/content/a/x.bin?storage_backend={backend}", data=data)
    assert answer.status_code == 201
    assert answer.json["size"] == size
    assert answer.json["sha256"] == hashlib.sha256(data).hexdigest()
    assert answer.json["storage_backend"] == backend
    assert answer.headers["Location"] == "/v1/blobs/a/x.bin"
    assert answer.headers["ETag"] == f'"{answer.json["sha256"]}"'

    got = api.get("/v1/content/a/x.bin")
    assert (got.status_code, got.data) == (200, data)
    assert got.headers["Content-Length"] == str(size)
    assert got.headers["ETag"] == answer.headers["ETag"]
    assert got.headers["Accept-Ranges"] == "bytes"
    assert got.headers["Repr-Digest"] == f"sha-256=:{b64encode(hashlib.sha256(data).digest()).decode()}:"
    assert got.headers["Cache-Control"] == "private, no-cache"
    assert got.headers["X-Content-Type-Options"] == "nosniff"
    assert re.fullmatch(r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", got.headers["Last-Modified"])
    assert staged_files(parts) == []


def test_what_comes_back_with_its_own_headers_is_accepted_again(api: FlaskClient) -> None:
    api.put("/v1/content/x", data=b"hello")
    got = api.get("/v1/content/x")
    same = {"Repr-Digest": got.headers["Repr-Digest"], "If-Match": got.headers["ETag"]}
    assert api.put("/v1/content/x", data=got.data, headers=same).status_code == 200


def test_head_has_the_headers_of_get_and_no_body(api: FlaskClient) -> None:
    api.put("/v1/content/x", data=content(LEAF + 1), content_type="image/png")
    got, head = api.get("/v1/content/x"), api.head("/v1/content/x")
    assert (head.status_code, head.data) == (200, b"")
    ignored = {"X-Request-Id", "Date"}
    assert {k: v for k, v in head.headers if k not in ignored} == {
        k: v for k, v in got.headers if k not in ignored
    }


def test_head_asks_no_storage(api: FlaskClient, parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    api.put("/v1/content/x", data=b"hello")

    def read(*_: object) -> Iterator[bytes]:
        raise AssertionError("the bytes were read")

    monkeypatch.setattr(parts.drive._reading, "read", read)
    assert api.head("/v1/content/x").status_code == 200
    assert api.head("/v1/blobs/x").headers["Content-Length"].isdigit()


def test_put_keeps_type_name_and_backend_as_they_were_given(api: FlaskClient) -> None:
    answer = api.put(
        "/v1/content/a/b?filename=%C3%9Cbung%201.txt&storage_backend=database",
        data=b"x",
        content_type="text/plain; charset=latin-1",
    )
    assert answer.json["filename"] == "Übung 1.txt"
    assert answer.json["content_type"] == "text/plain; charset=latin-1"
    assert answer.json["storage_backend"] == "database"
    assert api.get("/v1/content/a/b").headers["Content-Type"] == "text/plain; charset=latin-1"


def test_put_without_type_takes_it_from_the_name(api: FlaskClient) -> None:
    assert api.put("/v1/content/x.png", data=b"x").json["content_type"] == "image/png"
    assert api.put("/v1/content/y?filename=y.html", data=b"x").json["content_type"] == "text/html"
    assert api.put("/v1/content/z?filename=", data=b"x").json["filename"] == "z"


def test_put_on_an_id_that_exists_is_409_before_the_body_is_read(api: FlaskClient) -> None:
    api.put("/v1/content/x", data=b"first")

    class Unread:
        def read(self, *_: object) -> bytes:
            raise AssertionError("the body was read")

        readline = read

    answer = api.put("/v1/content/x", environ_overrides={"wsgi.input": Unread(), "CONTENT_LENGTH": "1000"})
    assert_problem(answer, 409, "blob-exists")
    assert api.get("/v1/content/x").data == b"first"


def test_a_replacement_is_200_and_counts_the_version_up(api: FlaskClient) -> None:
    first = api.put("/v1/content/x", data=b"first", content_type="text/plain")
    record = api.get("/v1/blobs/x").headers["ETag"]
    second = api.put("/v1/content/x", data=b"second", headers={"If-Match": first.headers["ETag"]})
    assert second.status_code == 200
    assert second.json["size"] == 6
    assert second.headers["ETag"] not in (first.headers["ETag"], None)
    assert api.get("/v1/content/x").data == b"second"
    assert api.get("/v1/blobs/x").headers["ETag"].endswith('-2"')
    assert record.endswith('-1"')


@pytest.mark.parametrize(
    ("query", "headers", "field"),
    [
        ("?storage_backend=nowhere", {}, "storage_backend"),
        ("?filename=a%0Ab", {}, "filename"),
        ("?filename=" + "x" * 1025, {}, "filename"),
        ("", {"Content-Type": "text"}, "content_type"),
        ("", {"Content-Type": "text/pl\xe4in"}, "content_type"),
        ("", {"Content-Type": "text/" + "x" * 300}, "content_type"),
    ],
)
def test_what_is_not_acceptable_is_422_and_named(
    api: FlaskClient, query: str, headers: dict[str, str], field: str
) -> None:
    assert_problem(api.put(f"/v1/content/x{query}", data=b"x", headers=headers), 422, "invalid", field)
    assert api.get("/v1/blobs").json["items"] == []


def test_a_part_of_a_blob_cannot_be_put(api: FlaskClient) -> None:
    answer = api.put("/v1/content/x", data=b"x", headers={"Content-Range": "bytes 0-0/10"})
    assert_problem(answer, 400, "bad-request")
    assert api.get("/v1/content/x").status_code == 404


def test_more_than_max_blob_bytes_is_413_and_leaves_nothing(make_app: Callable[..., Flask]) -> None:
    app = make_app(max_blob_bytes=LEAF + 10)
    client = app.test_client()
    exact = client.put("/v1/content/exact", data=b"x" * (LEAF + 10), headers=BEARER)
    assert exact.status_code == 201
    announced = client.put("/v1/content/x", data=b"x" * (LEAF + 11), headers=BEARER)
    assert_problem(announced, 413, "too-large")
    unannounced = client.put(
        "/v1/content/x",
        data=b"x" * (2 * LEAF),
        headers=BEARER,
        environ_overrides={"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True},
    )
    assert_problem(unannounced, 413, "too-large")
    assert client.get("/v1/content/x", headers=BEARER).status_code == 404
    assert staged_files(app.extensions["simpledrive"]) == []


def test_without_length_and_chunks_there_is_no_body(api: FlaskClient) -> None:
    answer = api.put("/v1/content/x", data=b"ignored", environ_overrides={"CONTENT_LENGTH": ""})
    assert (answer.status_code, answer.json["size"]) == (201, 0)


# --- How browsers show it


@pytest.mark.parametrize(
    ("content_type", "shown"),
    [
        ("image/png", True),
        ("IMAGE/PNG", True),
        ("text/plain; charset=utf-8", True),
        ("video/mp4", True),
        ("text/html", False),
        ("image/svg+xml", False),
        ("application/xhtml+xml", False),
        ("application/pdf", False),
        ("text/xml", False),
        ("application/javascript", False),
        ("application/octet-stream", False),
        ("multipart/related", False),
    ],
)
def test_only_what_cannot_run_scripts_is_shown_in_place(
    api: FlaskClient, content_type: str, shown: bool
) -> None:
    api.put("/v1/content/x", data=HTML, content_type=content_type)
    for url, disposition in (
        ("/v1/content/x", "inline" if shown else "attachment"),
        ("/v1/content/x?download=1", "attachment"),
    ):
        headers = api.get(url).headers
        assert headers["Content-Disposition"] == f'{disposition}; filename="x"'
        assert headers["Content-Type"] == content_type
        assert headers["Content-Security-Policy"] == "default-src 'none'; sandbox"
        assert headers["X-Content-Type-Options"] == "nosniff"


NAMES = {
    "plain.txt": 'filename="plain.txt"',
    "two words.txt": 'filename="two words.txt"',
    'say "hi".txt': "filename=\"say _hi_.txt\"; filename*=UTF-8''say%20%22hi%22.txt",
    "back\\slash": "filename=\"back_slash\"; filename*=UTF-8''back%5Cslash",
    "100%.txt": "filename=\"100_.txt\"; filename*=UTF-8''100%25.txt",
    "a/b.txt": "filename=\"a_b.txt\"; filename*=UTF-8''a%2Fb.txt",
    "Übung.txt": "filename=\"_bung.txt\"; filename*=UTF-8''%C3%9Cbung.txt",
    "😀": "filename=\"_\"; filename*=UTF-8''%F0%9F%98%80",
    "it's (1)*;=,.txt": 'filename="it\'s (1)*;=,.txt"',
    "é's (1)*.txt": "filename=\"_'s (1)*.txt\"; filename*=UTF-8''%C3%A9%27s%20%281%29%2A.txt",
    "x\u2028y\u202egpj.exe": "filename=\"x_y_gpj.exe\"; filename*=UTF-8''x%E2%80%A8y%E2%80%AEgpj.exe",
}


def test_no_contract_leans_on_another() -> None:
    for one, other in ((blobs, content_face), (content_face, blobs)):
        assert one.__name__ not in {getattr(thing, "__module__", "") for thing in vars(other).values()}


def test_pictures_are_among_what_is_shown_and_drawings_with_scripts_are_not() -> None:
    assert PICTURES < SHOWN
    assert not any(kind.endswith("+xml") for kind in SHOWN)
    assert all(kind == media_type(f" {kind.upper()} ; a=b") for kind in SHOWN)


def test_file_names_are_written_as_rfc_6266_has_them(api: FlaskClient) -> None:
    for number, (name, expected) in enumerate(NAMES.items()):
        api.put(f"/v1/content/{number}?filename={quote(name)}", data=b"x")
        header = api.get(f"/v1/content/{number}?download=1").headers["Content-Disposition"]
        assert header == f"attachment; {expected}"
        message = Message()
        message["Content-Disposition"] = header.replace(expected.partition(";")[0] + "; ", "")
        assert message.get_filename() == name  # as a client reads it that knows filename*


def test_a_line_break_in_a_name_cannot_reach_a_header(api: FlaskClient, parts: Parts) -> None:
    api.put("/v1/content/x", data=b"x")
    parts.database.write(lambda session: session.query(Blob).update({"filename": "a\r\nSet-Cookie: b\x85\0"}))
    header = api.get("/v1/content/x").headers["Content-Disposition"]
    assert header.startswith('attachment; filename="a__Set-Cookie: b__"; ')
    assert header.isprintable()


# --- Reading that fails


def test_a_piece_that_is_bad_from_the_start_is_an_error_with_a_status(
    api: FlaskClient, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.put("/v1/content/x", data=b"hello")

    def unavailable(*_: object) -> object:
        raise StorageUnavailable("local", "open", "did not answer")

    monkeypatch.setattr(parts.backends.use("local"), "open", unavailable)
    for url in ("/v1/content/x", "/v1/blobs/x"):
        answer = api.get(url)
        assert_problem(answer, 503, "storage-unavailable")
        assert answer.headers["Retry-After"]
    assert_problem(api.get("/v1/content/x", headers={"Range": "bytes=1-2"}), 503, "storage-unavailable")


def test_what_breaks_later_cuts_the_transfer(api: FlaskClient, parts: Parts) -> None:
    data = content(4 * LEAF)
    api.put("/v1/content/x", data=data)
    path = file_of(parts, data)
    path.chmod(0o600)
    path.write_bytes(data[: 3 * LEAF] + bytes(LEAF))
    for url in ("/v1/content/x", "/v1/blobs/x"):
        answer = api.get(url)
        assert answer.status_code == 200
        with pytest.raises(IntegrityFault):
            answer.get_data()


def test_large_pieces_are_sent_in_portions_that_a_slow_client_can_take_in_time(app: Flask) -> None:
    data = content(5 * PORTION + 1)
    with app.test_request_context():
        sent = list(streamed(iter([data[: 3 * PORTION], b"", data[3 * PORTION :]])).iter_encoded())
    assert b"".join(sent) == data
    assert max(map(len, sent)) == PORTION


def test_a_transfer_that_the_client_ends_closes_the_storage(app: Flask) -> None:
    closed = []

    def portions() -> Iterator[bytes]:
        try:
            yield b"first"
            yield b"second"
        finally:
            closed.append(True)

    with app.test_request_context():
        response = streamed(portions())
        iterator = iter(response.iter_encoded())
        assert next(iterator) == b"first"
        assert not closed
        response.close()
    assert closed
