"""A real browser: Debian's Chromium, driven by Playwright, watched for everything that it complains about."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.needs import need

PROGRAM = "/usr/bin/chromium"
ARGUMENTS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 360, "height": 740}


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium, started once."""
    need("chromium")
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 (absent where nothing browses)

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=PROGRAM, args=ARGUMENTS)
        yield started
        started.close()


@pytest.fixture
def open_page(browser: Any) -> Iterator[Callable[..., Any]]:
    """Opens pages in profiles of their own: `open_page(scripts=False, phone=True, dark=True)`.

    Afterwards the test fails for whatever a page has complained of (errors, what the policy forbade) or asked
    of another host. A test that provokes a complaint takes it out of `page.complaints`.
    """
    contexts = []
    complaints: list[str] = []

    def open_one(*, scripts: bool = True, phone: bool = False, dark: bool = False) -> Any:
        context = browser.new_context(
            viewport=PHONE if phone else DESKTOP,
            is_mobile=phone,
            has_touch=phone,
            color_scheme="dark" if dark else "light",
            java_script_enabled=scripts,
            accept_downloads=True,
        )
        context.set_default_timeout(15_000)
        contexts.append(context)
        page = context.new_page()
        page.complaints = complaints
        page.on("console", lambda said: said.type in ("error", "warning") and complaints.append(said.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda asked: "//127.0.0.1:" not in asked.url and complaints.append(asked.url))
        return page

    yield open_one
    for context in contexts:
        context.close()
    assert complaints == []
