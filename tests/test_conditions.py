"""Conditional and range requests, as RFC 9110 has them in sections 13 and 14."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Barrier

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.http import http_date
from werkzeug.test import TestResponse

from simpledrive.models import Blob
from simpledrive.parts import Parts
from simpledrive.streams.pieces import LEAF
from tests.apps import BEARER
from tests.problems import assert_problem
from tests.sources import content

DATA = b"0123456789"
MODIFIED = datetime(2026, 5, 4, 3, 2, 1, 900_000, tzinfo=UTC)
SAME, EARLIER, LATER = (http_date(MODIFIED + timedelta(seconds=n)) for n in (0, -1, 1))
TAG = '"84d89877f0d4041efb6bf91a16f0248f2fd573e6af05c19f96bedb9f882f7882"'
OTHER = '"0000000000000000000000000000000000000000000000000000000000000000"'
NO_DATES = [
    "",
    "x",
    "0",
    "yesterday",
    "Sun, 06 Nov 99999999999999 08:49:37 GMT",
    "1994-11-06T08:49:37Z",
    "\xfc",
]


@pytest.fixture
def client(api: FlaskClient, parts: Parts) -> FlaskClient:
    """A client of a drive that holds DATA as `x`, last modified at MODIFIED, and an empty client."""
    assert api.put("/v1/content/x", data=DATA, content_type="text/plain").headers["ETag"] == TAG
    assert api.put("/v1/content/empty", data=b"").status_code == 201
    parts.database.write(lambda session: session.query(Blob).update({"updated_at": MODIFIED}))
    return api


def get(client: FlaskClient, url: str = "/v1/content/x", **headers: str) -> TestResponse:
    return client.get(url, headers={name.replace("_", "-"): value for name, value in headers.items()})


# --- If-None-Match, If-Modified-Since


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    "headers",
    [
        {"If-None-Match": TAG},
        {"If-None-Match": f"W/{TAG}"},
        {"If-None-Match": "*"},
        {"If-None-Match": f'"a", {TAG}, "b"'},
        {"If-None-Match": f'W/"a,b",{TAG}'},
        {"If-None-Match": TAG, "If-Modified-Since": EARLIER},
        {"If-None-Match": TAG, "Range": "bytes=0-1"},
        {"If-None-Match": TAG, "Range": "bytes=99-"},
        {"If-Match": TAG, "If-None-Match": TAG},
        {"If-Modified-Since": SAME},
        {"If-Modified-Since": LATER},
        {"If-Modified-Since": "Monday, 04-May-26 03:02:01 GMT"},
        {"If-Modified-Since": "Mon May  4 03:02:01 2026"},
    ],
    ids=str,
)
def test_what_the_caller_has_is_304_without_a_body(
    client: FlaskClient, method: str, headers: dict[str, str]
) -> None:
    answer = client.open("/v1/content/x", method=method, headers=headers)
    assert (answer.status_code, answer.data) == (304, b"")
    assert answer.headers["ETag"] == TAG
    assert answer.headers["Cache-Control"] == "private, no-cache"
    assert "Content-Range" not in answer.headers


def test_what_the_caller_does_not_have_is_200(client: FlaskClient) -> None:
    given: list[dict[str, str]] = [
        {"If-None-Match": OTHER},
        {"If-None-Match": TAG.strip('"')[:-1]},
        {"If-None-Match": ""},
        {"If-None-Match": f'"{TAG.strip(chr(34))}-1"'},
        {"If-None-Match": OTHER, "If-Modified-Since": LATER},
        {"If-Modified-Since": EARLIER},
        *({"If-Modified-Since": date} for date in NO_DATES),
        *({"If-Unmodified-Since": date} for date in NO_DATES),
    ]
    for headers in given:
        answer = client.get("/v1/content/x", headers=headers)
        assert (answer.status_code, answer.data) == (200, DATA), headers


def test_a_record_has_an_etag_of_its_own(client: FlaskClient) -> None:
    tag = client.get("/v1/blobs/x").headers["ETag"]
    assert tag != TAG
    for method in ("GET", "HEAD"):
        answer = client.open("/v1/blobs/x", method=method, headers={"If-None-Match": tag})
        assert (answer.status_code, answer.data, answer.headers["ETag"]) == (304, b"", tag)
    assert get(client, "/v1/blobs/x", If_None_Match=TAG).status_code == 200
    assert get(client, "/v1/blobs/x", If_Match=tag).status_code == 200
    assert_problem(get(client, "/v1/blobs/x", If_Match=TAG), 412, "precondition-failed")


def test_a_record_has_no_date_to_compare(client: FlaskClient) -> None:
    assert "Last-Modified" not in client.get("/v1/blobs/x").headers
    for header in ("If-Modified-Since", "If-Unmodified-Since"):
        for date in (EARLIER, SAME, LATER):
            assert client.get("/v1/blobs/x", headers={header: date}).status_code == 200, (header, date)


# --- If-Match, If-Unmodified-Since


def test_another_blob_than_the_caller_means_is_412(client: FlaskClient) -> None:
    for headers in (
        {"If-Match": OTHER},
        {"If-Match": f"W/{TAG}"},
        {"If-Match": ""},
        {"If-Match": OTHER, "If-Unmodified-Since": LATER},
        {"If-Match": OTHER, "If-None-Match": TAG},
        {"If-Match": OTHER, "Range": "bytes=99-"},
        {"If-Unmodified-Since": EARLIER},
        {"If-Unmodified-Since": EARLIER, "If-None-Match": TAG},
    ):
        assert_problem(client.get("/v1/content/x", headers=headers), 412, "precondition-failed")
        assert client.head("/v1/content/x", headers=headers).status_code == 412


def test_the_blob_that_the_caller_means_is_200(client: FlaskClient) -> None:
    for headers in (
        {"If-Match": TAG},
        {"If-Match": "*"},
        {"If-Match": f"{OTHER}, {TAG}"},
        {"If-Match": TAG, "If-Unmodified-Since": EARLIER},
        {"If-Unmodified-Since": SAME},
        {"If-Unmodified-Since": LATER},
    ):
        assert client.get("/v1/content/x", headers=headers).data == DATA, headers


def test_a_missing_blob_is_404_whatever_the_conditions_say(client: FlaskClient) -> None:
    for headers in ({"If-Match": "*"}, {"If-Match": TAG}, {"If-None-Match": "*"}, {"Range": "bytes=0-0"}):
        assert_problem(client.get("/v1/content/y", headers=headers), 404, "blob-not-found")
        assert_problem(client.delete("/v1/blobs/y", headers=headers), 404, "blob-not-found")


# --- Conditions on changes


def test_put_with_if_match_replaces_the_blob_that_it_names(client: FlaskClient) -> None:
    record = client.get("/v1/blobs/x").headers["ETag"]
    for tag in (TAG, None, "*", f'"other", {TAG}'):
        tag = tag or client.get("/v1/blobs/x").headers["ETag"]
        assert client.put("/v1/content/x", data=DATA, headers={"If-Match": tag}).status_code == 200
    assert_problem(
        client.put("/v1/content/x", data=b"", headers={"If-Match": record}), 412, "precondition-failed"
    )
    assert client.get("/v1/content/x").data == DATA


def test_put_on_another_or_no_blob_is_412_and_changes_nothing(client: FlaskClient) -> None:
    before = client.get("/v1/blobs").json
    for id, headers in (
        ("x", {"If-Match": OTHER}),
        ("x", {"If-Match": f"W/{TAG}"}),
        ("x", {"If-Match": ""}),
        ("x", {"If-Match": TAG, "If-None-Match": "*"}),
        ("x", {"If-Match": TAG, "If-None-Match": TAG}),
        ("x", {"If-None-Match": "*"}),
        ("x", {"If-None-Match": TAG}),
        ("x", {"If-Unmodified-Since": EARLIER}),
        ("y", {"If-Match": "*"}),
        ("y", {"If-Match": TAG}),
    ):
        answer = client.put(f"/v1/content/{id}", data=b"other", headers=headers)
        assert_problem(answer, 412, "precondition-failed")
    assert client.get("/v1/blobs").json == before


def test_put_without_if_match_never_replaces(client: FlaskClient) -> None:
    for headers in ({}, {"If-None-Match": OTHER}, {"If-Unmodified-Since": LATER}):
        assert_problem(client.put("/v1/content/x", data=b"other", headers=headers), 409, "blob-exists")
    assert client.get("/v1/content/x").data == DATA
    assert client.put("/v1/content/y", data=b"", headers={"If-None-Match": "*"}).status_code == 201


def test_of_many_who_put_only_if_there_is_none_one_does(any_app: Flask) -> None:
    clients = 6
    for number in range(5):
        start = Barrier(clients)

        def put(who: int, id: str = f"x{number}", start: Barrier = start) -> int:
            start.wait(30)
            headers = BEARER | {"If-None-Match": "*"}
            answer = any_app.test_client().put(f"/v1/content/{id}", data=bytes([who]), headers=headers)
            return answer.status_code

        with ThreadPoolExecutor(clients) as threads:
            assert sorted(threads.map(put, range(clients))) == [201] + [412] * (clients - 1)


def test_delete_asks_the_conditions_too(client: FlaskClient) -> None:
    for headers in (
        {"If-Match": OTHER},
        {"If-Unmodified-Since": EARLIER},
        {"If-None-Match": TAG},
        {"If-None-Match": "*"},
        {"If-Match": TAG, "If-None-Match": TAG},
    ):
        assert_problem(client.delete("/v1/blobs/x", headers=headers), 412, "precondition-failed")
    for headers in ({"If-Match": TAG}, {"If-Unmodified-Since": SAME}, {"If-None-Match": OTHER}):
        assert client.delete("/v1/blobs/x", headers=headers).status_code == 204
        assert client.put("/v1/content/x", data=DATA).status_code == 201
        # The new one is as old as the first.
        parts: Parts = client.application.extensions["simpledrive"]
        parts.database.write(lambda session: session.query(Blob).update({"updated_at": MODIFIED}))


# --- Ranges


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("bytes=0-0", "0-0"),
        ("bytes=0-4", "0-4"),
        ("bytes=5-9", "5-9"),
        ("bytes=9-9", "9-9"),
        ("bytes=5-", "5-9"),
        ("bytes=0-", "0-9"),
        ("bytes=5-99", "5-9"),
        ("bytes=0-" + "9" * 500, "0-9"),
        ("bytes=-1", "9-9"),
        ("bytes=-10", "0-9"),
        ("bytes=-99", "0-9"),
        ("BYTES=2-3", "2-3"),
        ("bytes= 2-3 ", "2-3"),
        ("bytes=2-3,", "2-3"),
        ("bytes=, ,2-3", "2-3"),
        ("bytes=00002-00003", "2-3"),
    ],
)
def test_a_range_is_206(client: FlaskClient, wanted: str, expected: str) -> None:
    answer = get(client, Range=wanted)
    first, last = map(int, expected.split("-"))
    assert answer.status_code == 206
    assert answer.headers["Content-Range"] == f"bytes {expected}/10"
    assert answer.data == DATA[first : last + 1]
    assert answer.headers["Content-Length"] == str(len(answer.data))
    whole = get(client)
    for name in (
        "ETag",
        "Last-Modified",
        "Content-Type",
        "Repr-Digest",
        "Content-Disposition",
        "Cache-Control",
    ):
        assert answer.headers[name] == whole.headers[name]


@pytest.mark.parametrize(
    "wanted", ["bytes=10-", "bytes=10-10", "bytes=99-100", "bytes=-0", "bytes=" + "9" * 500 + "-"]
)
def test_a_range_past_the_end_is_416(client: FlaskClient, wanted: str) -> None:
    answer = get(client, Range=wanted)
    assert_problem(answer, 416, "range-not-satisfiable")
    assert answer.headers["Content-Range"] == "bytes */10"


@pytest.mark.parametrize(
    "wanted",
    [
        "",
        "bytes",
        "bytes=",
        "bytes=-",
        "bytes=--1",
        "bytes=a-b",
        "bytes=1-2-3",
        "bytes=+1-2",
        "bytes=1.0-2",
        "bytes=0x1-2",
        "bytes=5-4",
        "bytes=99-98",
        "bytes:0-1",
        "bytes 0-1",
        "bytes=0 1",
        "0-1",
        "lines=0-1",
        "bytes=\xb2-",
        "bytes=0-1,3-4",
        "bytes=0-1,-1",
        "bytes=99-,100-",
        "bytes=" + ",".join(["0-"] * 1000),
        "bytes=" + "9" * 5000 + "-",
    ],
    ids=lambda wanted: wanted[:20],
)
def test_several_ranges_and_what_is_no_range_get_the_whole(client: FlaskClient, wanted: str) -> None:
    answer = get(client, Range=wanted)
    assert (answer.status_code, answer.data) == (200, DATA)
    assert "Content-Range" not in answer.headers


def test_an_empty_blob_has_no_ranges(client: FlaskClient) -> None:
    for wanted in ("bytes=0-", "bytes=0-0", "bytes=5-9", "bytes=-0"):
        answer = get(client, "/v1/content/empty", Range=wanted)
        assert_problem(answer, 416, "range-not-satisfiable")
        assert answer.headers["Content-Range"] == "bytes */0"
    answer = get(client, "/v1/content/empty", Range="bytes=-5")
    assert (answer.status_code, answer.data, answer.headers["Content-Length"]) == (200, b"", "0")


def test_head_ignores_ranges(client: FlaskClient) -> None:
    for wanted in ("bytes=0-1", "bytes=99-"):
        answer = client.head("/v1/content/x", headers={"Range": wanted})
        assert (answer.status_code, answer.headers["Content-Length"], answer.data) == (200, "10", b"")


def test_a_record_ignores_ranges(client: FlaskClient) -> None:
    assert get(client, "/v1/blobs/x", Range="bytes=0-1").status_code == 200


@pytest.mark.parametrize("validator", [TAG, ""], ids=["tag", "empty"])
def test_if_range_allows_a_part_of_what_the_caller_has(client: FlaskClient, validator: str) -> None:
    assert get(client, Range="bytes=2-3", If_Range=validator).data == b"23"
    assert get(client, Range="bytes=99-", If_Range=validator).status_code == 416


@pytest.mark.parametrize(
    "validator",
    [OTHER, f"W/{TAG}", TAG.strip('"'), f"{TAG}, {OTHER}", "*", EARLIER, SAME, LATER, *NO_DATES[1:]],
)
def test_if_range_of_another_version_gets_the_whole(client: FlaskClient, validator: str) -> None:
    for wanted in ("bytes=2-3", "bytes=99-"):
        answer = get(client, Range=wanted, If_Range=validator)
        assert (answer.status_code, answer.data) == (200, DATA)


def test_a_resumed_download_never_mixes_two_versions(client: FlaskClient) -> None:
    first = get(client, Range="bytes=0-4")
    client.put("/v1/content/x", data=b"abcdefghij", headers={"If-Match": TAG})
    rest = get(client, Range="bytes=5-", If_Range=first.headers["ETag"])
    assert (rest.status_code, rest.data) == (200, b"abcdefghij")


@pytest.mark.parametrize("backend", ["local", "database"])
def test_ranges_of_a_large_blob_are_exact_around_its_pieces(api: FlaskClient, backend: str) -> None:
    data = content(5 * LEAF + 7)
    assert api.put(f"/v1/content/x?storage_backend={backend}", data=data).status_code == 201
    edges = [0, 1, LEAF - 1, LEAF, LEAF + 1, 4 * LEAF - 1, 4 * LEAF, 5 * LEAF, 5 * LEAF + 6]
    for first in edges:
        for last in edges:
            if first <= last:
                assert get(api, Range=f"bytes={first}-{last}").data == data[first : last + 1]
        assert get(api, Range=f"bytes={first}-").data == data[first:]
        assert get(api, Range=f"bytes=-{first + 1}").data == data[-first - 1 :]


def test_a_small_range_of_a_large_blob_reads_little(
    api: FlaskClient, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.put("/v1/content/x", data=content(8 * LEAF))
    storage = parts.backends.use("local")
    opened: list[tuple[int, int | None]] = []
    original = storage.open

    def spy(key: str, start: int = 0, stop: int | None = None) -> object:
        opened.append((start, stop))
        return original(key, start, stop)

    monkeypatch.setattr(storage, "open", spy)
    assert get(api, Range=f"bytes={5 * LEAF + 3}-{5 * LEAF + 3}").status_code == 206
    assert opened == [(5 * LEAF, 6 * LEAF)]
