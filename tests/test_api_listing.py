"""GET /v1/blobs: pages by keyset, stable while blobs come and go."""

import json
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from itertools import chain
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import event
from werkzeug.test import TestResponse

from simpledrive.errors import Invalid
from simpledrive.http.connection import PORTION
from simpledrive.ids import after_prefix
from simpledrive.listing import Filter, FolderPage
from simpledrive.parts import Parts
from simpledrive.rights import SERVER, Caller
from tests.apps import BEARER
from tests.drives import digest_of, keep
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
    "limit", ["0", "-1", "1001", "abc", " 1", "1.5", "1e2", "٣", "9" * 5000, "+5", "0x10"]
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
        return [blob.id for blob in parts.listing.page(confined, Filter(prefix)).blobs]

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


# --- Filters


def keep_assorted(client: FlaskClient) -> None:
    for id, data, kind in (
        ("docs/plan.txt", b"a plan", "text/plain; charset=utf-8"),
        ("docs/Photo.PNG", b"12345678", "image/png"),
        ("music/song.mp3", b"", "audio/mpeg"),
        ("100%_sure.txt", b"abc", "text/plain"),
    ):
        answer = client.put(f"/v1/content/{quote(id)}", data=data, content_type=kind)
        assert answer.status_code == 201
    assert client.patch("/v1/blobs/music/song.mp3", json={"filename": "Näkki.mp3"}).status_code == 200
    assert client.patch("/v1/blobs/docs/plan.txt", json={"storage_backend": "database"}).status_code == 200


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"q": "PLAN"}, ["docs/plan.txt"]),
        ({"q": "photo.png"}, ["docs/Photo.PNG"]),
        ({"q": "kki.m"}, ["music/song.mp3"]),
        ({"q": "%_s"}, ["100%_sure.txt"]),
        ({"q": "l_n"}, []),
        ({"q": "a\x00"}, []),
        ({"storage_backend": "database"}, ["docs/plan.txt"]),
        ({"storage_backend": "nowhere"}, []),
        ({"content_type": "text/plain"}, ["100%_sure.txt", "docs/plan.txt"]),
        ({"content_type": "TEXT/"}, ["100%_sure.txt", "docs/plan.txt"]),
        ({"content_type": "text/plai"}, []),
        ({"content_type": "image/"}, ["docs/Photo.PNG"]),
        ({"content_type": "Image/*"}, ["docs/Photo.PNG"]),
        ({"sha256": digest_of(b"abc").upper()}, ["100%_sure.txt"]),
        ({"min_size": 6}, ["docs/Photo.PNG", "docs/plan.txt"]),
        ({"min_size": 3, "max_size": 6}, ["100%_sure.txt", "docs/plan.txt"]),
        ({"max_size": 0}, ["music/song.mp3"]),
        ({"created_after": "2000-01-01T00:00:00Z", "prefix": "music/"}, ["music/song.mp3"]),
        ({"created_after": "2999-01-01"}, []),
        ({"created_before": "2000-01-01T00:00:00+05:00"}, []),
        ({"created_before": "2999-01-01T00:00:00 01:00", "q": "plan"}, ["docs/plan.txt"]),
        ({"q": "", "min_size": "", "limit": "", "max_size": 3}, ["100%_sure.txt", "music/song.mp3"]),
    ],
)  # fmt: skip
def test_a_filter_finds_what_it_says(
    client: FlaskClient, query: dict[str, object], expected: list[str]
) -> None:
    keep_assorted(client)
    assert ids(page(client, **query)) == expected
    one_by_one = chain.from_iterable(walk(client, **query | {"limit": 1}))
    assert list(one_by_one) == expected


