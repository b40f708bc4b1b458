"""/docs in a real browser: nothing from elsewhere, nothing that the policy forbids, requests that work."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from tests.apps import TOKEN
from tests.servers import ROOT, Server

OpenPage = Callable[..., Any]


def test_it_carries_the_policy_and_nothing_inline(app: Flask) -> None:
    answer = app.test_client().get("/docs")
    assert answer.status_code == 200
    policy = answer.headers["Content-Security-Policy"]
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert not re.search(r"<style|style=|<script(?![^>]*src=)|\bon\w+=|//", answer.text)


def test_what_it_loads_is_kept_for_ever_under_its_version(app: Flask) -> None:
    client = app.test_client()
    loaded = re.findall(r'(?:href|src)="(/static/[^"]+)"', client.get("/docs").text)
    assert len(loaded) == 5
    for url in loaded:
        answer = client.get(url, buffered=True)
        assert answer.status_code == 200, url
        assert "immutable" in answer.headers["Cache-Control"], url


def test_behind_a_prefix_every_link_has_it(app: Flask) -> None:
    page = app.test_client().get("/docs", environ_overrides={"SCRIPT_NAME": "/drives/one"}).text
    links = re.findall(r'(?:href|src|data-specification)="([^"]+)"', page)
    assert len(links) >= 6
    assert all(link.startswith("/drives/one/") for link in links)


def test_every_vendored_file_names_its_version_and_has_its_licence() -> None:
    for path in (ROOT / "static" / "vendor").iterdir():
        found = re.fullmatch(r"([a-z-]+-\d+\.\d+\.\d+)\.(?:LICENSE\.txt|min\.js|js|css)", path.name)
        assert found, path.name
        assert path.with_name(f"{found[1]}.LICENSE.txt").read_text(), path.name


def operation(page: Any, name: str) -> Any:
    """One operation, opened."""
    block = page.locator(f"[id$='-{name}']")
    block.locator(".opblock-summary-control").click()
    return block


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_a_request_is_tried_out_with_a_token_that_was_typed_in(
    server: Server, open_page: OpenPage, dark: bool
) -> None:
    page = open_page(dark=dark)
    page.goto(server.url + "/docs")
    page.get_by_role("heading", name="Simple Drive").wait_for()
    assert ("dark-mode" in (page.locator("html").get_attribute("class") or "")) is dark

    page.get_by_role("button", name="Authorize").first.click()
    page.locator(".auth-container").filter(has_text="bearer").locator("input").first.fill(TOKEN)
    page.locator(".auth-container").filter(has_text="bearer").locator("button.authorize").first.click()
    page.get_by_role("button", name="Close").first.click()

    block = operation(page, "storeBlob")
    with page.expect_response("**/v1/blobs") as stored:
        block.get_by_role("button", name="Execute").click()
    assert stored.value.status == 201, stored.value.text()

    # An id with a slash, in a path and typed in as it is.
    block = operation(page, "getBlob")
    block.locator("tr[data-param-name='id'] input").fill("photos/pier.jpg")
    with page.expect_response("**/v1/blobs/photos*") as read:
        block.get_by_role("button", name="Execute").click()
    assert read.value.status == 200, read.value.text()
    block.locator(".live-responses-table").get_by_text("photos/pier.jpg").first.wait_for()


def test_operations_of_every_subject_open_without_a_complaint(server: Server, open_page: OpenPage) -> None:
    page = open_page(phone=True)
    page.goto(server.url + "/docs")
    subjects = page.locator(".opblock-tag-section")
    subjects.first.wait_for()
    assert subjects.count() > 5
    for subject in subjects.all():
        # One at a time: each that is open is drawn again with every change.
        subject.locator(".opblock-summary-control").first.click()
        subject.locator(".responses-wrapper").wait_for()
        subject.locator(".opblock-summary-control").first.click()
        subject.locator(".responses-wrapper").wait_for(state="detached")
