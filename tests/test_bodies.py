"""Bodies: broken JSON, broken base64, digests announced in headers, and the ceiling on memory."""

import gzip
import hashlib
import io
import json
import socket
import threading
from base64 import b64encode
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
import requests
from flask import Flask, g
from flask.testing import FlaskClient

from simpledrive.http.memory import MemoryBudget
from simpledrive.rights import SERVER
from tests.apps import BEARER
from tests.needs import need
from tests.problems import assert_problem
from tests.servers import Server, memory
from tests.sources import content

MIB = 1 << 20


def post(api: FlaskClient, body: bytes) -> object:
    return api.post("/v1/blobs", data=body, content_type="application/json")


def assert_nothing_stored(api: FlaskClient) -> None:
    assert api.get("/v1/blobs").json["items"] == []


# --- JSON


BROKEN = {
    "nothing": b"",
    "white space": b" \n",
    "cut off": b'{"id": "x", "data": "QUE=',
    "one bracket": b"{",
    "something behind": b'{"id": "x", "data": ""} x',
    "two documents": b'{"id": "x", "data": ""}{"id": "y", "data": ""}',
    "comma at the end": b'{"id": "x", "data": "",}',
    "single quotes": b"{'id': 'x', 'data': ''}",
    "no quotes": b'{id: "x", "data": ""}',
    "comment": b'{"id": "x", /* no */ "data": ""}',
    "NaN": b'{"id": NaN, "data": ""}',
    "NaN in an unknown member": b'{"id": "x", "data": "", "more": [NaN]}',
    "Infinity": b'{"id": "x", "data": Infinity}',
    "minus Infinity": b'{"id": "x", "data": -Infinity}',
    "undefined": b'{"id": undefined, "data": ""}',
    "byte order mark": b'\xef\xbb\xbf{"id": "x", "data": ""}',
    "UTF-16": '{"id": "x", "data": ""}'.encode("utf-16"),
    "Latin-1": '{"id": "ü", "data": ""}'.encode("latin-1"),
    "overlong UTF-8": b'{"id": "\xc0\xaf", "data": ""}',
    "surrogate as UTF-8": b'{"id": "\xed\xa0\x80", "data": ""}',
    "raw line feed": b'{"id": "a\nb", "data": ""}',
    "raw zero": b'{"id": "a\0b", "data": ""}',
    "unknown escape": rb'{"id": "\x41", "data": ""}',
    "short escape": rb'{"id": "\u12", "data": ""}',
    "surrogate and then broken": rb'{"id": "\ud800", "data": ""',
    "100,000 open brackets": b'{"id": "x", "data": ' + b"[" * 100_000,
    "100,000 nested lists": b'{"id": "x", "data": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "50,000 nested lists": b'{"id": "x", "data": ' + b"[" * 50_000 + b"]" * 50_000 + b"}",
    "100,000 nested objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "number of 100,000 digits": b'{"id": "x", "data": ' + b"1" * 100_000 + b"}",
    "binary": content(300_000),
    "form": b"id=x&data=",
}


def test_what_is_not_json_is_400(api: FlaskClient) -> None:
    for name, body in BROKEN.items():
        document = assert_problem(post(api, body), 400, "bad-request")
        assert len(str(document)) < 1000, name
    assert_nothing_stored(api)


@pytest.mark.parametrize("body", [b"null", b"[]", b'"x"', b"5", b"true"])
def test_json_that_is_no_object_is_422(api: FlaskClient, body: bytes) -> None:
    assert_problem(post(api, body), 422, "invalid", "body")


def test_unpaired_surrogates_are_422_wherever_they_stand(api: FlaskClient) -> None:
    for text in (r"\ud800", r"\uD800a\uDFFF", r"\udc00\ud800", r"\ud83d\ud83d\ude00"):
        for document in (
            rb'{"id": "%s", "data": ""}',
            rb'{"id": "x", "data": "", "filename": "%s"}',
            rb'{"id": "x", "data": "", "metadata": {"%s": "a"}}',
        ):
            assert_problem(post(api, document % text.encode()), 422, "invalid", "body")
    assert post(api, rb'{"id": "\ud83d\uDE00", "data": ""}').json["id"] == "😀"
    assert post(api, rb'{"id": "\\ud800", "data": ""}').json["id"] == r"\ud800"


