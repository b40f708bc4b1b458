"""Journeys through the pages in a real browser against a real server, with scripts on and off."""

import hashlib
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import requests

from tests.apps import BEARER, TOKEN
from tests.browser import PHONE
from tests.servers import Server

OpenPage = Callable[..., Any]
FOLDER = "/drive/files/projects/plans/"


def sign_in(page: Any, server: Server, path: str = FOLDER) -> None:
    page.goto(server.url + path)
    page.get_by_label("Your key").fill(TOKEN)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(server.url + path)


def put(server: Server, id: str, data: bytes = b"some bytes", content_type: str = "") -> None:
    headers = BEARER | ({"Content-Type": content_type} if content_type else {})
    answer = requests.put(f"{server.url}/v1/content/{quote(id)}", data=data, headers=headers, timeout=30)
    assert answer.status_code == 201, answer.text


@pytest.fixture
def two_files(tmp_path: Path) -> list[Path]:
    text, picture = tmp_path / "notes on piers.txt", tmp_path / "large.bin"
    text.write_text("first line\n<b>second</b> line\n")
    picture.write_bytes(bytes(range(256)) * 8000)
    return [text, picture]


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "plain"])
def test_a_file_is_stored_seen_opened_fetched_deleted_and_brought_back(
    server: Server, open_page: OpenPage, two_files: list[Path], scripts: bool
) -> None:
    page = open_page(scripts=scripts)
    sign_in(page, server)

    # Two files into a folder that is not there yet, onto a backend that is not the default.
    page.get_by_role("heading", name="Nothing in plans yet").wait_for()
    page.get_by_label("Files", exact=True).set_input_files(two_files)
    page.get_by_label("Store on").select_option("database")
    page.locator("#upload").get_by_role("button", name="Upload").click()
    row = page.locator("#rows tr", has_text="notes on piers.txt")
    row.wait_for()
    assert page.locator("#rows tr").count() == 2
    assert row.locator(".mark .hide").text_content() == "Home database, no copy, not read back yet"
    if scripts:
        assert page.locator("#tray-sum").inner_text() == "2 stored"
        assert page.locator("#said").text_content() == "2 files stored."
    else:
        assert "Stored 2 files on database." in page.locator("#note").inner_text()

    # The page of one of them.
    row.get_by_role("link", name="notes on piers.txt").first.click()
    page.get_by_role("heading", level=1, name="notes on piers.txt").wait_for()
    assert page.url == server.url + "/drive/blob/projects/plans/notes%20on%20piers.txt"
    assert page.locator(".lines li").all_inner_texts() == ["first line", "<b>second</b> line"]
    digest = hashlib.sha256(two_files[0].read_bytes()).hexdigest()
    assert page.locator(".digest").inner_text().replace(" ", "").replace("\n", "") == digest
    assert "database · home" in page.locator("#where-are").inner_text()

    # To another backend, every byte compared, and its page says so.
    page.get_by_label("Move its home to").select_option("local")
    page.get_by_role("button", name="Move", exact=True).click()
    page.get_by_text("Moved notes on piers.txt to local.").first.wait_for()
    assert page.url == server.url + "/drive/blob/projects/plans/notes%20on%20piers.txt"
    where = " ".join(page.locator("#where-are").inner_text().split())
    assert "local · home Read back and equal" in where
    assert "database · left behind" in where

    # Back by the path, and the other one fetched.
    page.get_by_role("link", name="plans", exact=True).click()
    row = page.locator("#rows tr", has_text="large.bin")
    with page.expect_download() as fetched:
        row.get_by_role("link", name="Download").click()
    assert fetched.value.suggested_filename == "large.bin"
    assert Path(fetched.value.path()).read_bytes() == two_files[1].read_bytes()

    # Deleted after a question, and brought back.
    row.get_by_label("Tick large.bin").check()
    page.locator(".sel").get_by_role("button", name="Delete").click()
    page.get_by_role("button", name="Delete 1 file").click()
    page.get_by_text("Deleted large.bin.").first.wait_for()
    assert page.url == server.url + FOLDER
    assert page.locator("#rows tr").count() == 1
    page.get_by_role("button", name="Undo").click()
    page.get_by_text("Brought back large.bin.").first.wait_for()
    assert page.locator("#rows tr").count() == 2

    page.get_by_role("button", name="Sign out").click()
    page.get_by_role("heading", name="Sign in").wait_for()
    page.goto(server.url + FOLDER)
    page.get_by_role("heading", name="Sign in").wait_for()


