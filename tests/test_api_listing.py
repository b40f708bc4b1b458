"""GET /v1/blobs: pages by keyset, stable while blobs come and go."""

import json
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from itertools import chain
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from simpledrive.errors import Invalid
from simpledrive.http.connection import PORTION
from simpledrive.ids import after_prefix
from simpledrive.listing import FolderPage
from simpledrive.parts import Parts
from simpledrive.rights import SERVER, Caller
from tests.apps import BEARER
from tests.problems import assert_problem


@pytest.fixture
def client(any_app: Flask) -> FlaskClient:
    """A client on each database."""
    client = any_app.test_client()
    client.environ_base["HTTP_AUTHORIZATION"] = BEARER["Authorization"]
    return client


def store(client: FlaskClient, *ids: str) -> None:
    for id in ids:
        assert client.put(f"/v1/content/{quote(id)}", data=b"x").status_code == 201


def page(client: FlaskClient, **query: object) -> TestResponse:
    answer = client.get("/v1/blobs", query_string=query)
    assert answer.status_code == 200
    return answer


def ids(answer: TestResponse) -> list[str]:
    return [item["id"] for item in answer.json["items"]]


def walk(client: FlaskClient, **query: object) -> Iterator[list[str]]:
    answer = page(client, **query)
    yield ids(answer)
    for _ in range(100):
        if (cursor := answer.json["next_cursor"]) is None:
            return
        answer = page(client, **query, cursor=cursor)
        yield ids(answer)
    raise AssertionError("a listing without an end")


def test_an_empty_drive_has_an_empty_page(client: FlaskClient) -> None:
    for path in ("/v1/blobs", "/v1/blobs/"):
        answer = client.get(path)
        assert answer.json == {"items": [], "prefixes": [], "next_cursor": None}
        assert "Link" not in answer.headers
        assert answer.headers["Cache-Control"] == "private, no-cache"


def test_items_are_records_without_bytes(client: FlaskClient) -> None:
    stored = client.post("/v1/blobs", json={"id": "x", "data": "QQ==", "metadata": {"a": "b"}}).json
    assert page(client).json["items"] == [stored]


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 8, 100, 1000])
def test_pages_of_any_size_show_everything_once_in_order(api: FlaskClient, limit: int) -> None:
    names = ["", "a", "b/", "b/c", "B", "ü", "\uffff", "\U00010000"]
    stored = [f"x{name}" for name in names]
    store(api, *stored)
    pages = list(walk(api, limit=limit))
    assert list(chain(*pages)) == sorted(stored)
    assert all(len(part) == limit for part in pages[:-1])
    assert pages[-1]


def test_the_link_to_the_next_page_leads_there(client: FlaskClient) -> None:
    store(client, *(f"a&b=c d/{n}%ü" for n in range(5)), "other")
    answer = page(client, prefix="a&b=c d/", limit=2)
    seen = [ids(answer)]
    while "Link" in answer.headers:
        target, _, relation = answer.headers["Link"].partition(">; ")
        assert relation == 'rel="next"'
        assert parse_qs(urlsplit(target[1:]).query)["cursor"] == [answer.json["next_cursor"]]
        answer = client.get(target[1:])
        seen.append(ids(answer))
    assert [len(part) for part in seen] == [2, 2, 1]
    assert answer.json["next_cursor"] is None


PREFIXED = [
    "100%",
    "100%/a",
    "100x",
    "a",
    "a/",
    "a/b",
    "a_b",
    "aXb",
    "b",
    "e\u0301",
    "\u00e9",
    "[a]",
    "*",
    "?",
    "\ud7ff",
    "\ud7ff1",
    "\ue000",
    "\uffff",
    "\uffff\uffff",
    "\U0010ffff",
    "\U0010ffffa",
    "\U0010ffff\U0010ffff",
    "\U0010ffff\U0010ffff1",
    "a\U0010ffff",
    "a\U0010ffffz",
    "A",
    "'; DROP TABLE blob_metadata; --",
]


def test_a_prefix_means_its_characters_and_nothing_else(client: FlaskClient) -> None:
    store(client, *PREFIXED)
    for prefix in [*PREFIXED, "", "%", "_", "a_", "a%", "10", "nothing", "e", "\\", "'"]:
        expected = sorted(id for id in PREFIXED if id.startswith(prefix))
        assert ids(page(client, prefix=prefix)) == expected
        assert list(chain(*walk(client, prefix=prefix, limit=1))) == expected
    assert ids(page(client, prefix="x" * 5000)) == []


@pytest.mark.parametrize(
    ("prefix", "end"),
    [
        ("a", "b"),
        ("a/", "a0"),
        ("\ud7ff", "\ue000"),
        ("\uffff", "\U00010000"),
        ("a\U0010ffff", "b"),
        ("a\U0010ffff\U0010ffff", "b"),
        ("\U0010ffff", None),
        ("", None),
    ],
)
def test_what_follows_a_prefix(prefix: str, end: str | None) -> None:
    assert after_prefix(prefix) == end