def test_of_a_member_sent_twice_the_last_one_counts(api: FlaskClient) -> None:
    answer = post(api, b'{"id": "a", "data": "QQ==", "id": "b", "data": "QkI="}')
    assert (answer.json["id"], answer.json["size"]) == ("b", 2)
    assert api.get("/v1/content/b").data == b"BB"


@pytest.mark.parametrize(
    "body",
    [
        b'{"a": [' + b"[]," * 400_000 + b"[]]}",
        b"{" + b",".join(b'"m%d":0' % n for n in range(100_000)) + b"}",
        b'{"data": "", "' + b"x" * MIB + b'": 1}',
        b'{"data": "", "filename": "' + b"x" * 100_000 + b'", "content_type": "' + b"x" * 100_000 + b'"}',
    ],
    ids=["lists", "members", "a long name", "two long members"],
)
def test_a_large_body_that_is_not_mainly_data_is_not_even_parsed(api: FlaskClient, body: bytes) -> None:
    assert "65536" in str(assert_problem(post(api, body), 400, "bad-request")["detail"])


def test_large_data_is_taken_wherever_it_stands_and_however_it_is_escaped(api: FlaskClient) -> None:
    data = content(600_000)
    text = b64encode(data)
    escaped = text.replace(b"/", rb"\/").replace(b"+", rb"\u002b")
    assert post(api, b'{"id": "first", "data": "%s"}' % text).status_code == 201
    assert post(api, b'{"data": "%s", "id": "last"}' % text).status_code == 201
    assert post(api, b'{ "data" :\n"%s"\t, "id": "escaped" } \n' % escaped).status_code == 201
    for id in ("first", "last", "escaped"):
        assert api.get(f"/v1/content/{id}").data == data


# --- Base64


BROKEN_BASE64 = {
    "no padding": "QQ",
    "half its padding": "QQ=",
    "padding too long": "QUJD====",
    "padding alone": "====",
    "padding in front": "=QQ=",
    "padding inside": "QQ==QQ==",
    "padding in the middle of four": "Q=Q=",
    "one character": "A",
    "five characters": "QUJDR",
    "blank": "QUJD QUJD",
    "blank behind": "QUJD ",
    "line feed": "QUJD\nQUJD",
    "line feed behind": "QUJD\n",
    "carriage return": "QUJD\r\n",
    "url-safe minus": "-A==",
    "url-safe underscore": "_A==",
    "comma": "QUJ,",
    "quote": 'QUJ"',
    "zero": "QUJ\0",
    "not ASCII": "QUJé",
    "emoji": "😀",
    "full-width letters": "\uff21\uff21\uff21\uff21",
    "data URL": "data:text/plain;base64,QQ==",
    "bits that belong to no byte": "QR==",
    "bits that belong to no byte of two": "QUJ=",
}


def test_what_is_not_strict_base64_is_400(api: FlaskClient) -> None:
    for name, data in BROKEN_BASE64.items():
        document = assert_problem(
            post(api, json.dumps({"id": "x", "data": data}).encode()), 400, "bad-request"
        )
        assert str(document["detail"]).startswith("data is not base64: "), name
    assert_nothing_stored(api)


@pytest.mark.parametrize(
    ("data", "flaw"),
    [
        (b"A" * 300_000 + b"-" + b"A" * 99_999, "offset 300000"),
        (b"A" * 399_999, "length, 399999, is not"),
        (b"A" * 399_997 + b"===", "padding"),
    ],
    ids=["character", "length", "padding"],
)
def test_the_flaw_in_large_base64_is_found_at_once(api: FlaskClient, data: bytes, flaw: str) -> None:
    document = assert_problem(post(api, b'{"id": "x", "data": "%s"}' % data), 400, "bad-request")
    assert flaw in str(document["detail"])


# --- Lengths and codings


