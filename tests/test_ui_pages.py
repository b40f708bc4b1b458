"""Every page of the HTML face and its states, as a browser without scripts gets them."""

import io
import re
from collections.abc import Callable
from contextvars import Context
from datetime import timedelta
from html import unescape
from urllib.parse import quote

import pytest
from flask import Flask
from sqlalchemy.orm import Session
from werkzeug.test import TestResponse

from simpledrive.drive import NewBlob
from simpledrive.errors import DatabaseUnavailable, StagingFull, StorageFull, StorageUnavailable
from simpledrive.keys import NewKey, rights_of
from simpledrive.models import BackendUsage, Replica, now
from simpledrive.parts import Parts
from simpledrive.rights import SERVER
from simpledrive.streams.staging import Incoming
from tests.apps import TOKEN
from tests.drives import fetch, keep
from tests.mirrored import catch_up
from tests.visitors import Visitor

HTMX = {"HX-Request": "true"}
PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c6360606060000000050001"
    "a5f645400000000049454e44ae426082"
)


@pytest.fixture
def stranger(app: Flask) -> Visitor:
    return Visitor(app)


@pytest.fixture
def any_visitor(any_app: Flask) -> Visitor:
    """Somebody signed in, with the records on each of the databases."""
    someone = Visitor(any_app)
    assert someone.sign_in().status_code == 303
    someone.get("/drive/files/")
    return someone


@pytest.fixture
def put(parts: Parts) -> Callable[..., None]:
    def store(id: str, data: bytes = b"some bytes", **described: object) -> None:
        parts.drive.store(SERVER, Incoming(io.BytesIO(data), len(data)), NewBlob(id=id, **described))

    return store


def words(response: TestResponse) -> str:
    """What can be read on a page."""
    text = re.sub(r"<(script|style|title).*?</\1>", "", response.text, flags=re.DOTALL)
    return unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", text)))


# --- The door


def test_everything_but_the_door_sends_strangers_to_it(app: Flask, stranger: Visitor) -> None:
    pages = [rule for rule in app.url_map.iter_rules() if rule.endpoint.startswith("ui.")]
    for rule in pages:
        if rule.endpoint in ("ui.door.form", "ui.door.enter"):
            continue
        url = re.sub(r"<[^>]+>", "x/" if "folder" in rule.rule else "x", rule.rule)
        for method in (rule.methods or set()) & {"GET", "POST"}:
            answer = stranger.client.open(url, method=method)
            assert answer.status_code == 303, (method, url)
            assert answer.headers["Location"].startswith("/drive/sign-in"), (method, url)


def test_both_short_addresses_lead_to_the_files(visitor: Visitor) -> None:
    for url in ("/", "/drive"):
        assert visitor.get(url).headers["Location"] == "/drive/files/"


def test_signing_in_leads_where_one_wanted_to_go(stranger: Visitor) -> None:
    door = stranger.get("/drive/blob/a%20b/%C3%BC?x=1").headers["Location"]
    page = stranger.get(door)
    wanted = unescape(re.search(r'name="next" value="([^"]*)"', page.text)[1])  # type: ignore[index]
    answer = stranger.post("/drive/sign-in", {"key": TOKEN, "next": wanted})
    assert (answer.status_code, answer.headers["Location"]) == (303, "/drive/blob/a%20b/%C3%BC?x=1")


@pytest.mark.parametrize(
    "elsewhere",
    [
        "https://evil.example/",
        "//evil.example/drive",
        "/\\evil.example",
        "/drive/\\evil.example",
        "/driveway",
        "javascript:alert(1)",
        "/drive/\n/evil.example",
        "drive/files",
    ],
)
def test_signing_in_leads_nowhere_else(stranger: Visitor, elsewhere: str) -> None:
    assert "evil" not in stranger.get("/drive/sign-in", query_string={"next": elsewhere}).text
    assert stranger.sign_in(next=elsewhere).headers["Location"] == "/drive/files/"


def test_a_wrong_key_is_refused_in_words(stranger: Visitor) -> None:
    answer = stranger.sign_in("wrong")
    assert answer.status_code == 401
    assert "not valid here" in words(answer)
    assert stranger.get("/drive/files/").status_code == 303


def test_signing_in_begins_a_new_session(app: Flask, stranger: Visitor) -> None:
    stranger.get("/drive/sign-in")
    with stranger.client.session_transaction() as session:
        session["planted"] = "by somebody else"
        before = session["csrf_token"]
    stranger.post("/drive/sign-in", {"key": TOKEN})
    with stranger.client.session_transaction() as session:
        assert "planted" not in session
        assert session.get("csrf_token") != before
        assert TOKEN not in str(dict(session))
        assert not session.permanent


def test_staying_signed_in_lasts_thirty_days(stranger: Visitor) -> None:
    cookie = stranger.sign_in(stay="1").headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    found = stranger.client.get_cookie("simpledrive")
    assert found is not None
    assert found.expires is not None
    assert timedelta(days=29) < found.expires - now() <= timedelta(days=30)


