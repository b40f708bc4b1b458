"""Each type of problem has a page that says what it means and what to do, open to everybody."""

import re
from html import unescape

import pytest
from flask import Flask
from flask.testing import FlaskClient

from simpledrive.http.problem_kinds import KINDS, TEXTS
from simpledrive.http.problems import TABLE

each_kind = pytest.mark.parametrize("kind", sorted(KINDS))


def test_every_type_has_its_text_and_no_text_is_left_over() -> None:
    assert set(TEXTS) == set(KINDS)
    assert {problem.type for problem in TABLE.values()} <= set(TEXTS)


def test_texts_are_sentences_of_their_own() -> None:
    meanings = [text.meaning for text in TEXTS.values()]
    assert len(meanings) == len(set(meanings))
    for kind, text in TEXTS.items():
        assert text.meaning.endswith("."), kind
        assert text.remedy.endswith("."), kind
        assert text.meaning.count("`") % 2 == text.remedy.count("`") % 2 == 0, kind


@each_kind
def test_a_page_says_what_its_type_means_and_what_to_do(app: Flask, kind: str) -> None:
    answer = app.test_client().get(f"/problems/{kind}")
    assert (answer.status_code, answer.mimetype) == (200, "text/html")
    words = unescape(re.sub(r"</?code>", "", answer.text))
    assert KINDS[kind].title in words
    assert TEXTS[kind].meaning.replace("`", "") in words
    assert TEXTS[kind].remedy.replace("`", "") in words
    assert f'<p class="code">{KINDS[kind].status or ""}' in words or kind == "http-error"


@pytest.mark.parametrize("url", ["/problems/", "/problems"])
def test_the_index_leads_to_every_page(app: Flask, url: str) -> None:
    answer = app.test_client().get(url)
    assert answer.status_code == 200
    assert set(re.findall(r'href="/problems/([^"]+)"', answer.text)) == set(KINDS)


def test_the_type_of_a_real_error_leads_to_its_page(api: FlaskClient) -> None:
    document = api.get("/v1/blobs/x").json
    assert document["title"] in unescape(api.get(document["type"]).text)


@pytest.mark.parametrize("kind", ["nothing", "BUSY", "busy/", "../busy", "%00", "a" * 3000])
def test_an_unknown_type_is_404(app: Flask, kind: str) -> None:
    assert app.test_client().get(f"/problems/{kind}").status_code == 404


def test_pages_carry_the_policy_and_nothing_inline(app: Flask) -> None:
    for url in ("/problems/", "/problems/busy"):
        answer = app.test_client().get(url)
        assert "unsafe" not in answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        assert not re.search(r"<style|style=|<script(?![^>]*src=)|\bon\w+=|//", answer.text)


def test_behind_a_prefix_every_link_has_it(app: Flask) -> None:
    for url in ("/problems/", "/problems/busy"):
        answer = app.test_client().get(url, environ_overrides={"SCRIPT_NAME": "/drives/one"})
        links = re.findall(r'(?:href|src)="([^"#]+)', answer.text)
        assert links
        assert all(link.startswith("/drives/one/") for link in links), links


def test_they_are_kept_in_the_colours_that_somebody_chose(app: Flask) -> None:
    client = app.test_client()
    client.set_cookie("theme", "dark")
    assert 'data-theme="dark"' in client.get("/problems/").text
