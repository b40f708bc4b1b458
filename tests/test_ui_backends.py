"""The page of backends: a card for each, what the last look found step by step, and a look now."""

import re
import threading
from collections.abc import Callable
from dataclasses import replace
from html import unescape
from typing import Any

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from simpledrive import probes
from simpledrive.keys import NewKey
from simpledrive.parts import Parts
from simpledrive.rights import SERVER
from tests.apps import TOKEN
from tests.drives import keep
from tests.ftp_servers import FtpServer
from tests.servers import Server, settings_of
from tests.strict_s3 import StrictS3
from tests.troubled import SECRETS, STEPS, TROUBLES, WELL
from tests.visitors import Visitor

PAGE = "/drive/backends"
FRAGMENT = {"HX-Request": "true"}


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "WAIT", 20.0)


def cards(response: TestResponse) -> dict[str, str]:
    """The text of each card, by the backend's name."""
    assert response.status_code == 200, response.text
    parts = re.split(r'<section class="panel card" id="backend-([\w-]+)"', response.text)
    texts = (" ".join(unescape(re.sub(r"<[^>]*>", " ", card)).split()) for card in parts[2::2])
    return dict(zip(parts[1::2], texts, strict=True))


def entering(app: Flask, credential: str) -> Visitor:
    visitor = Visitor(app)
    assert visitor.sign_in(credential).status_code == 303
    return visitor


def test_every_backend_has_a_card_with_its_steps_or_what_is_wrong(troubled: Flask) -> None:
    page = entering(troubled, TOKEN).get(PAGE)
    assert "4 cannot be used." in page.text
    found = cards(page)
    assert found.keys() == WELL.keys() | TROUBLES.keys()
    duration = r"[0-9.,]+ m?s"
    for name in WELL:
        assert re.search(f"can be used, {duration}", found[name])
        assert re.search(" ".join(f"{step} {duration}" for step in STEPS), found[name]), found[name]
    for name, (step, why) in TROUBLES.items():
        assert f"cannot be used 0.0 % of the drive Failed at the step {step}" in found[name]
        assert why in found[name]
        assert re.search(f"{step} failed after {duration} Check now", found[name]), found[name]
    for secret in SECRETS:
        assert secret not in page.text


def test_what_lies_there_is_told_and_its_share_of_all(app: Flask, parts: Parts, visitor: Visitor) -> None:
    keep(parts, "a", b"123")
    keep(parts, "b", b"1", "database")
    page = visitor.get(PAGE)
    found = cards(page)
    assert list(found) == ["local", "database"]
    assert found["local"].startswith('aria-labelledby="h-local"> local Disk, for new files can be used')
    assert "75.0 % of the drive Holds 1 file, 3 B" in found["local"]
    assert f"Where {parts.settings.local_storage_path}" in found["local"]
    assert "25.0 % of the drive Holds 1 file, 1 B" in found["database"]
    assert "2 places hold 4 B in 2 files. All can be used." in " ".join(page.text.split())


def test_one_that_is_configured_no_more_has_a_card_and_nothing_to_check(
    make_app: Callable[..., Flask],
) -> None:
    with_cold = make_app(backends={"cold": {"kind": "local", "path": "cold"}})
    keep(with_cold.extensions["simpledrive"], "a", b"bytes", "cold")
    cold = cards(entering(make_app(), TOKEN).get(PAGE))["cold"]
    assert "Not configured any more cannot be used 100.0 % of the drive" in cold
    assert "Check now" not in cold


def test_a_check_looks_now_and_the_answer_is_the_page(app: Flask, parts: Parts, visitor: Visitor) -> None:
    keep(parts, "a", b"bytes")
    assert "can be used" in cards(visitor.get(PAGE))["local"]
    base = parts.settings.local_storage_path
    away = base.rename(base.with_name("away"))
    found = cards(visitor.post(PAGE, {"name": "local"}))
    assert list(found) == ["local", "database"]
    assert "is its disk mounted?" in found["local"]
    away.rename(base)
    assert "cannot be used" not in cards(visitor.post(PAGE))["local"], "all are looked at"