def test_signing_out_ends_the_session(visitor: Visitor) -> None:
    assert visitor.post("/drive/sign-out").headers["Location"] == "/drive/sign-in"
    assert visitor.get("/drive/files/").status_code == 303


def test_a_session_ends_with_its_key(make_app: Callable[..., Flask]) -> None:
    someone = Visitor(make_app())
    someone.sign_in()
    cookie = someone.client.get_cookie("simpledrive")
    assert cookie is not None
    later = make_app(api_token="another-token").test_client()
    later.set_cookie("simpledrive", cookie.value)
    assert later.get("/drive/files/").status_code == 303


def test_htmx_is_told_to_go_to_the_door(stranger: Visitor) -> None:
    answer = stranger.get("/drive/files/a/", headers=HTMX)
    assert answer.headers["HX-Redirect"] == "/drive/sign-in?next=/drive/files/a/"
    assert answer.text == ""


# --- Forms


@pytest.mark.parametrize(
    "url",
    [
        "/drive/sign-in",
        "/drive/sign-out",
        "/drive/upload",
        "/drive/delete",
        "/drive/restore",
        "/drive/settings/theme",
    ],
)
def test_forms_without_their_token_do_nothing(
    visitor: Visitor, put: Callable[..., None], parts: Parts, url: str
) -> None:
    put("x")
    fields = {"id": "x", "confirmed": "1", "key": TOKEN}
    for token in ({}, {"csrf_token": "made up"}):
        file = {} if url == "/drive/sign-in" else {"file": (io.BytesIO(b"new"), "new.txt")}
        answer = visitor.client.post(url, data=fields | token | file)
        assert answer.status_code == 400, url
        assert "no longer valid" in answer.text
    assert [blob.id for blob in parts.listing.page(SERVER).blobs] == ["x"]
    assert visitor.get("/drive/files/").status_code == 200


def test_the_body_of_a_stranger_is_not_read(app: Flask, stranger: Visitor) -> None:
    class Untouched(io.BytesIO):
        def read(self, *_: object) -> bytes:
            raise AssertionError("read")

        readinto = read  # type: ignore[assignment]

    answer = stranger.client.post(
        "/drive/upload",
        input_stream=Untouched(),
        content_length=100,
        content_type="multipart/form-data; boundary=x",
    )
    assert answer.status_code == 303


class Endless(io.RawIOBase):
    """A body in chunks that begins like this and goes on until it is 64 MiB long."""

    def __init__(self, beginning: bytes) -> None:
        self._beginning = beginning
        self.taken = 0

    def read(self, size: int = -1, /) -> bytes:
        portion = self._beginning[self.taken :][:size] or bytes(max(0, min(size, (64 << 20) - self.taken)))
        self.taken += len(portion)
        return portion

    def seek(self, *_: int) -> int:
        return 0  # the test client asks for the length, which is not told

    tell = seek


BEGINNINGS = {
    "application/x-www-form-urlencoded": b"key=",
    "multipart/form-data; boundary=B": b'--B\r\nContent-Disposition: form-data; name="key"\r\n\r\n',
}


def send_endless(who: Visitor, url: str, kind: str, beginning: bytes) -> tuple[TestResponse, int]:
    body = Endless(beginning)
    answer = Context().run(
        who.client.post,
        url,
        input_stream=body,
        content_type=kind,
        environ_overrides={"wsgi.input_terminated": True, "HTTP_TRANSFER_ENCODING": "chunked"},
    )
    return answer, body.taken


@pytest.mark.parametrize("kind", BEGINNINGS)
def test_no_more_than_a_small_form_of_a_stranger_is_read(stranger: Visitor, kind: str) -> None:
    answer, taken = send_endless(stranger, "/drive/sign-in", kind, BEGINNINGS[kind])
    assert answer.status_code == 413
    assert "at most 65536 bytes" in words(answer)
    assert taken < 1 << 20


def test_no_file_of_a_stranger_is_received(
    stranger: Visitor, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("received")

    monkeypatch.setattr(type(parts.staging), "begin", refuse)
    for size in (1, 100_000):
        answer = stranger.post("/drive/sign-in", {"file": (io.BytesIO(bytes(size)), "x")})
        assert answer.status_code == (401 if size == 1 else 413)


def test_a_form_without_files_has_a_limit_for_everybody(visitor: Visitor) -> None:
    kind = "application/x-www-form-urlencoded"
    answer, taken = send_endless(visitor, "/drive/delete", kind, BEGINNINGS[kind])
    assert answer.status_code == 413
    assert taken < 8 << 20


# --- Every page


def pages(put: Callable[..., None]) -> list[str]:
    put("a/text.txt", b"one\ntwo\n")
    put("a/picture.png", PIXEL)
    put("a/b/deep", b"deep")
    return [
        "/drive/files/",
        "/drive/files/a/",
        "/drive/files/empty/",
        "/drive/blob/a/text.txt",
        "/drive/blob/a/picture.png",
        "/drive/blob/a/b/deep",
        "/drive/blob/nothing",
        "/drive/nowhere",
        "/drive/sign-in",
    ]


def test_pages_are_strict_private_and_run_nothing_inline(visitor: Visitor, put: Callable[..., None]) -> None:
    for url in pages(put):
        answer = visitor.get(url)
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert (
            answer.headers["Cache-Control"] == "private, no-store"
            if answer.status_code == 200
            else "no-store"
        )
        assert "HX-Request" in answer.headers["Vary"]
        assert not re.search(
            r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)|javascript:|https?://", answer.text
        ), url