def test_a_body_shorter_than_announced_is_400_and_stores_nothing(api: FlaskClient) -> None:
    for method, url, body in (
        ("POST", "/v1/blobs", b'{"id": "x", "data": "QUE="}'),
        ("PUT", "/v1/content/x", b"x" * 1000),
        ("PUT", "/v1/content/x", b"x" * MIB),
    ):
        answer = api.open(
            url,
            method=method,
            data=body,
            content_type="application/json",
            environ_overrides={"CONTENT_LENGTH": str(len(body) + 1)},
        )
        assert_problem(answer, 400, "truncated-body")
    assert_nothing_stored(api)


@pytest.mark.parametrize("sent", [b"", b"x" * 500], ids=["from the start", "in the middle"])
def test_a_body_that_the_server_gave_up_waiting_for_is_408(api: FlaskClient, sent: bytes) -> None:
    near, far = socket.socketpair()
    with near, far:
        near.settimeout(0.05)
        far.sendall(sent)
        body = {"CONTENT_LENGTH": "1000", "wsgi.input": socket.SocketIO(near, "r")}
        assert_problem(api.put("/v1/content/x", environ_overrides=body), 408, "request-timeout")
    assert_nothing_stored(api)


@pytest.mark.parametrize("coding", ["gzip", "br", "identity, gzip", "x"])
def test_compressed_bodies_are_415_rather_than_kept_as_they_came(api: FlaskClient, coding: str) -> None:
    body = gzip.compress(b'{"id": "x", "data": ""}')
    headers = {"Content-Encoding": coding, "Content-Type": "application/json"}
    assert_problem(api.put("/v1/content/x", data=body, headers=headers), 415, "unsupported-type")
    assert_problem(api.post("/v1/blobs", data=body, headers=headers), 415, "unsupported-type")
    assert_nothing_stored(api)
    assert api.put("/v1/content/x", data=body, headers={"Content-Encoding": "identity"}).status_code == 201


# --- Digests in headers


def sf(name: str, data: bytes, algorithm: str = "") -> str:
    digest = hashlib.new(algorithm or name.replace("-", ""), data).digest()
    return f"{name}=:{b64encode(digest).decode()}:"


@contextmanager
def every_door(api: FlaskClient) -> Iterator[list[tuple[str, str, bytes]]]:
    """Both ways in, with a body for each; afterwards nothing has come in."""
    document = b'{"id": "x", "data": "QUE="}'
    yield [("PUT", "/v1/content/x", b"AA"), ("POST", "/v1/blobs", document)]
    assert_nothing_stored(api)


DIGESTS: dict[str, Callable[[bytes], dict[str, str]]] = {
    "Repr-Digest": lambda body: {"Repr-Digest": sf("sha-256", body)},
    "Content-Digest": lambda body: {"Content-Digest": sf("sha-512", body)},
    "Content-MD5": lambda body: {"Content-MD5": b64encode(hashlib.md5(body).digest()).decode()},
    "SHA-1": lambda body: {"Repr-Digest": sf("sha", body, "sha1")},
    "two": lambda body: {"Repr-Digest": f"{sf('sha-512', body)}, {sf('sha-256', body)}"},
    "two headers": lambda body: {"Repr-Digest": sf("sha-512", body), "Content-Digest": sf("md5", body)},
    "the same twice": lambda body: {"Repr-Digest": sf("md5", body), "Content-Digest": sf("md5", body)},
    "one of an unknown algorithm": lambda body: {"Repr-Digest": f"id-sha-999=:AAAA:, {sf('sha-256', body)}"},
    "unknown alone": lambda _: {"Repr-Digest": "unixcksum=:AAAA:"},
    "with a parameter": lambda body: {"Repr-Digest": f"{sf('sha-256', body)};q=1"},
    "empty header": lambda _: {"Repr-Digest": ""},
}