def test_a_taken_name_and_a_broken_connection_are_told_file_by_file(
    make_server: Callable[..., Server], open_page: OpenPage, two_files: list[Path]
) -> None:
    server = make_server()
    put(server, "projects/plans/notes on piers.txt", b"was here")
    page = open_page()
    sign_in(page, server)
    page.get_by_label("Files", exact=True).set_input_files(two_files)
    page.locator("#upload").get_by_role("button", name="Upload").click()
    page.locator("#tray-sum", has_text="1 stored · 1 not stored").wait_for()
    page.locator("#rows tr", has_text="large.bin").wait_for()
    assert "A file of this name is here, 8 B" in page.locator("#arrivals").inner_text()
    assert (
        requests.get(
            f"{server.url}/v1/content/projects/plans/notes%20on%20piers.txt", headers=BEARER, timeout=9
        ).content
        == b"was here"
    )
    assert [text for text in page.complaints if "409" not in text] == []
    page.complaints.clear()

    with cut_off() as url:
        page.route("**/drive/upload", lambda route: route.continue_(url=url + "/drive/upload"), times=1)
        page.get_by_label("Files", exact=True).set_input_files(two_files[1])
        page.evaluate("document.querySelector('#arrivals').replaceChildren()")
        page.locator("#upload").get_by_role("button", name="Upload").click()
        page.get_by_text("The connection broke").wait_for()
    page.complaints.clear()


