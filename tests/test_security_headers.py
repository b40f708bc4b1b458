"""What every answer tells a browser, and that nothing a user stores runs as a page or script of the drive."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.routing import Rule
from werkzeug.test import TestResponse

from simpledrive.ui.pages import local
from tests.apps import BEARER, TOKEN
from tests.servers import Server
from tests.visitors import Visitor

HTML = b"<!doctype html><html><script>alert(document.domain)</script></html>"
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"><script>alert(1)</script></svg>'
SANDBOX = "default-src 'none'; sandbox"

RUNNABLE = {
    "text/html": HTML,
    "text/html; charset=utf-7": HTML,
    "application/xhtml+xml": HTML,
    "image/svg+xml": SVG,
    "text/xml": SVG,
    "application/xml": SVG,
    "application/rss+xml": SVG,
    "application/xslt+xml": SVG,
    "application/mathml+xml": SVG,
    "application/pdf": b"%PDF-1.7",
    "text/javascript": b"alert(1)",
    "application/javascript": b"alert(1)",
    "application/wasm": b"\0asm",
    "text/css": b"*{}",
    "text/vtt": b"WEBVTT",
    "application/json": b"{}",
    "multipart/x-mixed-replace; boundary=x": HTML,
    "message/rfc822": HTML,
    "application/octet-stream": HTML,
    "application/x-shockwave-flash": b"FWS",
    "text/event-stream": b"data: x",
    "nothing/known": HTML,
}


def directives(response: TestResponse) -> dict[str, list[str]]:
    """The Content-Security-Policy of an answer."""
    policy = response.headers["Content-Security-Policy"]
    return {name: sources for name, *sources in (part.split() for part in policy.split(";") if part.strip())}


def every_request(app: Flask) -> Iterator[tuple[str, str]]:
    """A method and a URL for every route there is, and for some that there are not."""
    yield from [
        ("GET", url) for url in ("/nowhere", "/v1", "/v1/nowhere", "/drive/nowhere", "/static/nowhere")
    ]
    for rule in app.url_map.iter_rules():
        for method in sorted((rule.methods or set()) - {"OPTIONS"}):
            yield method, url_of(rule)


def url_of(rule: Rule) -> str:
    file = "app.css" if rule.endpoint == "static" else "x.txt"
    return re.sub(
        r"<(?:(\w+)(?:\([^)]*\))?:)?\w+>", lambda found: "x/" if found[1] == "folder" else file, rule.rule
    )


def test_every_answer_of_every_route_has_the_headers(visitor: Visitor) -> None:
    app = visitor.client.application
    seen = 0
    for method, url in every_request(app):
        if url.endswith("/sign-out"):
            continue
        for headers in ({}, BEARER):
            answer = visitor.client.open(url, method=method, headers=headers)
            assert answer.status_code < 500 or answer.status_code in (501, 503), (method, url)
            assert answer.headers["X-Content-Type-Options"] == "nosniff", (method, url)
            assert answer.headers["Referrer-Policy"] in ("same-origin", "no-referrer"), (method, url)
            policy = directives(answer)
            assert policy["default-src"] == ["'none'"], (method, url)
            assert "unsafe" not in answer.headers["Content-Security-Policy"], (method, url)
            assert "*" not in answer.headers["Content-Security-Policy"], (method, url)
            assert "sandbox" in policy or policy["frame-ancestors"] == ["'none'"], (method, url)
            assert answer.headers["X-Request-Id"]
            seen += 1
            answer.close()
    assert seen > 60


def test_a_page_loads_from_the_drive_alone_and_sends_to_it_alone(visitor: Visitor) -> None:
    for url in ("/drive/files/", "/drive/sign-in", "/drive/nowhere", "/drive/files/x?cursor=y"):
        policy = directives(visitor.get(url))
        assert {source for sources in policy.values() for source in sources} <= {"'self'", "'none'"}, url
        assert policy["form-action"] == ["'self'"]
        assert policy["base-uri"] == ["'none'"]
        assert policy["frame-ancestors"] == ["'none'"]


def test_no_page_has_script_or_style_inside(visitor: Visitor) -> None:
    visitor.upload((b"hello", "x.txt"))
    for url in ("/drive/files/", "/drive/sign-in", "/drive/blob/x.txt", "/drive/nowhere"):
        text = visitor.get(url).text
        assert not re.search(r"<script(?![^>]* src=)|<style|\sstyle=|\son[a-z]+=|javascript:", text), url


# --- What users store


@pytest.fixture
def store(api: FlaskClient) -> Callable[[str, bytes, str], None]:
    def store(id: str, data: bytes, content_type: str) -> None:
        answer = api.put(f"/v1/content/{id}", data=data, headers={"Content-Type": content_type})
        assert answer.status_code == 201, answer.text

    return store


@pytest.mark.parametrize("content_type", RUNNABLE)
def test_what_could_run_is_saved_and_never_shown(
    api: FlaskClient, app: Flask, store: Callable[..., None], content_type: str
) -> None:
    store("x", RUNNABLE[content_type], content_type)
    visitor = Visitor(app)
    visitor.sign_in()
    for client, url in ((api, "/v1/content/x"), (visitor, "/drive/content/x")):
        for headers in ({}, {"Range": "bytes=0-0"}, {"If-None-Match": "*"}):
            answer = client.get(url, headers=headers)
            assert answer.headers["Content-Security-Policy"] == SANDBOX
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert answer.headers["Content-Disposition"].startswith("attachment;")
    shown = visitor.get("/drive/blob/x")
    assert "<script>alert" not in shown.text
    assert '<img src="/drive/content/x"' not in shown.text


@pytest.mark.parametrize(
    "content_type",
    [
        "TEXT/HTML",
        " text/html",
        "text/html;",
        "image/svg+xml;x=image/png",
        "text/html;charset=x",
        "image/SVG+XML",
    ],
)
def test_spellings_do_not_confuse_what_is_shown(api: FlaskClient, content_type: str) -> None:
    answer = api.put("/v1/content/x", data=HTML, headers={"Content-Type": content_type})
    if answer.status_code == 201:
        got = api.get("/v1/content/x")
        assert got.headers["Content-Disposition"].startswith("attachment;")
        assert got.headers["Content-Security-Policy"] == SANDBOX
    else:
        assert answer.status_code == 422


@pytest.mark.parametrize("name", ["x.html", "x.svg", "x.htm", "x.png.html", "x.png\u202e.lmth"])
@pytest.mark.parametrize("content_type", ["text/plain", "image/png"])
def test_a_name_does_not_change_what_the_bytes_are_shown_as(
    api: FlaskClient, store: Callable[..., None], name: str, content_type: str
) -> None:
    """A picture that is a page: shown as a picture, and sandboxed even if it were not."""
    store(name, HTML, content_type)
    answer = api.get(f"/v1/content/{name}")
    assert answer.headers["Content-Type"].startswith(content_type)
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Security-Policy"] == SANDBOX


def test_a_json_record_is_no_page(api: FlaskClient, store: Callable[..., None]) -> None:
    store("<script>alert(1)</script>", HTML, "text/html")
    for url in ("/v1/blobs/%3Cscript%3Ealert(1)%3C/script%3E", "/v1/blobs", "/v1/blobs/%3Cscript%3E"):
        answer = api.get(url)
        assert answer.mimetype in ("application/json", "application/problem+json")
        assert directives(answer)["default-src"] == ["'none'"]


LOAD_AS_SCRIPT = """(names) => Promise.all(names.map((name) => new Promise((done) => {
    const script = document.createElement("script");
    script.src = `/drive/content/${name}`;
    script.onload = () => done("ran");
    script.onerror = () => done("refused");
    document.head.append(script);
})))"""


def test_in_a_real_browser_nothing_stored_runs(server: Server, open_page: Callable[..., Any]) -> None:
    stored = {
        "page.html": ("text/html", HTML),
        "script.js": ("text/javascript", b"document.title = 'it ran'"),
        "text.txt": ("text/plain", b"document.title = 'it ran'"),
        "fake.png": ("image/png", HTML),
        "fake.txt": ("text/plain", HTML),
    }
    for name, (kind, data) in stored.items():
        headers = BEARER | {"Content-Type": kind}
        url = f"{server.url}/v1/content/{name}"
        assert requests.put(url, data=data, headers=headers, timeout=30).status_code == 201
    page = open_page()
    dialogs: list[str] = []
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    page.goto(f"{server.url}/drive/files/")
    page.get_by_label("Your key").fill(TOKEN)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_selector("#files")
    names = ["script.js", "text.txt", "page.html"]
    assert page.evaluate(LOAD_AS_SCRIPT, names) == ["refused"] * len(names)
    assert page.title() != "it ran"
    page.complaints.clear()  # the three that were refused

    for name in ("fake.txt", "fake.png"):
        page.goto(f"{server.url}/drive/content/{name}")
        assert page.evaluate("origin") == "null", "not the drive's origin: it has no cookie and no storage"
    assert dialogs == []
    page.complaints.clear()


# --- Redirects


@pytest.mark.parametrize(
    "elsewhere",
    [
        "https://evil.example/", "http:evil.example", "//evil.example", "///evil.example", "\\\\evil.example",
        "/\\evil.example", "/drive\\@evil.example", "/drive/\\..\\..\\evil", "//evil.example/drive/",
        "/drive@evil.example", "/drive.evil.example", "javascript:alert(1)//drive", "data:text/html,x",
        "/drive/\r\nSet-Cookie: x=y", "/drive/\tx",
        "/\t/evil.example", " /drive/", "/drive/\x00", "/DRIVE/", "drive/", "?x", "#x", "", "/", "/v1/blobs",
        "/static/app.js",
        "/drive/\u2028", "/drive/\x85", "https://localhost/drive/", "//localhost/drive/",
    ],
)  # fmt: skip
def test_nobody_is_led_elsewhere(app: Flask, elsewhere: str) -> None:
    with app.test_request_context("/drive/sign-in"):
        assert local(elsewhere) == "/drive/files/"
    stranger = Visitor(app)
    page = stranger.get("/drive/sign-in", query_string={"next": elsewhere})
    assert "evil" not in page.text
    answer = stranger.sign_in(next=elsewhere)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/drive/files/")
    assert "x=y" not in answer.headers.get("Set-Cookie", "")


@pytest.mark.parametrize(
    "within", ["/drive", "/drive/files/a/", "/drive/blob/a%2F%2Fb?x=//evil.example", "/drive//evil.example"]
)
def test_a_page_of_the_drive_is_where_one_comes_out(app: Flask, within: str) -> None:
    stranger = Visitor(app)
    location = stranger.sign_in(next=within).headers["Location"]
    assert location.startswith("/drive")
    assert not location.startswith("//")


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "localhost.evil.example"])
def test_a_foreign_host_header_is_in_no_redirect(app: Flask, host: str) -> None:
    for url in ("/", "/drive", "/drive/files", "/drive/files/"):
        assert "evil" not in app.test_client().get(url, headers={"Host": host}).headers.get("Location", "")


def test_a_referer_from_elsewhere_leads_nowhere(visitor: Visitor) -> None:
    for referer in (
        "https://evil.example/drive/files/",
        "http://localhost//evil.example",
        "http://localhost@evil.example/drive/",
    ):
        answer = visitor.post("/drive/settings/theme", {"theme": "dark"}, headers={"Referer": referer})
        assert answer.headers["Location"] == "/drive/files/"