def test_a_fragment_of_a_check_is_the_card_of_the_page(visitor: Visitor) -> None:
    visitor.get(PAGE)
    card = visitor.post(PAGE, {"name": "database"}, headers=FRAGMENT)
    assert list(cards(card)) == ["database"]
    assert "<html" not in card.text
    whole = visitor.post(PAGE, {"name": "database"}).text
    anew = re.compile(r"[0-9.,]+ m?s|<time .*?</time>|(?<=csrf_token\" value=\")[^\"]+")
    assert anew.sub("", card.text.strip()) in anew.sub("", whole)
    assert list(cards(visitor.post(PAGE, headers=FRAGMENT))) == ["local", "database"]


def test_a_check_that_takes_long_is_said_to_go_on(
    parts: Parts, visitor: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    visitor.get(PAGE)
    let_go = threading.Event()
    monkeypatch.setattr(parts.backends.use("local"), "probe", lambda begin: let_go.wait())
    monkeypatch.setattr(probes, "WAIT", 0.05)
    try:
        found = cards(visitor.post(PAGE, {"name": "local"}))
        assert "Still looking" in found["local"]
        assert "can be used" in found["local"], "what the look before found"
        assert "Still looking" not in found["database"]
    finally:
        let_go.set()


def test_a_check_wants_its_token_and_a_backend_there_is(visitor: Visitor) -> None:
    visitor.get(PAGE)
    assert visitor.client.post(PAGE, data={"name": "local"}).status_code == 400
    answer = visitor.post(PAGE, {"name": "nowhere"})
    assert answer.status_code == 404
    assert "Known are: database, local." in answer.text


def test_it_is_for_admins_of_the_whole_drive_and_linked_for_them_alone(
    app: Flask, parts: Parts, visitor: Visitor
) -> None:
    link = f'href="{PAGE}"'
    assert visitor.get("/drive/files/").text.count(link) == 2, "in the side and in the tabs"
    for rights in ({"scopes": ["read", "write", "delete"]}, {"prefix": "mine/"}):
        other = entering(app, parts.keys.issue(SERVER, NewKey("other", **rights))[1])
        assert link not in other.get("/drive/files/").text
        assert other.get(PAGE).status_code == 403
        assert other.post(PAGE, {"name": "local"}).status_code == 403


# --- In a real browser


def test_a_person_looks_and_looks_again_and_the_command_says_the_same(
    make_server: Callable[..., Server],
    open_page: Callable[..., Any],
    strict_s3: StrictS3,
    pyftpdlib: FtpServer,
) -> None:
    settings = settings_of({"bucket": strict_s3.config(), "nas": pyftpdlib.config()})
    server, account = make_server(WORKERS=1, **settings), strict_s3.account
    for scripts in (True, False):
        page = open_page(scripts=scripts)
        page.goto(f"{server.url}{PAGE}")
        page.get_by_label("Your key").fill(TOKEN)
        page.get_by_role("button", name="Sign in").click()
        page.get_by_role("heading", level=1, name="Backends").wait_for()
        bucket = page.locator("#backend-bucket")
        bucket.get_by_text("can be used, ").wait_for()
        assert bucket.locator(".took li").count() == len(STEPS)

        strict_s3.account = replace(account, access_key="another")
        page.get_by_role("button", name="Check now bucket").click()
        bucket.get_by_text("Failed at the step marker").wait_for()
        assert "the server does not know the access key" in bucket.inner_text()
        assert page.url == server.url + PAGE
        assert page.locator(".card").count() == 4
        if scripts:
            page.wait_for_function(
                "document.activeElement.value === 'bucket'"
            )  # the focus stays where it was
            assert page.locator("#said").text_content() == "bucket cannot be used."
        page.get_by_role("button", name="Check all now").click()
        page.get_by_text("1 cannot be used.").wait_for()
        for width in (1280, 360):
            page.set_viewport_size({"width": width, "height": 800})
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")

        strict_s3.account = account
        page.get_by_role("button", name="Check all now").click()
        page.get_by_text("All can be used.").wait_for()

    done = server.run("drive", "check-backend")
    assert (done.returncode, done.stderr) == (0, "")
    for name in ("local", "database", "bucket", "nas"):
        assert f"\n{name} (" in f"\n{done.stdout}"