class cut_off:  # noqa: N801 (reads as a word)
    """A port that takes connections and drops them after the first bytes."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            connection.recv(1000)
            connection.close()

    def __enter__(self) -> str:
        self._thread.start()
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    def __exit__(self, *_: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join()


def test_a_whole_folder_keeps_its_tree(server: Server, open_page: OpenPage, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "sub").mkdir(parents=True)
    (tree / "top.txt").write_text("top")
    (tree / "sub" / "deep ü.txt").write_text("deep")
    page = open_page()
    sign_in(page, server)
    page.get_by_label("Whole folder").check()
    page.get_by_label("Files", exact=True).set_input_files(tree)
    page.locator("#upload").get_by_role("button", name="Upload").click()
    page.locator("#tray-sum", has_text="2 stored").wait_for()
    items = requests.get(f"{server.url}/v1/blobs", headers=BEARER, timeout=9).json()["items"]
    assert [item["id"] for item in items] == [
        "projects/plans/tree/sub/deep ü.txt",
        "projects/plans/tree/top.txt",
    ]


def test_files_dropped_anywhere_are_stored(server: Server, open_page: OpenPage) -> None:
    page = open_page()
    sign_in(page, server)
    page.keyboard.press("u")
    assert page.evaluate("document.activeElement.id") == "up-files"
    dropped = page.evaluate_handle(
        "() => { const t = new DataTransfer(); t.items.add(new File(['dropped'], 'dropped.txt')); return t }"
    )
    page.dispatch_event("h1", "dragover", {"dataTransfer": dropped})
    assert page.locator("html.arrives").count() == 1
    page.dispatch_event("h1", "drop", {"dataTransfer": dropped})
    page.locator("#rows tr", has_text="dropped.txt").wait_for()
    assert page.locator("html.arrives").count() == 0


def test_walking_folders_keeps_real_addresses_and_history(server: Server, open_page: OpenPage) -> None:
    put(server, "a/b/c.txt")
    page = open_page()
    sign_in(page, server, "/drive/files/")
    page.evaluate("window.stayed = true")
    page.get_by_role("link", name="a", exact=True).click()
    page.get_by_role("heading", level=1, name="a", exact=True).wait_for()
    page.get_by_role("link", name="b", exact=True).click()
    page.get_by_role("heading", level=1, name="b", exact=True).wait_for()
    assert (page.url, page.title()) == (server.url + "/drive/files/a/b/", "b · Simple Drive")
    assert page.evaluate("document.activeElement.id") == "main"
    page.go_back()
    page.get_by_role("heading", level=1, name="a", exact=True).wait_for()
    assert (page.url, page.title()) == (server.url + "/drive/files/a/", "a · Simple Drive")
    page.go_forward()
    page.get_by_role("heading", level=1, name="b", exact=True).wait_for()
    assert page.evaluate("window.stayed")
    page.reload()
    page.get_by_role("heading", level=1, name="b", exact=True).wait_for()


def test_a_long_folder_goes_on_in_place(server: Server, open_page: OpenPage) -> None:
    for number in range(205):
        put(server, f"many/{number:03}", b"")
    page = open_page()
    sign_in(page, server, "/drive/files/many/")
    page.get_by_role("link", name="Show 200 more").click()
    page.locator("#rows tr >> nth=204").wait_for()
    assert page.locator("#shown").inner_text() == "205 files, by name"
    assert page.evaluate("document.activeElement.textContent") == "200"
    page.get_by_label("Tick all files shown").check()
    assert page.locator("#ticked").inner_text() == "205 selected · 0 B"


def test_colours_change_at_once_and_stay(server: Server, open_page: OpenPage) -> None:
    page = open_page(dark=True)
    sign_in(page, server)
    with page.expect_response("**/theme"):
        page.get_by_role("button", name="Light colours").click()
    assert page.locator("html").get_attribute("data-theme") == "light"
    page.reload()
    assert page.locator("html").get_attribute("data-theme") == "light"


def test_a_session_that_ended_leads_to_the_door_from_a_swap(server: Server, open_page: OpenPage) -> None:
    put(server, "a/b.txt")
    page = open_page()
    sign_in(page, server, "/drive/files/")
    page.context.clear_cookies()
    page.get_by_role("link", name="a", exact=True).click()
    page.get_by_role("heading", name="Sign in").wait_for()
    assert page.url.endswith("/drive/sign-in?next=/drive/files/a/")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_no_page_scrolls_sideways_on_a_phone(server: Server, open_page: OpenPage, dark: bool) -> None:
    long = "w" * 120
    put(server, f"f/{long}.txt", b"x" * 5000 + b"\n")
    put(server, "f/a b c d e f g h i j k l m n o p q r s t u v w x y z a b c d e f g h i j k.txt")
    put(server, f"f/{long}/x")
    page = open_page(phone=True, dark=dark)
    sign_in(page, server, "/drive/files/f/")
    for url in [
        "/drive/files/",
        "/drive/files/f/",
        "/drive/files/empty/",
        f"/drive/files/f/{long}/",
        f"/drive/blob/f/{long}.txt",
        "/drive/files/f/#menu",
    ]:
        page.goto(server.url + url)
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"], url
    page.goto(server.url + "/drive/files/f/")
    page.locator("#rows [name=id]").first.check()
    page.locator(".sel").get_by_role("button", name="Delete").click()
    page.get_by_role("heading", name="Delete 1 file").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


ATTACKS = {
    "page.html": (b"<script>top.document.title = 'owned'</script>", "text/html"),
    "drawing.svg": (
        b"<svg xmlns='http://www.w3.org/2000/svg'><script>top.document.title = 'owned'</script></svg>",
        "image/svg+xml",
    ),
    "picture.png": (b"<script>document.title = 'owned'</script>", "image/png"),
    "notes.txt": (b"<script>document.title = 'owned'</script>", "text/plain"),
    "<img src=x onerror=\"document.title='owned'\">.txt": (b"x", "text/plain"),
    "page.xhtml": (
        b"<html xmlns='http://www.w3.org/1999/xhtml'><script>document.title='owned'</script></html>",
        "application/xhtml+xml",
    ),
}


def test_nothing_that_is_stored_runs(server: Server, open_page: OpenPage) -> None:
    page = open_page()
    for name, (data, content_type) in ATTACKS.items():
        put(server, f"f/{name}", data, content_type)
    sign_in(page, server, "/drive/files/f/")
    page.get_by_text("6 files, by name").wait_for()
    assert page.title() == "f · Simple Drive"
    for name in ATTACKS:
        page.goto(f"{server.url}/drive/blob/f/{quote(name)}")
        page.wait_for_load_state("networkidle")
        assert page.title() == f"{name} · Simple Drive"
    page.goto(f"{server.url}/drive/content/f/notes.txt")
    assert page.title() != "owned"
    page.goto(f"{server.url}/drive/files/f/")
    for name in ("page.html", "drawing.svg", "page.xhtml"):
        with page.expect_download():
            page.evaluate(
                "url => { location.href = url }",
                f"/drive/content/f/{name}",
            )
    assert page.title() != "owned"
