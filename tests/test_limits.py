"""How often somebody may ask: by key, by address, and with wrong keys; in one process and in many."""

import io
import logging
import re
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
import requests
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from simpledrive.errors import ConfigurationError
from simpledrive.http import limits
from simpledrive.keys import NewKey
from simpledrive.parts import Parts
from simpledrive.rights import SERVER
from tests.apps import BEARER, TOKEN, settings_for
from tests.problems import assert_problem
from tests.redis_server import Redis
from tests.servers import Server, wait_for
from tests.visitors import Visitor

MakeApp = Callable[..., Flask]
MakeServer = Callable[..., Server]

WRONG = {"Authorization": "Bearer wrong"}


def ask(client: FlaskClient, address: str = "192.0.2.1", **headers: str) -> TestResponse:
    """A request from an address; without headers it has no key."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.get("/v1/blobs", headers=named, environ_overrides={"REMOTE_ADDR": address})


def assert_limited(answer: TestResponse, name: str, amount: int, window: int) -> None:
    """The one shape of 429: the problem, when to come back, and the fields that say so too."""
    document = assert_problem(answer, 429, "too-many-requests")
    seconds = int(answer.headers["Retry-After"])
    assert 1 <= seconds <= window
    assert f"Try again in {seconds} seconds." in str(document["detail"])
    assert f'"{name}";q={amount};w={window}' in answer.headers["RateLimit-Policy"].split(", ")
    assert f'"{name}";r=0;t={seconds}' in answer.headers["RateLimit"].split(", ")


# --- By key


def test_every_answer_says_what_is_left(make_app: MakeApp) -> None:
    client = make_app(rate_limit="3/minute").test_client()
    for left in (2, 1, 0):
        answer = ask(client, **BEARER)
        assert answer.status_code == 200
        assert answer.headers["RateLimit-Policy"] == '"key";q=3;w=60'
        found = re.fullmatch(r'"key";r=(\d+);t=(\d+)', answer.headers["RateLimit"])
        assert found is not None
        assert int(found[1]) == left
        assert 1 <= int(found[2]) <= 60
    assert_limited(ask(client, **BEARER), "key", 3, 60)


def test_errors_say_it_too_and_count(make_app: MakeApp) -> None:
    client = make_app(rate_limit="2/hour").test_client()
    missing = client.get("/v1/blobs/nothing", headers=BEARER)
    assert missing.status_code == 404
    assert missing.headers["RateLimit"].startswith('"key";r=1;t=')
    assert client.put("/v1/content/x", data=b"x", headers=BEARER).status_code == 201
    assert_limited(client.delete("/v1/blobs/x", headers=BEARER), "key", 2, 3600)
    assert client.get("/v1/content/x", headers=BEARER).status_code == 429


def test_each_key_has_a_limit_of_its_own_whatever_its_address(make_app: MakeApp) -> None:
    app = make_app(rate_limit="2/minute")
    client, parts = app.test_client(), app.extensions["simpledrive"]
    keys = [parts.keys.issue(SERVER, NewKey(f"key {n}"))[1] for n in range(2)]
    for key in keys:
        assert ask(client, "192.0.2.1", X_API_Key=key).status_code == 200
        assert ask(client, "198.51.100.2", Authorization=f"Bearer {key}").status_code == 200
        assert ask(client, "203.0.113.3", X_API_Key=key).status_code == 429
    assert ask(client, **BEARER).status_code == 200


def test_nothing_of_a_body_is_read_over_the_limit(make_app: MakeApp) -> None:
    client = make_app(rate_limit="1/minute").test_client()
    assert ask(client, **BEARER).status_code == 200
    environ = {"wsgi.input": Unread(), "CONTENT_LENGTH": "1000"}
    assert_limited(client.put("/v1/content/x", headers=BEARER, environ_overrides=environ), "key", 1, 60)


class Unread(io.RawIOBase):
    """A body that nobody may touch."""

    def read(self, *_: object) -> bytes:
        raise AssertionError("the body was read")

    readline = read


def test_a_session_counts_as_its_key(make_app: MakeApp) -> None:
    app = make_app(rate_limit="3/minute")
    visitor = Visitor(app)
    visitor.sign_in()
    for _ in range(3):
        assert visitor.get("/drive/files/").status_code == 200
    page = visitor.get("/drive/files/")
    assert page.status_code == 429
    assert page.mimetype == "text/html"
    assert int(page.headers["Retry-After"]) >= 1
    assert ask(app.test_client(), **BEARER).status_code == 429


# --- By address


def test_strangers_are_counted_by_address(make_app: MakeApp) -> None:
    client = make_app(rate_limit_address="2/minute").test_client()
    for _ in range(2):
        answer = ask(client)
        assert_problem(answer, 401, "not-signed-in")
        assert answer.headers["RateLimit-Policy"] == '"address";q=2;w=60'
    assert_limited(ask(client), "address", 2, 60)
    assert ask(client, "198.51.100.2").status_code == 401
    assert ask(client, **BEARER).status_code == 200, "a valid key is not counted by its address"


def test_wrong_keys_and_the_door_count_for_the_address(make_app: MakeApp) -> None:
    client = make_app(rate_limit_address="3/minute").test_client()
    here = {"environ_overrides": {"REMOTE_ADDR": "192.0.2.1"}}
    assert ask(client, **WRONG).status_code == 401
    assert client.get("/drive/sign-in", **here).status_code == 200
    assert client.get("/drive/files/", **here).status_code == 303
    page = client.get("/drive/sign-in", **here)
    assert (page.status_code, page.mimetype) == (429, "text/html")
    assert_limited(ask(client, **WRONG), "address", 3, 60)


def test_nobody_is_counted_by_address(make_app: MakeApp) -> None:
    client = make_app(anonymous_access="read", rate_limit_address="2/minute").test_client()
    for left in (1, 0):
        answer = ask(client)
        assert answer.status_code == 200
        assert answer.headers["RateLimit"].startswith(f'"address";r={left};t=')
    assert_limited(ask(client), "address", 2, 60)


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("a socket", "a socket"),
    ],
)
def test_an_address_stands_for_its_owner(address: str, counted: str) -> None:
    assert limits.network(address) == counted


def test_addresses_of_one_network_share_a_limit(make_app: MakeApp) -> None:
    client = make_app(rate_limit_address="2/minute").test_client()
    assert ask(client, "2001:db8::1").status_code == 401
    assert ask(client, "2001:db8::ffff:2").status_code == 401
    assert ask(client, "2001:db8::3").status_code == 429
    assert ask(client, "2001:db8:0:1::1").status_code == 401


# --- Wrong keys


def test_after_too_many_wrong_keys_none_is_looked_at(make_app: MakeApp) -> None:
    client = make_app(failed_sign_ins="3/minute").test_client()
    for left in (2, 1, 0):
        answer = ask(client, **WRONG)
        assert_problem(answer, 401, "not-signed-in")
        assert answer.headers["RateLimit"].startswith(f'"failed-sign-ins";r={left};t=')
    assert_limited(ask(client, **WRONG), "failed-sign-ins", 3, 60)
    assert_limited(ask(client, **BEARER), "failed-sign-ins", 3, 60)
    assert_limited(ask(client, X_API_Key=TOKEN), "failed-sign-ins", 3, 60)
    assert ask(client, "198.51.100.2", **BEARER).status_code == 200


def test_wrong_keys_are_counted_wherever_they_are_tried(make_app: MakeApp) -> None:
    app = make_app(failed_sign_ins="3/minute")
    stranger, client = Visitor(app), app.test_client()
    assert client.get("/v1/blobs", headers=WRONG).status_code == 401
    assert client.get("/v1/blobs", headers={"X-API-Key": "wrong"}).status_code == 401
    assert stranger.sign_in("wrong").status_code == 401
    refused = stranger.sign_in(TOKEN)
    assert (refused.status_code, refused.mimetype) == (429, "text/html")
    assert int(refused.headers["Retry-After"]) >= 1
    assert stranger.get("/drive/files/").status_code == 303
    assert client.get("/v1/blobs", headers=BEARER).status_code == 429


def test_who_is_signed_in_already_is_not_locked_out_by_others(make_app: MakeApp) -> None:
    app = make_app(failed_sign_ins="1/minute")
    visitor = Visitor(app)
    visitor.sign_in()
    assert app.test_client().get("/v1/blobs", headers=WRONG).status_code == 401
    assert app.test_client().get("/v1/blobs", headers=BEARER).status_code == 429
    assert visitor.get("/drive/files/").status_code == 200


def test_right_keys_and_missing_ones_are_not_counted_as_wrong(make_app: MakeApp) -> None:
    app = make_app(failed_sign_ins="1/minute")
    client = app.test_client()
    for _ in range(3):
        assert ask(client, **BEARER).status_code == 200
        assert ask(client).status_code == 401
    assert "RateLimit" not in ask(client).headers
    stranger = Visitor(app)
    assert stranger.sign_in().status_code == 303


def test_a_window_that_has_ended_begins_anew(make_app: MakeApp) -> None:
    client = make_app(failed_sign_ins="1/second", rate_limit="1/second").test_client()
    wait_for(lambda: ask(client, **WRONG).status_code == 429, "the first window to fill")
    wait_for(lambda: ask(client, **WRONG).status_code == 401, "the next window")
    wait_for(lambda: ask(client, **BEARER).status_code == 200, "a window without a wrong key")


# --- What is not counted


def test_without_limits_no_answer_speaks_of_them(make_app: MakeApp) -> None:
    client = make_app().test_client()
    for headers in (BEARER, WRONG, {}):
        for _ in range(30):
            answer = ask(client, **headers)
            assert answer.status_code in (200, 401)
            assert not {"RateLimit", "RateLimit-Policy", "Retry-After"} & set(answer.headers.keys())


def test_health_static_files_and_preflights_are_exempt(make_app: MakeApp) -> None:
    tight = {"rate_limit": "1/hour", "rate_limit_address": "1/hour", "failed_sign_ins": "1/hour"}
    client = make_app(cors_origins="https://app.example", **tight).test_client()
    for headers in (BEARER, WRONG, {}):
        client.get("/v1/blobs", headers=headers)
    preflight = {"Origin": "https://app.example", "Access-Control-Request-Method": "PUT"}
    for _ in range(5):
        for answer in (
            client.get("/livez"),
            client.get("/livez", headers=BEARER),
            client.get("/static/app.css"),
            client.options("/v1/content/x", headers=preflight),
        ):
            assert answer.status_code in (200, 204)
            assert "RateLimit" not in answer.headers
            answer.close()
    assert client.get("/v1/blobs").status_code == 429


# --- Settings


@pytest.mark.parametrize("name", ["rate_limit", "rate_limit_address", "failed_sign_ins"])
@pytest.mark.parametrize(
    "value",
    ["5", "fast", "5/fortnight", "-5/minute", "0/minute", "1/minute;2/hour", "5/minute,", "5.5/minute"],
)
def test_a_limit_that_is_none_stops_the_start(name: str, value: str, tmp_path) -> None:
    with pytest.raises(ConfigurationError, match=name.upper()):
        settings_for(tmp_path, **{name: value})


@pytest.mark.parametrize(
    "value",
    ["memory", "redis://", "memory://x", "memcached://user:pass@host", "localhost:6379", "http://host"],
)
def test_a_storage_that_is_none_stops_the_start_and_is_not_shown(value: str, tmp_path) -> None:
    with pytest.raises(ConfigurationError, match="RATE_LIMIT_STORAGE") as caught:
        settings_for(tmp_path, rate_limit_storage=value)
    assert "user:pass" not in str(caught.value)


def test_redis_without_its_package_stops_the_start(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match="pip install redis"):
        settings_for(tmp_path, rate_limit_storage="redis://host")


def test_a_redis_that_cannot_be_named_stops_the_start(make_app: MakeApp) -> None:
    with pytest.raises(ConfigurationError, match="RATE_LIMIT_STORAGE"):
        make_app(rate_limit_storage="redis://host:port")


@pytest.mark.parametrize(("value", "policy"), [("7 per 2 hours", "q=7;w=7200"), ("5/second", "q=5;w=1")])
def test_limits_are_written_as_people_write_them(make_app: MakeApp, value: str, policy: str) -> None:
    answer = ask(make_app(rate_limit=value).test_client(), **BEARER)
    assert answer.headers["RateLimit-Policy"] == f'"key";{policy}'


# --- Redis


def test_processes_share_their_limits_in_redis(make_app: MakeApp, redis_server: Redis) -> None:
    shared = {"rate_limit": "2/minute", "failed_sign_ins": "2/minute", "rate_limit_storage": redis_server.url}
    one, other = make_app(**shared).test_client(), make_app(**shared).test_client()
    assert ask(one, **BEARER).headers["RateLimit"].startswith('"key";r=1;t=')
    assert ask(other, **BEARER).headers["RateLimit"].startswith('"key";r=0;t=')
    assert_limited(ask(one, **BEARER), "key", 2, 60)
    for client in (one, other):
        assert ask(client, "198.51.100.2", **WRONG).status_code == 401
    assert_limited(ask(one, "198.51.100.2", **BEARER), "failed-sign-ins", 2, 60)
    assert all(key.startswith("simpledrive:") for key in redis_server.keys())
    assert TOKEN not in str(redis_server.keys())


def test_while_redis_is_away_requests_are_served_and_wrong_keys_counted(
    make_app: MakeApp,
    redis_server: Redis,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(limits, "AWAY_SECONDS", 0.2)
    settings = {"rate_limit": "100/minute", "failed_sign_ins": "2/minute"}
    client = make_app(rate_limit_storage=redis_server.url, **settings).test_client()
    assert ask(client, **BEARER).headers["RateLimit"].startswith('"key";r=99;t=')

    redis_server.stop()
    with caplog.at_level(logging.WARNING):
        for left in range(99, 79, -1):
            answer = ask(client, **BEARER)
            assert answer.status_code == 200
            assert answer.headers["RateLimit"].startswith(f'"key";r={left};t=')
    assert [record.message for record in caplog.records if "does not answer" in record.message] == [
        record.message for record in caplog.records
    ][:1]
    for _ in range(2):
        assert ask(client, **WRONG).status_code == 401
    assert_limited(ask(client, **BEARER), "failed-sign-ins", 2, 60)

    caplog.clear()
    redis_server.start()
    wait_for(lambda: ask(client, **BEARER).status_code == 200, "limits that are counted in Redis again")
    assert "answers again" in caplog.text
    assert redis_server.keys()


def test_a_redis_that_hangs_holds_up_one_request_and_not_all(make_app: MakeApp) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}"
        client = make_app(rate_limit="100/minute", rate_limit_storage=url).test_client()
        for _ in range(20):
            assert ask(client, **BEARER).status_code == 200
        silent.setblocking(False)
        assert len(list(connections(silent))) <= 2


def connections(listener: socket.socket) -> Iterator[None]:
    """One for each connection that waits to be accepted."""
    with suppress(BlockingIOError):
        while True:
            listener.accept()[0].close()
            yield


# --- On a real server


def test_a_real_server_keeps_its_limits_among_its_processes(
    make_server: MakeServer, redis_server: Redis
) -> None:
    server = make_server(
        RATE_LIMIT="20/hour",
        RATE_LIMIT_ADDRESS="15/hour",
        FAILED_SIGN_INS="10/hour",
        RATE_LIMIT_STORAGE=redis_server.url,
        WORKERS=2,
    )
    url = f"{server.url}/v1/blobs"

    def statuses(count: int, headers: dict[str, str]) -> list[int]:
        with ThreadPoolExecutor(4) as pool:
            answers = pool.map(lambda _: requests.get(url, headers=headers, timeout=30), range(count))
            return sorted(answer.status_code for answer in answers)

    assert statuses(30, BEARER) == [200] * 20 + [429] * 10
    for _ in range(10):
        assert requests.get(url, headers=WRONG, timeout=30).status_code == 401
    refused = requests.get(url, headers=BEARER, timeout=30)
    assert refused.status_code == 429
    assert refused.headers["RateLimit-Policy"] == '"failed-sign-ins";q=10;w=3600'
    assert statuses(10, {}) == [401] * 5 + [429] * 5
    assert requests.get(f"{server.url}/livez", timeout=30).status_code == 200


def test_a_real_server_does_not_begin_with_a_limit_that_is_none(make_server: MakeServer) -> None:
    with pytest.raises(AssertionError, match="FAILED_SIGN_INS"):
        make_server(FAILED_SIGN_INS="many")


def test_parallel_guesses_do_not_get_past_the_limit_by_more_than_are_under_way(
    parts: Parts, make_app: MakeApp
) -> None:
    app = make_app(failed_sign_ins="10/hour")
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: ask(app.test_client(), **WRONG).status_code, range(100)))
    assert 10 <= answers.count(401) <= 10 + 8
    assert answers.count(429) == 100 - answers.count(401)