def test_a_listing_is_stable_while_blobs_come_and_go(client: FlaskClient) -> None:
    stays = [f"k{n:02}" for n in range(0, 40, 2)]
    store(client, *stays, "k05", "k11")
    seen: list[str] = []
    for number, part in enumerate(walk(client, limit=3)):
        seen += part
        last = part[-1]
        store(client, f"{last}-new{number}", f"j{number}")
        if number == 0:
            for gone in ("k05", "k11"):
                client.delete(f"/v1/blobs/{gone}")
        if last in ("k05", "k11") or "-new" in last:
            client.delete(f"/v1/blobs/{last}")  # the very blob that the cursor names
    assert len(seen) == len(set(seen))
    assert [id for id in seen if id in stays] == stays


def test_the_blob_that_a_cursor_names_may_be_gone(client: FlaskClient) -> None:
    store(client, "a", "b", "c", "d")
    first = page(client, limit=2)
    client.delete("/v1/blobs/b")
    assert ids(page(client, limit=2, cursor=first.json["next_cursor"])) == ["c", "d"]


def test_cursors_carry_ids_of_every_kind(client: FlaskClient) -> None:
    odd = sorted(["😀" * 1024, "/", "//", "ÿÿÿ?>", " ", "+", "~~~"])
    store(client, *odd)
    assert list(chain(*walk(client, limit=1))) == odd


@pytest.mark.parametrize(
    "limit", ["0", "-1", "1001", "abc", "", " 1", "1.5", "1e2", "٣", "9" * 5000, "+5", "0x10"]
)
def test_a_limit_out_of_range_is_422(api: FlaskClient, limit: str) -> None:
    assert_problem(api.get("/v1/blobs", query_string={"limit": limit}), 422, "invalid", "limit")


def broken(text: bytes) -> str:
    return urlsafe_b64encode(text).decode()


BROKEN_CURSORS = [
    "!!!!",
    "YQ",
    "YQ===",
    "YQ= =",
    "é",
    "a",
    "\n",
    broken(b"\xff\xfe"),
    broken(b"\xed\xa0\x80"),
    broken(b"a\0b"),
    broken(b".."),
    broken(b"x" * 2000),
    "YQ==" * 1000,
]


def test_a_cursor_that_no_page_named_is_422(client: FlaskClient) -> None:
    for cursor in BROKEN_CURSORS:
        answer = client.get("/v1/blobs", query_string={"cursor": cursor})
        assert_problem(answer, 422, "invalid", "cursor")


def test_a_folder_is_as_strict_about_cursors_and_paths(any_parts: Parts) -> None:
    for cursor in BROKEN_CURSORS:
        with pytest.raises(Invalid, match="cursor"):
            any_parts.listing.folder(SERVER, "", [], cursor)
    for path in ("\0/", "a\0/", "\x85/"):
        assert any_parts.listing.folder(SERVER, path, []) == FolderPage([], [], None)


def test_an_empty_cursor_is_the_first_page(api: FlaskClient) -> None:
    store(api, "a")
    assert ids(page(api, cursor="")) == ["a"]


def test_a_prefix_with_control_characters_finds_nothing(client: FlaskClient) -> None:
    store(client, "a")
    for prefix in ("\0", "a\0", "\n", "\x7f", "\x85"):
        assert page(client, prefix=prefix).json == {"items": [], "prefixes": [], "next_cursor": None}


def test_head_of_a_listing_has_its_headers(api: FlaskClient) -> None:
    store(api, "a", "b")
    got, head = api.get("/v1/blobs?limit=1"), api.head("/v1/blobs?limit=1")
    assert (head.status_code, head.data) == (200, b"")
    assert head.headers["Link"] == got.headers["Link"]
    assert head.headers["Content-Length"] == got.headers["Content-Length"]


def test_a_caller_sees_no_more_than_his_prefix(parts: Parts, api: FlaskClient) -> None:
    store(api, "a", "mine/", "mine/a", "mine/b/c", "mine0", "other")
    confined = Caller("somebody", "", SERVER.scopes, prefix="mine/")

    def listed(prefix: str) -> list[str]:
        return [blob.id for blob in parts.listing.page(confined, prefix).blobs]

    assert listed("") == listed("m") == listed("mine/") == ["mine/", "mine/a", "mine/b/c"]
    assert listed("mine/b") == ["mine/b/c"]
    assert listed("other") == listed("mine0") == listed("n") == []


def test_a_long_page_is_sent_in_portions_that_a_slow_client_can_take_in_time(api: FlaskClient) -> None:
    store(api, *(f"{number}" + "😀" * 1000 for number in range(15)))
    answer = page(api)
    sent = list(answer.iter_encoded())
    assert len(b"".join(sent)) == answer.content_length > PORTION
    assert max(map(len, sent)) == PORTION


def test_a_page_is_ascii_json_whatever_the_ids(api: FlaskClient) -> None:
    store(api, "ü\u2028</script>")
    answer = page(api)
    assert answer.data.isascii()
    assert json.loads(answer.data)["items"][0]["id"] == "ü\u2028</script>"
