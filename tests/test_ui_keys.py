"""The page of keys: making one that is shown once, and revoking after a question."""

import re
from collections.abc import Callable
from datetime import timedelta
from html import unescape
from typing import Any

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from simpledrive.errors import InvalidToken
from simpledrive.keys import NewKey
from simpledrive.models import ApiKey, now
from simpledrive.parts import Parts
from simpledrive.rights import SERVER
from tests.apps import TOKEN
from tests.servers import Server
from tests.visitors import Visitor

KEY = re.compile(r"sd_[A-Za-z0-9_-]{43}")
PAGE = "/drive/keys"


def asking(response: TestResponse) -> str:
    """What stands for the key that the form on this page would make."""
    found = re.search(r'name="asking" value="([^"]+)"', response.text)
    assert found is not None, response.text
    return found[1]


def ask(visitor: Visitor, **fields: object) -> TestResponse:
    """The form of a page that is fetched for it, filled in and sent."""
    given = {"asking": asking(visitor.get(PAGE)), "name": "tablet", "scope": ["read"], "expires": "90"}
    return visitor.post(PAGE, given | fields)


def shown(response: TestResponse) -> list[str]:
    return KEY.findall(response.text)


def entering(app: Flask, credential: str) -> Visitor:
    visitor = Visitor(app)
    assert visitor.sign_in(credential).status_code == 303
    return visitor


# --- Making


def test_a_new_key_is_in_the_answer_and_nowhere_else(visitor: Visitor, parts: Parts) -> None:
    answer = ask(visitor)
    assert answer.status_code == 201
    assert "Location" not in answer.headers
    assert answer.headers["Cache-Control"] == "no-store"
    [credential] = set(shown(answer))
    assert parts.keys.verify(credential).name == "tablet"
    with visitor.client.session_transaction() as session:
        assert credential not in str(dict(session))
    for page in (PAGE, "/drive/files/"):
        assert shown(visitor.get(page)) == []


def test_all_that_a_key_may_can_be_chosen(visitor: Visitor, parts: Parts) -> None:
    answer = ask(
        visitor,
        name="  site tablet ",
        description="on the wall",
        scope=["read", "write"],
        prefix="site/",
        backend=["database"],
        max_bytes="20 MiB",
        quota_bytes="10GiB",
        expires="30",
    )
    caller = parts.keys.verify(shown(answer)[0])
    assert (caller.name, caller.scopes, caller.prefix) == ("site tablet", {"read", "write"}, "site/")
    assert (caller.backends, caller.max_bytes, caller.quota_bytes) == (("database",), 20 << 20, 10 << 30)
    assert caller.expires_at is not None
    assert timedelta(days=29, hours=23) < caller.expires_at - now() <= timedelta(days=30)
    row = visitor.get(PAGE).text
    for words in (
        "site tablet",
        "on the wall",
        "read, write",
        "site/",
        "on database",
        "20.0 MiB",
        "0 B of 10.0 GiB",
    ):
        assert words in row


def test_a_key_can_be_made_that_never_ends(visitor: Visitor, parts: Parts) -> None:
    caller = parts.keys.verify(shown(ask(visitor, expires="", scope=["admin"]))[0])
    assert (caller.expires_at, caller.prefix, caller.backends) == (None, "", None)


def test_the_form_sent_again_makes_no_second_key(visitor: Visitor, parts: Parts) -> None:
    fields = {"asking": asking(visitor.get(PAGE)), "name": "tablet", "scope": ["read"], "expires": "90"}
    assert visitor.post(PAGE, fields).status_code == 201
    again = visitor.post(PAGE, fields)
    assert again.status_code == 409
    assert shown(again) == []
    assert "made one key, which was shown once" in again.text
    assert len(parts.keys.all(SERVER)) == 1
    assert ask(visitor).status_code == 201, "the page asks for another one each time"


