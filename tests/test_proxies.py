"""Who is believed about the client: proxies that are named, and nobody else. On real gunicorn, as bytes."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlencode

import pytest
from flask import Flask, request

from simpledrive.config import load
from simpledrive.errors import ConfigurationError
from tests.apps import TOKEN
from tests.servers import Server
from tests.wire import Answer, ask, head

MIRROR = """
from flask import request
from wsgi import app

@app.get("/mirror")
def mirror():
    kept = [name for name in request.headers.keys() if name.startswith("X-Forwarded")]
    return {
        "address": request.remote_addr,
        "route": [*request.access_route],
        "url": request.url,
        "secure": request.is_secure,
        "kept": kept,
    }
"""
DIRECT = {
    "address": "127.0.0.1",
    "route": ["127.0.0.1"],
    "url": "http://drive/mirror",
    "secure": False,
    "kept": [],
}
CLAIMS = (
    "X-Forwarded-For: 203.0.113.7",
    "X-Forwarded-Proto: https",
    "X-Forwarded-Host: files.example",
    "X-Forwarded-Prefix: /share",
)


@pytest.fixture(scope="module")
def proxied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Server]]:
    """A server for each value of TRUSTED_PROXIES, with a mirror of what the drive makes of a request."""
    servers: dict[str, Server] = {}
    with ExitStack() as stack:

        def serving(trusted: str) -> Server:
            if trusted not in servers:
                folder = tmp_path_factory.mktemp("proxied")
                (folder / "mirror.py").write_text(MIRROR)
                server = Server(folder, TRUSTED_PROXIES=trusted, PYTHONPATH=folder, FAILED_SIGN_INS="1/hour")
                server.app = "mirror:app"
                stack.callback(lambda: server.stop() if server.process else None)
                servers[trusted] = server.start()
            return servers[trusted]

        yield serving


def mirrored(server: Server, *lines: str) -> dict[str, object]:
    [answer] = ask(server, head("GET", "/mirror", *lines))
    assert answer.status == 200, answer
    document: dict[str, object] = json.loads(answer.body)
    return document


@pytest.mark.parametrize("trusted", ["", "10.0.0.0/8, ::1"])
@pytest.mark.parametrize(
    "lines",
    [
        CLAIMS,
        *[(line,) for line in CLAIMS],
        ("X-Forwarded-Protocol: ssl",),
        ("X-Forwarded-Ssl: on",),
        ("X-Forwarded-Port: 443",),
        ("Forwarded: for=203.0.113.7;proto=https;host=files.example",),
        ("X-Real-Ip: 203.0.113.7",),
        ("SCRIPT_NAME: /mirror",),
        ("PATH_INFO: /v1/blobs",),
        ("REMOTE_ADDR: 203.0.113.7",),
        ("X_Forwarded_For: 203.0.113.7",),
    ],
    ids=lambda lines: lines[0].partition(":")[0] if len(lines) == 1 else "all",
)
def test_of_anybody_else_these_headers_have_no_effect(
    proxied: Callable[[str], Server], trusted: str, lines: tuple[str, ...]
) -> None:
    assert mirrored(proxied(trusted), *lines) == DIRECT


def test_a_trusted_proxy_says_who_the_client_is_and_how_it_came(proxied: Callable[[str], Server]) -> None:
    assert mirrored(proxied("10.0.0.0/8,127.0.0.1"), *CLAIMS) == {
        "address": "203.0.113.7",
        "route": ["203.0.113.7"],
        "url": "https://files.example/share/mirror",
        "secure": True,
        "kept": [],
    }


@pytest.mark.parametrize(
    ("forwarded", "client"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("6.6.6.6, 203.0.113.7", "203.0.113.7"),
        ("6.6.6.6, 203.0.113.7, 10.1.2.3", "203.0.113.7"),
        ("203.0.113.7,10.1.2.3,10.4.5.6", "203.0.113.7"),
        ("10.1.2.3, 10.4.5.6", "10.1.2.3"),
        ("203.0.113.7:4711", "203.0.113.7"),
        ("[2001:db8::7]:4711", "2001:db8::7"),
        ("2001:DB8:0::7", "2001:db8::7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("::ffff:10.1.2.3, 10.4.5.6", "10.1.2.3"),
        ("6.6.6.6, unknown", "127.0.0.1"),
        ("6.6.6.6, <script>, 10.1.2.3", "10.1.2.3"),
        ("6.6.6.6,", "127.0.0.1"),
        (", , ,", "127.0.0.1"),
        ("", "127.0.0.1"),
        ("203.0.113.7 10.1.2.3", "127.0.0.1"),
        ("a" * 8000, "127.0.0.1"),
        ("10.1.2.3," * 800, "127.0.0.1"),
    ],
    ids=lambda value: value[:40],
)
def test_the_client_is_the_last_address_that_is_no_trusted_proxy(
    proxied: Callable[[str], Server], forwarded: str, client: str
) -> None:
    server = proxied("10.0.0.0/8,127.0.0.1")
    assert mirrored(server, f"X-Forwarded-For: {forwarded}")["address"] == client


def test_repeated_headers_are_one_list(proxied: Callable[[str], Server]) -> None:
    server = proxied("10.0.0.0/8,127.0.0.1")
    lines = ("X-Forwarded-For: 6.6.6.6", "X-Forwarded-For: 203.0.113.7", "X-Forwarded-For: 10.1.2.3")
    assert mirrored(server, *lines)["address"] == "203.0.113.7"


@pytest.mark.parametrize(
    ("lines", "url"),
    [
        (["X-Forwarded-Proto: HTTPS"], "https://drive/mirror"),
        (["X-Forwarded-Proto: https, http"], "http://drive/mirror"),
        (["X-Forwarded-Proto: javascript"], "http://drive/mirror"),
        (["X-Forwarded-Host: evil.example, files.example"], "http://files.example/mirror"),
        (["X-Forwarded-Host: files.example:8443"], "http://files.example:8443/mirror"),
        (["X-Forwarded-Host: [2001:db8::7]:81"], "http://[2001:db8::7]:81/mirror"),
        (["X-Forwarded-Host: a b"], "http://drive/mirror"),
        (["X-Forwarded-Host: files.example/path"], "http://drive/mirror"),
        (["X-Forwarded-Host: user@files.example"], "http://drive/mirror"),
        (["X-Forwarded-Port: 8443"], "http://drive:8443/mirror"),
        (["X-Forwarded-Port: 443", "X-Forwarded-Proto: https"], "https://drive/mirror"),
        (["X-Forwarded-Port: x"], "http://drive/mirror"),
        (["X-Forwarded-Prefix: /a/b/"], "http://drive/a/b/mirror"),
        (["X-Forwarded-Prefix: //evil.example"], "http://drive/mirror"),
        (["X-Forwarded-Prefix: /"], "http://drive/mirror"),
        (["X-Forwarded-Prefix: evil"], "http://drive/mirror"),
    ],
    ids=lambda value: ", ".join(value)[:60] if isinstance(value, list) else "",
)
def test_of_scheme_host_port_and_prefix_the_last_value_counts_if_it_can_be_one(
    proxied: Callable[[str], Server], lines: list[str], url: str
) -> None:
    assert mirrored(proxied("10.0.0.0/8,127.0.0.1"), *lines)["url"] == url


def test_wrong_keys_are_counted_by_the_address_of_the_client_and_nobody_elses(
    proxied: Callable[[str], Server],
) -> None:
    def guess(server: Server, address: str) -> int:
        lines = (f"X-Forwarded-For: {address}",)
        [answer] = ask(server, head("GET", "/v1/blobs", *lines, token="wrong"))
        return answer.status

    behind = proxied("127.0.0.1")
    assert [guess(behind, f"203.0.113.{number}") for number in range(8)] == [401] * 8
    direct = proxied("")
    assert guess(direct, "203.0.113.1") == 401
    # Each worker counts for itself: of as many tries as this, one meets a worker that has seen one.
    assert 429 in [guess(direct, f"203.0.113.{number}") for number in range(8)]


def cookie(answer: Answer) -> list[str]:
    return answer.headers["set-cookie"].lower().split("; ")


def test_behind_tls_the_session_cookie_is_secure(proxied: Callable[[str], Server]) -> None:
    server = proxied("127.0.0.1")
    page = head("GET", "/drive/sign-in")
    claimed = head("GET", "/drive/sign-in", "X-Forwarded-Proto: https")
    assert "secure" not in cookie(ask(server, page)[0])
    assert "secure" in cookie(ask(server, claimed)[0])
    assert "secure" not in cookie(ask(proxied(""), claimed)[0])


def test_signing_in_works_behind_tls(proxied: Callable[[str], Server]) -> None:
    server = proxied("127.0.0.1")
    claims = ("X-Forwarded-Proto: https", "X-Forwarded-Host: files.example")
    [page] = ask(server, head("GET", "/drive/sign-in", *claims))
    found = re.search(rb'name="csrf_token" value="([^"]+)"', page.body)
    assert found
    form = urlencode({"csrf_token": found[1].decode(), "key": TOKEN})
    lines = (
        *claims,
        f"Cookie: {page.headers['set-cookie'].partition(';')[0]}",
        "Content-Type: application/x-www-form-urlencoded",
        f"Content-Length: {len(form)}",
    )
    for referer, status in (("https://files.example/drive/sign-in", 303), ("https://evil.example/", 400)):
        opening = head("POST", "/drive/sign-in", *lines, f"Referer: {referer}", token="")
        [answer] = ask(server, opening + form.encode())
        assert answer.status == status, answer


# --- The setting


@pytest.mark.parametrize("text", ["10.0.0.0/33", "10.0.0.1/8", "proxy.example", "*", "10.0.0.1 10.0.0.2"])
def test_what_is_no_network_stops_the_start_with_a_sentence(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        load({"TRUSTED_PROXIES": f"127.0.0.1, {text}"}, folder=tmp_path)
    sentence = f"TRUSTED_PROXIES (environment): has {text!r}, not an address such as 10.0.0.1 or a network"
    assert sentence in str(refused.value)


def test_spaces_and_empty_places_do_not_matter(tmp_path: Path) -> None:
    settings = load({"TRUSTED_PROXIES": " 127.0.0.1 ,, ::1/128, "}, folder=tmp_path)
    assert [str(network) for network in settings.proxies] == ["127.0.0.1/32", "::1/128"]
    assert load({}, folder=tmp_path).proxies == []


def test_a_peer_without_an_address_is_never_trusted(make_app: Callable[..., Flask]) -> None:
    app = make_app(trusted_proxies="0.0.0.0/0,::/0")
    app.add_url_rule("/secure", view_func=lambda: {"secure": request.is_secure})
    client = app.test_client()
    claims = {"X-Forwarded-Proto": "https"}
    for address, believed in (("127.0.0.1", True), ("", False), ("unix", False)):
        answer = client.get("/secure", headers=claims, environ_overrides={"REMOTE_ADDR": address})
        assert answer.get_json() == {"secure": believed}