@pytest.mark.parametrize("name", DIGESTS)
def test_digests_that_are_right_are_accepted(api: FlaskClient, name: str) -> None:
    for method, url, body in (
        ("PUT", "/v1/content/x", b"AA"),
        ("PUT", "/v1/content/empty", b""),
        ("POST", "/v1/blobs", b'{"id": "y", "data": "QUE="}'),
    ):
        headers = {"Content-Type": "application/json", **DIGESTS[name](body)}
        assert api.open(url, method=method, data=body, headers=headers).status_code == 201


@pytest.mark.parametrize("name", [name for name in DIGESTS if not name.startswith(("unknown", "empty"))])
def test_digests_that_are_wrong_are_400_and_nothing_is_stored(api: FlaskClient, name: str) -> None:
    with every_door(api) as doors:
        for method, url, body in doors:
            headers = {"Content-Type": "application/json", **DIGESTS[name](body + b"x")}
            assert_problem(api.open(url, method=method, data=body, headers=headers), 400, "digest-mismatch")


def test_one_wrong_digest_beside_a_right_one_is_400(api: FlaskClient) -> None:
    with every_door(api) as doors:
        for method, url, body in doors:
            for headers in (
                {"Repr-Digest": f"{sf('sha-256', body)}, {sf('sha-512', b'x')}"},
                {"Repr-Digest": sf("sha-256", body), "Content-Digest": sf("sha-256", b"x")},
                {"Repr-Digest": sf("md5", body), "Content-MD5": b64encode(b"x" * 16).decode()},
                {"Repr-Digest": "sha-256=:" + b64encode(b"short").decode() + ":"},
                {"Repr-Digest": "sha-256=::"},
            ):
                headers = headers | {"Content-Type": "application/json"}
                assert_problem(
                    api.open(url, method=method, data=body, headers=headers), 400, "digest-mismatch"
                )


MALFORMED = [
    "sha-256",
    "sha-256=",
    "sha-256=abc",
    "sha-256=:abc",
    "sha-256=:a b:",
    "sha-256=:-_-_:",
    "sha-256=:QQ:",
    "SHA-256=:QQ==:",
    ",",
    "sha-256=:QQ==:,",
    "sha-256=:QQ==: md5=:QQ==:",
    "\xfc",
]


def test_digests_that_cannot_be_read_are_400(api: FlaskClient) -> None:
    given = [{name: value} for name in ("Repr-Digest", "Content-Digest") for value in MALFORMED]
    given += [{"Content-MD5": value} for value in ("x", "QQ", "QUJD====", "-_-_", "\xfc")]
    with every_door(api) as doors:
        for method, url, body in doors:
            for headers in given:
                headers = headers | {"Content-Type": "application/json"}
                answer = api.open(url, method=method, data=body, headers=headers)
                assert_problem(answer, 400, "bad-request")


# --- The ceiling on memory


def test_the_budget_lets_wait_and_then_refuses() -> None:
    budget = MemoryBudget(100)
    entered, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with budget.reserve(80):
            entered.set()
            assert leave.wait(30)

    def wait_for_room() -> str:
        with budget.reserve(60):
            return "got it"

    with ThreadPoolExecutor() as threads:
        holder = threads.submit(hold)
        assert entered.wait(30)
        with budget.reserve(20):
            pass
        waiter = threads.submit(wait_for_room)
        leave.set()
        assert waiter.result(30) == "got it"
        holder.result(30)
    with pytest.raises(ValueError, match="1000 bytes"), budget.reserve(1000):
        pass


def test_without_room_a_json_body_is_503_with_retry_after_and_works_later(
    make_app: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MemoryBudget, "WAIT", 0.0)
    app = make_app(json_max_bytes=1 * MIB, json_memory_bytes=3 * MIB)
    client = app.test_client()
    budget: MemoryBudget = app.extensions["simpledrive.json_memory"]
    body = b'{"id": "x", "data": "' + b"A" * 1000 + b'"}'
    with budget.reserve(3 * MIB - 100):
        answer = client.post("/v1/blobs", data=body, content_type="application/json", headers=BEARER)
        assert int(answer.headers["Retry-After"]) >= 1
        assert_problem(answer, 503, "busy")
        assert client.put("/v1/content/raw", data=b"x" * MIB, headers=BEARER).status_code == 201
    answer = client.post("/v1/blobs", data=body, content_type="application/json", headers=BEARER)
    assert answer.status_code == 201