def test_a_form_that_was_not_made_for_its_sender_makes_nothing(app: Flask, parts: Parts) -> None:
    one, other = entering(app, TOKEN), entering(app, parts.keys.issue(SERVER, NewKey("other"))[1])
    theirs = asking(other.get(PAGE))
    one.get(PAGE)
    for asked in (theirs, theirs[:-1], "", "01a1f93e-d1a6-7b58-aa21-655bb5133d2f"):
        answer = one.post(PAGE, {"asking": asked, "name": "a", "scope": ["read"]})
        assert answer.status_code == 422
        assert "not made for you" in answer.text
    assert len(parts.keys.all(SERVER)) == 1


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"name": " "}, "A name has 1 to 200 characters."),
        ({"scope": []}, "Scopes are one or more of"),
        ({"scope": ["root"]}, "Scopes are one or more of"),
        ({"backend": ["nowhere"]}, "Backends are one or more of"),
        ({"prefix": "a\x07"}, "The control character U+0007"),
        ({"max_bytes": "much"}, "This is no size such as 20 MiB"),
        ({"quota_bytes": "-1"}, "This is no size such as 20 MiB"),
        ({"quota_bytes": "9999 EiB"}, "This is not a number of bytes."),
        ({"description": "x" * 1001}, "A description has at most 1000 characters."),
    ],
)
def test_what_is_not_acceptable_is_said_beside_its_field(
    visitor: Visitor, parts: Parts, fields: dict[str, object], words: str
) -> None:
    answer = ask(visitor, **{"name": "of ana"} | fields)
    assert answer.status_code == 422
    assert words in unescape(answer.text)
    assert 'role="alert"' in answer.text
    if "name" not in fields:
        assert 'value="of ana"' in answer.text, "what was filled in is still there"
    assert parts.keys.all(SERVER) == []


def test_names_are_text_and_never_markup(visitor: Visitor) -> None:
    answer = ask(visitor, name='<img src=x onerror="a">', description="</span><b>", prefix="<i>")
    assert answer.status_code == 201
    for page in (answer.text, visitor.get(PAGE).text):
        assert "<img src=x" not in page
        assert "</span><b>" not in page
        assert "&lt;i&gt;" in page


def test_a_form_without_its_token_makes_nothing(visitor: Visitor, parts: Parts) -> None:
    asked = asking(visitor.get(PAGE))
    answer = visitor.client.post(PAGE, data={"asking": asked, "name": "a", "scope": "read"})
    assert answer.status_code == 400
    assert parts.keys.all(SERVER) == []


# --- Who sees what


def test_the_way_to_the_keys_is_shown_to_those_who_may_go_it(
    app: Flask, visitor: Visitor, parts: Parts
) -> None:
    link = f'href="{PAGE}"'
    assert link in visitor.get("/drive/files/").text
    reader = entering(app, parts.keys.issue(SERVER, NewKey("reader", scopes=["read", "write", "delete"]))[1])
    assert link not in reader.get("/drive/files/").text
    answer = reader.get(PAGE)
    assert answer.status_code == 403
    assert "lacks the scope admin" in answer.text
    assert reader.post(PAGE, {"name": "a"}).status_code == 403
    assert reader.post(f"{PAGE}/revoke", {"id": "x"}).status_code == 403


def test_a_confined_admin_is_offered_what_he_may_give(app: Flask, parts: Parts) -> None:
    ends = now() + timedelta(days=400)
    new = NewKey(
        "c", scopes=["read", "admin"], prefix="in/", backends=["database"], max_bytes=100, expires_at=ends
    )
    visitor = entering(app, parts.keys.issue(SERVER, new)[1])
    parts.keys.issue(SERVER, NewKey("strong"))
    page = visitor.get(PAGE)
    assert page.status_code == 200
    assert "strong" not in page.text
    assert "this session" in page.text
    assert re.findall(r'name="scope" value="(\w+)"', page.text) == ["read", "admin"]
    assert re.findall(r'name="backend" value="(\w+)"', page.text) == ["database"]
    assert 'name="prefix" value="in/"' in page.text
    assert "with your own key" in page.text
    child = parts.keys.verify(shown(ask(visitor, prefix="in/", expires=""))[0])
    assert (child.backends, child.max_bytes, child.prefix) == (("database",), 100, "in/")
    assert ask(visitor, prefix="out/").status_code == 403


def test_a_key_with_a_quota_is_told_that_it_makes_none(app: Flask, parts: Parts) -> None:
    visitor = entering(app, parts.keys.issue(SERVER, NewKey("q", quota_bytes=100))[1])
    page = visitor.get(PAGE)
    assert page.status_code == 200
    assert 'name="asking"' not in page.text
    assert "Your key has a quota" in page.text