def test_a_fragment_is_a_part_of_its_page(visitor: Visitor, put: Callable[..., None]) -> None:
    def without_tokens(text: str) -> str:
        return re.sub(r'(name="csrf_token" value=)"[^"]+"|<code>[0-9a-f-]{36}</code>', r"\1", text)

    for url in pages(put)[:-1]:
        page = without_tokens(visitor.get(url).text)
        fragment = without_tokens(visitor.get(url, headers=HTMX).text)
        assert "<!doctype" not in fragment
        for part in (
            r"<title>.*?</title>",
            r"<main .*?</main>",
            r'<nav class="nav" id="usage".*?</nav>',
            r'<nav class="tabs".*?</nav>',
        ):
            found = re.findall(part, fragment, re.DOTALL)
            assert found == re.findall(part, page, re.DOTALL), url
        assert re.sub(r"<(title|main|nav).*?</\1>", "", fragment, flags=re.DOTALL).strip() == ""


def test_restoring_from_history_gets_a_whole_page(visitor: Visitor) -> None:
    answer = visitor.get("/drive/files/", headers=HTMX | {"HX-History-Restore-Request": "true"})
    assert answer.text.startswith("<!doctype html>")


def test_static_files_are_kept_for_ever_under_their_version(visitor: Visitor) -> None:
    page = visitor.get("/drive/files/").text
    found = set(re.findall(r'(?:href|src)="(/static/[^"#]+)', page))
    assert {url.partition("?")[0].rpartition("/")[2] for url in found} >= {
        "app.css",
        "app.js",
        "icons.svg",
        "htmx-4.0.1.min.js",
    }
    for url in found:
        answer = visitor.client.get(unescape(url), buffered=True)
        assert answer.status_code == 200, url
        assert "immutable" in answer.headers["Cache-Control"], url
    assert "immutable" not in visitor.client.get("/static/app.css?v=other", buffered=True).headers.get(
        "Cache-Control", ""
    )


def test_every_icon_that_is_used_exists(visitor: Visitor, put: Callable[..., None]) -> None:
    known = set(
        re.findall(r'symbol id="([^"]+)"', visitor.client.get("/static/icons.svg", buffered=True).text)
    )
    for url in pages(put):
        assert set(re.findall(r"icons\.svg\?v=\w+#([\w-]+)", visitor.get(url).text)) <= known, url


def test_colours_are_kept_in_a_cookie_and_lead_back(visitor: Visitor) -> None:
    visitor.get("/drive/files/")
    answer = visitor.post(
        "/drive/settings/theme",
        {"theme": "dark"},
        headers={"Referer": "http://localhost/drive/files/a/?after=eA"},
    )
    assert answer.headers["Location"] == "/drive/files/a/?after=eA"
    assert '<html lang="en" data-theme="dark">' in visitor.get("/drive/files/").text
    answer = visitor.post(
        "/drive/settings/theme", {"theme": '"><script>'}, headers={"Referer": "http://evil.example/drive/x"}
    )
    assert answer.headers["Location"] == "/drive/files/"
    assert "data-theme" not in visitor.get("/drive/files/").text


# --- Folders


def test_a_folder_shows_folders_first_and_then_files(visitor: Visitor, put: Callable[..., None]) -> None:
    put("z/one.txt")
    put("a.txt", b"x" * 2048, storage_backend="database")
    put("z/sub/two.txt", storage_backend="database")
    page = words(visitor.get("/drive/files/"))
    assert page.index("Files in it live on local, database") < page.index("a.txt")
    assert "Home database, no copy, not read back yet" in page
    assert "2.0 KiB" in page
    assert "1 folder, 1 file, by name" in page
    inside = visitor.get("/drive/files/z/")
    assert "one.txt" in words(inside)
    assert 'href="/drive/files/z/sub/"' in inside.text
    assert 'href="/drive/blob/z/one.txt"' in inside.text


def test_a_folder_without_its_slash_is_found(visitor: Visitor) -> None:
    assert visitor.get("/drive/files/a%20b").headers["Location"] == "/drive/files/a%20b/"