def test_room_is_given_back_whatever_becomes_of_the_body(make_app: Callable[..., Flask]) -> None:
    app = make_app(json_max_bytes=1000, json_memory_bytes=3000)
    client = app.test_client()
    for body in (
        b"",
        b"x" * 1000,
        b"x" * 2000,
        b'{"data": "QQ"}',
        b'{"id": "..", "data": ""}',
        b'{"data": ""}',
    ):
        client.post("/v1/blobs", data=body, content_type="application/json", headers=BEARER)
    with app.extensions["simpledrive.json_memory"].reserve(3000):
        pass


def test_a_body_that_is_still_coming_keeps_no_room_from_others(
    make_app: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MemoryBudget, "WAIT", 0.0)
    app = make_app(json_max_bytes=1 * MIB, json_memory_bytes=3 * MIB)
    free: list[bool] = []

    class Coming(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            with app.extensions["simpledrive.json_memory"].reserve(3 * MIB):
                free.append(True)
            return super().read(size)

    body = b'{"id": "x", "data": "' + b"A" * 800_000 + b'"}'
    for length in (
        {"CONTENT_LENGTH": str(len(body))},
        {"wsgi.input_terminated": True, "HTTP_TRANSFER_ENCODING": "chunked"},
    ):
        answer = app.test_client().post(
            "/v1/blobs",
            input_stream=Coming(body),
            content_type="application/json",
            headers=BEARER,
            environ_overrides=length,
        )
        assert answer.status_code in (201, 409), answer.text
    assert len(free) > 2
    assert list(app.extensions["simpledrive"].settings.staging_path.glob("*")) == []


def test_many_large_json_bodies_at_once_stay_below_the_ceiling(make_server: Callable[..., Server]) -> None:
    need("procfs")
    ceiling, size, clients = 48 * MIB, 8 * MIB, 24
    server = make_server(WORKERS=1, JSON_MAX_BYTES=12 * MIB, JSON_MEMORY_BYTES=ceiling)
    data = b64encode(content(size))
    peak = before = memory(server.pids())
    done = threading.Event()

    def send(number: int) -> int:
        body = b'{"id": "%d", "data": "%s"}' % (number, data)
        headers = BEARER | {"Content-Type": "application/json"}
        answer = requests.post(f"{server.url}/v1/blobs", data=body, headers=headers, timeout=60)
        assert answer.status_code == 201 or int(answer.headers["Retry-After"]) >= 1
        return answer.status_code

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.002):
            peak = max(peak, memory(server.pids()))

    with ThreadPoolExecutor(clients + 1) as threads:
        watcher = threads.submit(watch)
        try:
            statuses = list(threads.map(send, range(clients)))
        finally:
            done.set()
        watcher.result()

    assert set(statuses) <= {201, 503}
    listed = requests.get(f"{server.url}/v1/blobs", headers=BEARER, timeout=10).json()["items"]
    assert {item["id"] for item in listed} == {str(n) for n in range(clients) if statuses[n] == 201}
    assert {item["sha256"] for item in listed} == {hashlib.sha256(content(size)).hexdigest()}
    # Beside the budget: what each request takes whatever its size, and what the allocator keeps.
    assert peak - before < ceiling + 64 * MIB, f"{(peak - before) / MIB:.0f} MiB over {before / MIB:.0f}"


def test_of_a_form_with_many_small_files_few_wait_in_memory(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("simpledrive.http.requests.FILES_IN_MEMORY", 2)
    staging = app.extensions["simpledrive"].settings.staging_path
    form = {"file": [(io.BytesIO(b"x"), f"{number}.txt") for number in range(5)]}
    with app.test_request_context("/drive/upload", method="POST", data=form) as context:
        g.caller = SERVER
        assert len(context.request.files.getlist("file")) == 5
        assert len(list(staging.glob("*.part"))) == 3
    assert list(staging.glob("*.part")) == []