def test_keys_that_ended_and_that_end_soon_are_told_apart(
    visitor: Visitor, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts.keys.issue(SERVER, NewKey("first", expires_at=now() + timedelta(hours=1)))
    parts.keys.issue(SERVER, NewKey("second", expires_at=now() + timedelta(days=20)))
    made, _ = parts.keys.issue(SERVER, NewKey("third"))
    parts.keys.revoke(SERVER, made.id)
    monkeypatch.setattr("simpledrive.keys.now", lambda: now() + timedelta(hours=2))
    page = visitor.get(PAGE).text
    third, second, first = page.split('<tr role="row" id="k-')[1:]
    assert "revoked <time" in third
    assert 'class="is-warn"><time' in second
    assert "ended <time" in first
    assert "Revoke" not in third
    assert "Revoke" in second


# --- Revoking


@pytest.fixture
def made(parts: Parts) -> tuple[ApiKey, str]:
    return parts.keys.issue(SERVER, NewKey("tablet", prefix="in/"))


def test_revoking_asks_first(visitor: Visitor, parts: Parts, made: tuple[ApiKey, str]) -> None:
    key, credential = made
    visitor.get(PAGE)
    question = visitor.post(f"{PAGE}/revoke", {"id": key.id})
    assert question.status_code == 200
    assert "Revoke <bdi>tablet</bdi>" in question.text
    assert "in/" in question.text
    assert parts.keys.verify(credential).key_id == key.id
    answer = visitor.post(f"{PAGE}/revoke", {"id": key.id, "confirmed": "1"})
    assert (answer.status_code, answer.headers["Location"]) == (303, PAGE)
    assert "The key tablet lets nobody in any more" in visitor.get(PAGE).text
    with pytest.raises(InvalidToken):
        parts.keys.verify(credential)


def test_revoking_ones_own_key_ends_the_session(app: Flask, parts: Parts) -> None:
    key, credential = parts.keys.issue(SERVER, NewKey("own"))
    visitor = entering(app, credential)
    visitor.get(PAGE)
    assert "you will be signed out" in visitor.post(f"{PAGE}/revoke", {"id": key.id}).text
    answer = visitor.post(f"{PAGE}/revoke", {"id": key.id, "confirmed": "1"})
    assert answer.status_code == 303
    assert visitor.get(PAGE).headers["Location"].startswith("/drive/sign-in")


@pytest.mark.parametrize("id", ["nothing", "", "a\x00b"])
def test_revoking_an_unknown_key_is_404(visitor: Visitor, id: str) -> None:
    visitor.get(PAGE)
    for more in ({}, {"confirmed": "1"}):
        assert visitor.post(f"{PAGE}/revoke", {"id": id} | more).status_code == 404


# --- In a real browser


@pytest.fixture
def enter(server: Server, open_page: Callable[..., Any]) -> Callable[..., Any]:
    """Opens the page of keys, signed in."""

    def go(**how: bool) -> Any:
        page = open_page(**how)
        page.goto(f"{server.url}/drive/sign-in")
        page.fill("#key", TOKEN)
        page.click("button.primary")
        page.wait_for_url("**/drive/files/")
        page.goto(f"{server.url}{PAGE}")
        return page

    return go


@pytest.mark.parametrize("scripts", [True, False])
def test_a_person_makes_copies_and_revokes_a_key(enter: Callable[..., Any], scripts: bool) -> None:
    page = enter(scripts=scripts)
    page.fill("#k-name", "tablet")
    page.click("text=Make the key")
    field = page.locator("#made")
    field.wait_for()
    assert KEY.fullmatch(field.input_value())
    assert field.get_attribute("readonly") is not None
    if scripts:
        page.click("[data-copy]")
        page.wait_for_function("document.querySelector('[data-copy]').textContent.trim() === 'Copied'")
        assert page.evaluate("getSelection().toString()") == field.input_value()
        assert (
            KEY.search(page.evaluate("JSON.stringify([localStorage, sessionStorage, history.state])")) is None
        )
    else:
        assert not page.locator("[data-copy]").is_visible()
    page.click("tbody button.danger")
    page.wait_for_selector("h1:has-text('Revoke tablet')")
    page.click("button[name=confirmed]")
    page.wait_for_selector("#note")
    assert page.locator("tbody td:has-text('revoked')").count() == 1
    assert page.locator("#made").count() == 0


def test_a_reload_makes_no_second_key(enter: Callable[..., Any]) -> None:
    page = enter()
    page.fill("#k-name", "tablet")
    page.click("text=Make the key")
    page.locator("#made").wait_for()
    page.reload()
    page.wait_for_selector("#note")
    assert page.locator("#made").count() == 0
    assert page.locator("tbody tr").count() == 1
    page.complaints.clear()  # the browser reports the 409


@pytest.mark.parametrize("phone", [False, True])
def test_nothing_of_the_page_is_wider_than_the_window(enter: Callable[..., Any], phone: bool) -> None:
    page = enter(phone=phone)
    page.fill("#k-name", "w" * 200)
    page.fill("#k-prefix", "long/" * 100)
    page.click("text=Make the key")
    page.locator("#made").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