@pytest.mark.parametrize(
    ("query", "fields"),
    [
        ({"min_size": "many"}, ["min_size"]),
        ({"min_size": "-1", "max_size": "1" * 30}, ["min_size", "max_size"]),
        ({"created_after": "yesterday"}, ["created_after"]),
        ({"created_before": "0001-01-01T00:00:00+14:00"}, ["created_before"]),
        ({"delimiter": "-"}, ["delimiter"]),
        ({"limit": "0"}, ["limit"]),
    ],
)
def test_a_filter_that_cannot_be_read_is_422(
    client: FlaskClient, query: dict[str, str], fields: list[str]
) -> None:
    assert_problem(client.get("/v1/blobs", query_string=query), 422, "invalid", *fields)


# --- One level of folders


def level(client: FlaskClient, **query: object) -> tuple[list[str], list[str]]:
    answer = page(client, delimiter="/", **query)
    return ids(answer), answer.json["prefixes"]


def test_a_delimiter_gathers_what_lies_deeper(client: FlaskClient) -> None:
    store(client, "a", "b/1", "b/2", "b/c/3", "d", "e//f", "/lead", "/", "g/")
    assert level(client) == (["a", "d"], ["/", "b/", "e/", "g/"])
    assert level(client, prefix="b/") == (["b/1", "b/2"], ["b/c/"])
    assert level(client, prefix="b") == ([], ["b/"])
    assert level(client, prefix="e/") == ([], ["e//"])
    assert level(client, prefix="g/") == (["g/"], [])
    assert level(client, prefix="/") == (["/", "/lead"], [])
    assert level(client, prefix="nothing/") == ([], [])


def test_levels_come_in_pages_of_both(client: FlaskClient) -> None:
    store(client, "a", "b/1", "b/2", "c", "d/1", "d/2", "d/3", "e")
    seen: list[str] = []
    cursor = ""
    for size in (2, 2, 1):
        answer = page(client, delimiter="/", limit=2, cursor=cursor)
        assert len(answer.json["items"]) + len(answer.json["prefixes"]) == size
        seen += sorted(ids(answer) + answer.json["prefixes"])
        cursor = answer.json["next_cursor"]
    assert (seen, cursor) == (["a", "b/", "c", "d/", "e"], None)


def test_a_level_jumps_over_what_lies_in_its_folders(client: FlaskClient, any_app: Flask) -> None:
    store(client, *(f"{folder}/{number:03}" for folder in "abc" for number in range(30)), "z")
    statements: list[str] = []
    parts: Parts = any_app.extensions["simpledrive"]
    event.listen(parts.database.engine, "before_cursor_execute", lambda *a: statements.append(a[2]))
    assert level(client, limit=10) == (["z"], ["a/", "b/", "c/"])
    assert len([text for text in statements if "blob_metadata" in text]) == 5


def test_a_level_shows_only_folders_with_what_is_wanted(client: FlaskClient) -> None:
    keep_assorted(client)
    assert level(client, content_type="audio/") == ([], ["music/"])
    assert level(client, q="plan", limit=1) == ([], ["docs/"])


def test_a_level_ends_where_ids_end(client: FlaskClient) -> None:
    last = "\U0010ffff" * 3 + "/"
    store(client, "a", f"{last}x", f"{last}y")
    assert level(client, prefix="\U0010ffff" * 3) == ([], [last])
    assert level(client, limit=2) == (["a"], [last])
    cursor = urlsafe_b64encode(last.encode()).decode()
    assert level(client, cursor=cursor) == ([], [])


def test_a_confined_caller_sees_only_his_part_of_a_level(any_parts: Parts) -> None:
    for id in ("a/1", "b/1", "b/c/2", "d"):
        keep(any_parts, id, b"x")
    confined = Caller("c", "c", frozenset({"read"}), "b/")
    found = any_parts.listing.level(confined)
    assert ([blob.id for blob in found.blobs], found.prefixes) == ([], ["b/"])
    found = any_parts.listing.level(confined, Filter("b/"))
    assert ([blob.id for blob in found.blobs], found.prefixes) == (["b/1"], ["b/c/"])