def test_an_empty_folder_says_what_ends_that(visitor: Visitor) -> None:
    page = visitor.get("/drive/files/plans/")
    assert "Nothing in plans yet" in words(page)
    assert 'type="file"' in page.text


def test_long_folders_go_on_by_a_cursor(
    visitor: Visitor, put: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("simpledrive.ui.files.PAGE", 3)
    ids = ["f/a/1", "f/b/1", "f/c", "f/d", "f/e?&ü", "f/g", "f/h"]
    for id in ids:
        put(id)
    seen: list[str] = []
    url = "/drive/files/f/"
    while url:
        page = visitor.get(url).text
        seen += re.findall(r'href="/drive/(?:blob|files)/([^"#]+)"><bdi', page)
        following = re.search(r'href="([^"]+)" hx-target="#rows"', page)
        url = unescape(following[1]) if following else ""
    crumbs = {"f/"}
    assert [id for id in seen if id not in crumbs] == ["f/a/", "f/b/", *(quote(id) for id in ids[2:])]


@pytest.mark.parametrize("cursor", ["*", "a", "_w", "YQBi"])
def test_a_broken_cursor_is_an_error_in_words(any_visitor: Visitor, cursor: str) -> None:
    answer = any_visitor.get(f"/drive/files/?cursor={cursor}")
    assert answer.status_code == 422
    assert "not a cursor that a page named" in words(answer)


def test_a_folder_with_control_characters_is_merely_empty(any_visitor: Visitor) -> None:
    assert any_visitor.get("/drive/files/a%00b/").status_code == 200
    assert any_visitor.post("/drive/delete", {"folder": "a\0b"}).status_code == 303
    answer = any_visitor.upload((b"x", "x.txt"), folder="a\0b")
    assert answer.status_code == 422
    assert "control character U+0000" in words(answer)


def test_a_file_name_that_the_id_does_not_say_is_shown(visitor: Visitor, put: Callable[..., None]) -> None:
    put("0197a3c2", filename="cat.png")
    assert "cat.png" in words(visitor.get("/drive/files/"))
    assert "File name cat.png" in words(visitor.get("/drive/blob/0197a3c2")).replace(
        "File namecat", "File name cat"
    )


def test_a_backend_that_is_gone_is_told(visitor: Visitor, put: Callable[..., None], parts: Parts) -> None:
    put("x")
    parts.database.write(_count)
    assert "old-nas gone, 1.0 KiB" in words(visitor.get("/drive/files/"))


def _count(session: Session) -> None:
    session.add(BackendUsage(storage_backend="old-nas", shard=0, replicas=1, bytes=1024))


HOSTILE = [
    "<script>alert(1)</script>.html",
    '"><img src=x onerror=alert(1)>.png',
    "' onmouseover='alert(1)",
    "{{ 7 * 191 }}{% raw %}",
    "javascript:alert(1)",
    "a&lt;b&#x27;",
    "folder<b>/x",
    "/lead//double",
    "?query#hash%2F",
    "\u202egnp.exe",
    "back\\slash",
]


def test_hostile_names_are_text_everywhere(visitor: Visitor, put: Callable[..., None]) -> None:
    for id in HOSTILE:
        put(id, metadata={"<b>key": "<i>value"})
    found: set[str] = set()
    for folder in ["", "<script>alert(1)</", "folder<b>/", "/", "/lead/", "/lead//"]:
        page = visitor.get(f"/drive/files/{quote(folder)}")
        assert page.status_code == 200
        assert not re.search(r"<script>|<img|<b>/|<b>key|onmouseover='|1337", page.text.replace("%3C", "")), (
            folder
        )
        found |= {unescape(id) for id in re.findall(r'name="id" value="([^"]*)"', page.text)}
    assert found == set(HOSTILE)
    for id in HOSTILE:
        page = visitor.get(f"/drive/blob/{quote(id)}")
        assert page.status_code == 200, id
        assert not re.search(r"<script>|<img src=x|<b>|<i>|onmouseover='", page.text), id
        assert id in words(page)


# --- A blob


def test_a_blob_page_says_where_the_bytes_are(
    visitor: Visitor, put: Callable[..., None], parts: Parts
) -> None:
    put("a/plan.pdf", b"%PDF", storage_backend="database", metadata={"camera": "GFX"})
    blob = parts.drive.describe(SERVER, "a/plan.pdf")
    [replica] = parts.drive.copies_of(SERVER, [blob])[blob.id]

    def also(session: Session) -> None:
        common = {"sha256": blob.sha256, "size": blob.size, "pieces": b"", "created_at": now()}
        session.add(
            Replica(storage_backend="local", storage_key="k" * 80, verified_at=now(), bad_at=now(), **common)
        )
        session.add(Replica(storage_backend="old-nas", storage_key="o" * 80, retired_at=now(), **common))

    parts.database.write(also)
    page = visitor.get("/drive/blob/a/plan.pdf")
    text = words(page)
    assert "1 of 2 copies is bad" in text
    assert "database · home" in text
    assert "local · copy" in text
    assert "Its bytes were wrong" in text
    assert "old-nas · left behind" in text
    assert " ".join(blob.sha256[at : at + 8] for at in range(0, 64, 8)) in text
    assert f"{replica.storage_key[:8]}….{replica.storage_key[-10:]}" in text
    assert "application/pdf" in text
    assert "GFX" in text
    assert "No preview" in text
    assert "trash for 90 days" in text
    assert 'href="/drive/content/a/plan.pdf?download=1"' in page.text


def test_a_blob_is_moved_from_its_page(visitor: Visitor, put: Callable[..., None], parts: Parts) -> None:
    put("a/plan ü.pdf", b"%PDF")
    url = "/drive/blob/a/plan%20%C3%BC.pdf"
    assert re.findall(r'<option value="([^"]+)">([^<]+)</option>', visitor.get(url).text) == [
        ("database", "database (Database)")
    ]
    answer = visitor.post("/drive/move", {"id": "a/plan ü.pdf", "storage_backend": "database"})
    assert (answer.status_code, answer.headers["Location"]) == (303, url)
    text = words(visitor.get(url))
    assert "Moved plan ü.pdf to database." in text
    assert "database · home Read back and equal" in text
    assert "local · left behind" in text
    assert fetch(parts, "a/plan ü.pdf") == b"%PDF"
    assert (
        visitor.post("/drive/move", {"id": "a/plan ü.pdf", "storage_backend": "nowhere"}).status_code == 422
    )
    assert visitor.post("/drive/move", {"id": "gone", "storage_backend": "local"}).status_code == 404
    assert parts.drive.describe(SERVER, "a/plan ü.pdf").storage_backend == "database"


def test_a_move_that_fails_is_told_and_changes_nothing(
    visitor: Visitor, put: Callable[..., None], parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    put("plan.pdf", b"%PDF")

    def full(*_: object) -> None:
        raise StorageFull("database", "put", "no room")

    monkeypatch.setattr(parts.backends.use("database"), "put", full)
    answer = visitor.post("/drive/move", {"id": "plan.pdf", "storage_backend": "database"})
    assert answer.status_code == 507
    assert "The backend database could not do it: no room" in words(answer)
    assert parts.drive.describe(SERVER, "plan.pdf").storage_backend == "local"


@pytest.mark.parametrize(
    "rights", [{"scopes": ["read"]}, {"backends": ["local"]}], ids=["readers", "confined"]
)
def test_who_may_not_move_a_blob_is_offered_no_way_and_has_none(
    app: Flask, parts: Parts, put: Callable[..., None], rights: dict[str, object]
) -> None:
    put("plan.pdf", b"%PDF")
    other = Visitor(app)
    assert other.sign_in(parts.keys.issue(SERVER, NewKey("other", **rights))[1]).status_code == 303
    assert "/drive/move" not in other.get("/drive/blob/plan.pdf").text
    assert other.post("/drive/move", {"id": "plan.pdf", "storage_backend": "database"}).status_code == 403
    assert parts.drive.describe(SERVER, "plan.pdf").storage_backend == "local"


def test_a_blob_page_names_the_mirrors_that_lack_it_unless_to_the_confined(
    make_mirrored: Callable[..., Flask],
) -> None:
    app = make_mirrored()
    parts: Parts = app.extensions["simpledrive"]
    keep(parts, "mine/a", b"bytes")
    whole, confined = Visitor(app), Visitor(app)
    whole.sign_in()
    confined.sign_in(parts.keys.issue(SERVER, NewKey("other", prefix="mine/"))[1])
    assert "archive · mirror Waits to be copied since" in words(whole.get("/drive/blob/mine/a"))
    assert "archive · mirror" not in words(confined.get("/drive/blob/mine/a"))
    catch_up(parts)
    text = words(whole.get("/drive/blob/mine/a"))
    assert "archive · copy Read back and equal" in text
    assert "Waits" not in text


def test_text_is_shown_escaped_in_numbered_lines(visitor: Visitor, put: Callable[..., None]) -> None:
    put("x.html", b"<b>bold</b>\r\n\x00\x1b[31m\xff\nlast", content_type="text/html")
    page = visitor.get("/drive/blob/x.html").text
    lines = re.findall(r"<li><code>(.*?)</code></li>", page)
    assert lines == ["&lt;b&gt;bold&lt;/b&gt;", "\u2400\u241b[31m\ufffd", "last"]
    assert "Preview, 3 lines" in page


def test_long_texts_show_their_beginning(visitor: Visitor, put: Callable[..., None]) -> None:
    put("wide.txt", b"x" * 100_000)
    assert "The first 1 line." in visitor.get("/drive/blob/wide.txt").text
    put("tall.txt", b"\n" * 10_000)
    assert "The first 2,000 lines." in visitor.get("/drive/blob/tall.txt").text


def test_pictures_are_shown_from_their_bytes_and_drawings_with_scripts_are_not(
    visitor: Visitor, put: Callable[..., None]
) -> None:
    put("p.png", PIXEL)
    put("p.svg", b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>")
    assert '<img src="/drive/content/p.png"' in visitor.get("/drive/blob/p.png").text
    page = visitor.get("/drive/blob/p.svg").text
    assert "<img" not in page
    assert "&lt;svg" in page


def test_lost_bytes_leave_the_page_standing(visitor: Visitor, put: Callable[..., None], parts: Parts) -> None:
    put("gone.txt")
    blob = parts.drive.describe(SERVER, "gone.txt")
    [replica] = parts.drive.copies_of(SERVER, [blob])[blob.id]
    parts.backends.use("local").delete(replica.storage_key)
    page = visitor.get("/drive/blob/gone.txt")
    assert page.status_code == 200
    assert "It cannot be shown now" in words(page)
    assert visitor.get("/drive/content/gone.txt").status_code == 500


def test_content_comes_as_it_was_stored_and_never_runs(visitor: Visitor, put: Callable[..., None]) -> None:
    put("evil.html", b"<script>alert(1)</script>", content_type="text/html")
    answer = visitor.get("/drive/content/evil.html")
    assert answer.data == b"<script>alert(1)</script>"
    assert "sandbox" in answer.headers["Content-Security-Policy"]
    assert answer.headers["Content-Disposition"].startswith("attachment")
    assert visitor.get("/drive/content/evil.html", headers={"Range": "bytes=1-6"}).data == b"script"
    assert visitor.get("/drive/content/none").status_code == 404


def test_a_blob_page_names_who_stored_it_to_those_who_may_know(
    app: Flask, visitor: Visitor, parts: Parts
) -> None:
    maker, makers = parts.keys.issue(SERVER, NewKey("tablet", scopes=["read", "write"], prefix="in/"))
    _, others = parts.keys.issue(SERVER, NewKey("reader", scopes=["read"], prefix="in/"))
    _, confined = parts.keys.issue(SERVER, NewKey("chief", prefix="in/"))

    def said(who: Visitor, id: str) -> str:
        page = who.get(f"/drive/blob/{id}")
        assert page.status_code == 200
        assert parts.drive.describe(SERVER, id).owner not in page.text
        found = re.search(r" UTC(?: by <bdi>(.*?)</bdi>)?</dd>\n<dt>Version", page.text)
        assert found is not None
        return found[1] or ""

    def signed_in(key: str) -> Visitor:
        someone = Visitor(app)
        assert someone.sign_in(key).status_code == 303
        return someone

    keep(parts, "in/theirs", b"1", caller=rights_of(maker))
    keep(parts, "in/first", b"2", caller=parts.keys.verify(TOKEN))
    assert [said(visitor, id) for id in ("in/theirs", "in/first")] == ["tablet", "API_TOKEN"]
    assert [said(signed_in(makers), id) for id in ("in/theirs", "in/first")] == ["tablet", ""]
    assert [said(signed_in(confined), id) for id in ("in/theirs", "in/first")] == ["tablet", ""]
    assert [said(signed_in(others), id) for id in ("in/theirs", "in/first")] == ["", ""]
    parts.keys.remove(SERVER, maker.id)
    assert said(visitor, "in/theirs") == ""


# --- Uploading


def test_files_are_stored_into_the_folder_and_the_backend(visitor: Visitor, parts: Parts) -> None:
    answer = visitor.upload(
        (b"one", "one.txt"), (b"two", "tree/sub/two.bin"), folder="in/", storage_backend="database"
    )
    assert (answer.status_code, answer.headers["Location"]) == (303, "/drive/files/in/")
    blobs = parts.listing.page(SERVER).blobs
    assert [(blob.id, blob.storage_backend, blob.filename) for blob in blobs] == [
        ("in/one.txt", "database", "one.txt"),
        ("in/tree/sub/two.bin", "database", "two.bin"),
    ]
    assert b"".join(parts.drive.read(SERVER, blobs[1])) == b"two"
    assert "Stored 2 files on database." in words(visitor.get("/drive/files/in/"))
    assert "Stored 2 files" not in words(visitor.get("/drive/files/in/"))


def test_a_large_file_arrives_whole(visitor: Visitor, parts: Parts) -> None:
    data = bytes(range(256)) * 1_600  # past what staging keeps in memory
    visitor.upload((data, "large.bin"), folder="")
    blob = parts.drive.describe(SERVER, "large.bin")
    assert b"".join(parts.drive.read(SERVER, blob)) == data
    assert blob.content_type == "application/octet-stream"


def test_a_name_that_is_taken_keeps_what_is_there_and_stores_the_others(
    visitor: Visitor, parts: Parts
) -> None:
    visitor.upload((b"old", "x.txt"), folder="")
    visitor.get("/drive/files/")
    answer = visitor.upload((b"new", "x.txt"), (b"other", "y.txt"), (b"bad", "z\x01"), folder="")
    assert answer.status_code == 409
    text = words(answer)
    assert "1 stored · 2 not stored" in text
    assert "A file of this name is here, 3 B" in text
    assert "control character U+0001" in text
    assert [blob.id for blob in parts.listing.page(SERVER).blobs] == ["x.txt", "y.txt"]
    assert b"".join(parts.drive.read(SERVER, parts.drive.describe(SERVER, "x.txt"))) == b"old"


def test_scripts_get_the_line_of_the_tray_that_the_page_shows(visitor: Visitor) -> None:
    visitor.upload((b"old", "x.txt"), folder="")
    line = visitor.post("/drive/upload", {"folder": "", "file": (io.BytesIO(b"new"), "x.txt")}, headers=HTMX)
    page = visitor.post("/drive/upload", {"folder": "", "file": (io.BytesIO(b"new"), "x.txt")})
    assert line.status_code == page.status_code == 409
    assert line.text.strip().startswith("<li>")
    assert line.text.strip() in page.text
    good = visitor.post("/drive/upload", {"folder": "", "file": (io.BytesIO(b"new"), "n.txt")}, headers=HTMX)
    assert good.status_code == 201
    assert "Stored, 3 B." in words(good)


def test_an_unknown_backend_and_an_unreachable_one_are_told(
    visitor: Visitor, parts: Parts, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    answer = visitor.upload((b"x", "x"), folder="", storage_backend="nowhere")
    assert answer.status_code == 422
    assert "There is no backend of this name" in words(answer)

    def refuse(*_: object) -> None:
        raise StorageUnavailable("local", "put", "the disk sleeps")

    monkeypatch.setattr(type(parts.backends.use("local")), "put", refuse)
    answer = visitor.upload((b"x", "x"), folder="", storage_backend="local")
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert "The backend local could not do it: the disk sleeps. Nothing of it is kept." in words(answer)
    assert f"storage-unavailable in request {answer.headers['X-Request-Id']}" in caplog.text


def test_a_name_that_is_only_a_way_elsewhere_is_not_stored(visitor: Visitor, parts: Parts) -> None:
    answer = visitor.upload((b"x", ".."), (b"y", "../../ok.txt"), folder="in")
    assert answer.status_code == 422
    assert "not a name that a file can have" in words(answer)
    assert [blob.id for blob in parts.listing.page(SERVER).blobs] == ["in/ok.txt"]


def test_a_form_that_breaks_off_stores_nothing(visitor: Visitor, parts: Parts) -> None:
    body = (
        f'--B\r\nContent-Disposition: form-data; name="csrf_token"\r\n\r\n{visitor.token}\r\n'
        '--B\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\nonly the beginning'
    ).encode()
    answer = Context().run(
        visitor.client.post,
        "/drive/upload",
        input_stream=io.BytesIO(body),
        content_type="multipart/form-data; boundary=B",
        environ_overrides={"CONTENT_LENGTH": str(len(body) + 1000)},
    )
    assert answer.status_code == 400
    assert "ended 1000 bytes before" in words(answer)
    assert parts.listing.page(SERVER).blobs == []


def test_a_file_that_cannot_be_received_fails_alone(
    make_app: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_app(max_blob_bytes=300_000)
    parts: Parts = app.extensions["simpledrive"]
    someone = Visitor(app)
    someone.sign_in()
    someone.get("/drive/files/")
    answer = someone.upload((b"one", "a.txt"), (bytes(300_001), "large.bin"), (b"two", "b.txt"), folder="")
    assert answer.status_code == 413
    text = words(answer)
    assert "2 stored · 1 not stored" in text
    assert "More than 300000 bytes are not taken here." in text
    assert [blob.id for blob in parts.listing.page(SERVER).blobs] == ["a.txt", "b.txt"]

    def full(*_: object) -> None:
        raise StagingFull("There is no room to receive these bytes.")

    monkeypatch.setattr("simpledrive.streams.staging._create", full)
    answer = someone.upload((b"three", "c.txt"), (bytes(290_000), "d.bin"), folder="")
    assert answer.status_code == 507
    assert "no room to receive these bytes" in words(answer)
    assert [blob.id for blob in parts.listing.page(SERVER).blobs] == ["a.txt", "b.txt", "c.txt"]
    assert list(parts.settings.staging_path.glob("*")) == []


def test_too_many_files_for_one_form_are_told_in_words(visitor: Visitor, parts: Parts) -> None:
    answer = visitor.upload(*[(b"x", f"{number}.txt") for number in range(1001)], folder="")
    assert answer.status_code == 413
    assert "at most 1000 fields and files" in words(answer)
    assert parts.listing.page(SERVER).blobs == []
    assert list(parts.settings.staging_path.glob("*")) == []


def test_a_file_with_a_long_name_is_told_too(visitor: Visitor) -> None:
    name = "ü" * 1000
    page = visitor.upload((b"x", name), folder="")
    assert (page.status_code, page.headers["HX-Replace-Url"]) == (200, "/drive/files/")
    assert f"Stored {name} on local." in words(page)


def test_a_form_without_a_file_says_so(visitor: Visitor) -> None:
    answer = visitor.upload((b"", ""), folder="a/")
    assert answer.headers["Location"] == "/drive/files/a/"
    assert "No file was chosen" in words(visitor.get("/drive/files/a/"))


# --- Deleting


def test_deleting_asks_first_then_deletes_and_offers_to_undo(
    visitor: Visitor, put: Callable[..., None], parts: Parts
) -> None:
    for id in ("f/a.txt", "f/b.txt", "f/c.txt"):
        put(id)
    visitor.get("/drive/files/f/")
    asked = visitor.post("/drive/delete", {"id": ["f/a.txt", "f/b.txt"]})
    assert asked.status_code == 200
    assert "Delete 2 files" in words(asked)
    assert len(parts.listing.page(SERVER).blobs) == 3
    done = visitor.post("/drive/delete", {"id": ["f/a.txt", "f/b.txt"], "confirmed": "1"})
    assert (done.status_code, done.headers["Location"]) == (303, "/drive/files/f/")
    page = visitor.get("/drive/files/f/")
    assert "Deleted 2 files." in words(page)
    undo = re.findall(r'<input type="hidden" name="id" value="([^"]+)">', page.text)
    assert undo == ["f/a.txt", "f/b.txt"]
    assert [blob.id for blob in parts.listing.page(SERVER).blobs] == ["f/c.txt"]
    assert visitor.post("/drive/restore", {"id": undo}).headers["Location"] == "/drive/files/f/"
    assert "Brought back 2 files." in words(visitor.get("/drive/files/f/"))
    assert len(parts.listing.page(SERVER).blobs) == 3


def test_a_long_list_of_deletions_can_be_undone_too(visitor: Visitor, put: Callable[..., None]) -> None:
    ids = [f"f/{'long name ' * 8}{number}" for number in range(40)]
    for id in ids:
        put(id)
    visitor.get("/drive/files/f/")
    page = visitor.post("/drive/delete", {"id": ids, "confirmed": "1"})
    assert page.status_code == 200
    assert page.headers["HX-Replace-Url"] == "/drive/files/f/"
    undo = re.findall(r'<input type="hidden" name="id" value="([^"]+)">', page.text)
    assert undo == ids
    visitor.post("/drive/restore", {"id": undo})
    assert "Brought back 40 files." in words(visitor.get("/drive/files/f/"))


def test_what_cannot_be_deleted_or_brought_back_is_told(visitor: Visitor, put: Callable[..., None]) -> None:
    put("x")
    visitor.post("/drive/delete", {"id": ["x", "not there"], "confirmed": "1"})
    page = words(visitor.get("/drive/files/"))
    assert "Deleted x." in page
    assert "not there: There is no blob" in page
    put("x")
    visitor.post("/drive/restore", {"id": "x"})
    page = words(visitor.get("/drive/files/"))
    assert "Brought back 0 files." in page
    assert "exists already" in page


def test_deleting_nothing_says_so(visitor: Visitor) -> None:
    visitor.post("/drive/delete", {"folder": "a/"})
    assert "Nothing was ticked" in words(visitor.get("/drive/files/a/"))
    assert "no longer there" in words(visitor.post("/drive/delete", {"id": "gone"}))


# --- Errors


def test_what_is_not_there_leads_to_its_folder(visitor: Visitor) -> None:
    answer = visitor.get("/drive/blob/a/b/%3Cb%3E.txt")
    assert answer.status_code == 404
    assert "a/b/<b>.txt was never stored here" in words(answer)
    assert 'href="/drive/files/a/b/"' in answer.text


def test_addresses_of_no_page_and_of_broken_text_are_errors_in_words(visitor: Visitor) -> None:
    assert "There is no such page" in words(visitor.get("/drive/nowhere"))
    answer = visitor.get("/", environ_overrides={"PATH_INFO": "/drive/files/\xff/"})
    assert answer.status_code == 400
    assert answer.mimetype == "text/html"


def test_errors_are_shown_without_a_database(
    visitor: Visitor, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    def down(*_: object) -> None:
        raise DatabaseUnavailable("The database does not answer.")

    monkeypatch.setattr(type(parts.database), "read", down)
    for headers in ({}, HTMX):
        answer = visitor.get("/drive/files/", headers=headers)
        assert answer.status_code == 503
        assert "The database does not answer" in words(answer)
        assert answer.headers["Retry-After"]
        assert "Content-Security-Policy" in answer.headers
