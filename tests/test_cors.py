"""Which other sites' pages may call the API, what they may send and see, and that cookies never help them."""

from collections.abc import Callable
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from simpledrive.errors import ConfigurationError
from tests.apps import BEARER, settings_for
from tests.problems import assert_problem
from tests.visitors import Visitor

MakeApp = Callable[..., Flask]

APP = "https://app.example"
OTHER = "http://localhost:3000"


@pytest.fixture
def client(make_app: MakeApp) -> FlaskClient:
    return make_app(cors_origins=f"{APP}, {OTHER}").test_client()


def preflight(
    client: FlaskClient, path: str, origin: str = APP, method: str = "PUT", **more: str
) -> TestResponse:
    asked = {"Origin": origin, "Access-Control-Request-Method": method}
    return client.options(
        path, headers=asked | {name.replace("_", "-"): value for name, value in more.items()}
    )


def told(response: TestResponse) -> set[str]:
    """The headers of CORS that an answer has."""
    return {name for name in response.headers.keys() if name.lower().startswith("access-control-")}


def listed(response: TestResponse, name: str) -> set[str]:
    return {item.strip().lower() for item in response.headers[name].split(",")}


# --- Without a configured origin


def test_without_an_origin_configured_nothing_is_said(app: Flask) -> None:
    client = app.test_client()
    for answer in (
        client.get("/v1/blobs", headers=BEARER | {"Origin": APP}),
        client.get("/v1/blobs", headers={"Origin": APP}),
        preflight(client, "/v1/blobs"),
        client.get("/drive/sign-in", headers={"Origin": APP}),
    ):
        assert told(answer) == set()
        assert "Origin" not in answer.vary
    assert preflight(client, "/v1/blobs").status_code == 401


# --- What browsers ask first


@pytest.mark.parametrize(
    "path",
    [
        "/v1/blobs",
        "/v1/content/a/b.txt",
        "/v1/uploads",
        "/files",
        "/files/x",
        "/put_file",
        "/upload_file/x",
        "/get_file/x",
        "/api_keys",
        "/api_keys/x/revoke",
        "/openapi.json",
        "/v1/nowhere",
    ],
)
@pytest.mark.parametrize("origin", [APP, OTHER])
def test_a_preflight_is_answered_without_a_credential(client: FlaskClient, path: str, origin: str) -> None:
    answer = preflight(client, path, origin, Access_Control_Request_Headers="authorization,content-type")
    assert (answer.status_code, answer.data) == (204, b"")
    assert answer.headers["Access-Control-Allow-Origin"] == origin
    assert listed(answer, "Access-Control-Allow-Methods") >= {"get", "head", "post", "put", "patch", "delete"}
    assert "Content-Type" not in answer.headers
    assert "Origin" in answer.vary
    assert "WWW-Authenticate" not in answer.headers


def test_clients_may_send_what_they_need(client: FlaskClient) -> None:
    allowed = listed(preflight(client, "/v1/content/x"), "Access-Control-Allow-Headers")
    assert allowed >= {
        "authorization", "x-api-key", "content-type", "if-match", "if-none-match", "if-range", "range",
        "idempotency-key", "repr-digest", "content-digest", "content-md5", "tus-resumable", "upload-length",
        "upload-offset", "upload-metadata", "upload-checksum", "upload-concat", "upload-defer-length",
    }  # fmt: skip
    assert not allowed & {"*", "cookie", "x-csrftoken"}


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "http://app.example",
        "https://app.example:8443",
        "https://app.example.evil.example",
        "https://sub.app.example",
        "null",
        "",
        "HTTPS://APP.EXAMPLE",
        APP + "/",
        f"{APP}, {OTHER}",
        f"{APP},{OTHER}",
    ],
)
def test_an_origin_that_is_not_named_is_told_nothing(client: FlaskClient, origin: str) -> None:
    for answer in (
        preflight(client, "/v1/blobs", origin),
        client.get("/v1/blobs", headers=BEARER | {"Origin": origin}),
    ):
        assert told(answer) == set()
        assert "Origin" in answer.vary


def test_options_that_is_no_preflight_wants_a_key_as_ever(client: FlaskClient) -> None:
    assert client.options("/v1/blobs", headers={"Origin": APP}).status_code == 401
    assert client.options("/v1/blobs", headers={"Access-Control-Request-Method": "PUT"}).status_code == 401
    assert client.options("/v1/blobs", headers=BEARER | {"Origin": APP}).status_code == 200


# --- What pages see


def test_an_answer_shows_what_clients_need(client: FlaskClient) -> None:
    stored = client.put("/v1/content/x", data=b"x", headers=BEARER | {"Origin": APP})
    assert stored.status_code == 201
    assert stored.headers["Access-Control-Allow-Origin"] == APP
    seen = listed(stored, "Access-Control-Expose-Headers")
    assert seen >= {
        "etag", "location", "link", "content-range", "content-disposition", "accept-ranges", "repr-digest",
        "last-modified", "retry-after", "ratelimit", "ratelimit-policy", "x-request-id", "upload-offset",
        "upload-length", "upload-expires", "tus-resumable",
    }  # fmt: skip
    assert not seen & {"*", "set-cookie"}
    got = client.get("/v1/content/x", headers=BEARER | {"Origin": APP, "Range": "bytes=0-0"})
    assert (got.status_code, got.data) == (206, b"x")
    assert got.headers["Access-Control-Allow-Origin"] == APP
    given = {name.lower() for name in got.headers.keys()}
    assert {"etag", "content-range", "repr-digest", "last-modified", "accept-ranges"} <= given & seen


def test_errors_can_be_read_too(client: FlaskClient) -> None:
    page = {"Origin": APP}
    for answer, status, kind in (
        (client.get("/v1/blobs", headers=page), 401, "not-signed-in"),
        (client.get("/v1/blobs", headers=page | {"X-API-Key": "wrong"}), 401, "not-signed-in"),
        (client.get("/v1/blobs/x", headers=BEARER | page), 404, "blob-not-found"),
        (client.get("/v1/nowhere", headers=page), 404, "not-found"),
        (client.put("/v1/blobs", headers=BEARER | page), 405, "method-not-allowed"),
    ):
        assert_problem(answer, status, kind)
        assert answer.headers["Access-Control-Allow-Origin"] == APP
        assert "retry-after" in listed(answer, "Access-Control-Expose-Headers")


def test_a_limited_answer_can_be_read_too(make_app: MakeApp) -> None:
    client = make_app(cors_origins=APP, rate_limit="1/hour").test_client()
    client.get("/v1/blobs", headers=BEARER)
    limited = client.get("/v1/blobs", headers=BEARER | {"Origin": APP})
    assert limited.status_code == 429
    assert limited.headers["Access-Control-Allow-Origin"] == APP
    assert {"ratelimit", "retry-after"} <= listed(limited, "Access-Control-Expose-Headers")


def test_caches_keep_answers_for_origins_apart(client: FlaskClient) -> None:
    for headers in ({}, {"Origin": APP}, {"Origin": "https://evil.example"}):
        assert "Origin" in client.get("/v1/blobs", headers=BEARER | headers).vary


# --- Cookies


def test_cookies_never_help_another_origin(make_app: MakeApp) -> None:
    for origins in (APP, "*"):
        visitor = Visitor(make_app(cors_origins=origins))
        visitor.sign_in()
        for answer in (
            preflight(visitor.client, "/v1/blobs"),
            visitor.client.get("/v1/blobs", headers={"Origin": APP}),
            visitor.client.get("/v1/blobs", headers=BEARER | {"Origin": APP}),
        ):
            assert "Access-Control-Allow-Credentials" not in answer.headers
        assert visitor.client.get("/v1/blobs", headers={"Origin": APP}).status_code == 401


@pytest.mark.parametrize("origins", [APP, "*"])
def test_the_html_face_is_never_shared(make_app: MakeApp, origins: str) -> None:
    visitor = Visitor(make_app(cors_origins=origins))
    visitor.sign_in()
    for path in (
        "/",
        "/drive",
        "/drive/sign-in",
        "/drive/files/",
        "/drive/blob/x",
        "/filesystem",
        "/v1x",
        "/",
    ):
        for answer in (
            visitor.get(path, headers={"Origin": APP}),
            preflight(visitor.client, path, method="GET"),
        ):
            assert told(answer) == set(), path


# --- Every origin


def test_a_star_admits_every_origin_and_names_none(make_app: MakeApp) -> None:
    client = make_app(cors_origins="*").test_client()
    for origin in (APP, "https://whoever.example", "null"):
        asked = preflight(client, "/v1/blobs", origin)
        assert (asked.status_code, asked.headers["Access-Control-Allow-Origin"]) == (204, "*")
        got = client.get("/v1/blobs", headers=BEARER | {"Origin": origin})
        assert got.headers["Access-Control-Allow-Origin"] == "*"
        assert "Origin" not in got.vary


# --- Settings


@pytest.mark.parametrize(
    "value",
    [
        "app.example",
        "https://app.example/",
        "https://app.example/path",
        "https://App.example",
        "null",
        "//app.example",
        "https://*.example",
        f"{APP},*",
        "https://app.example:443",
        "http://app.example:80",
        "https://user@app.example",
        f"{APP} {OTHER}",
        "https://",
        "https://app.example:port",
        "https://bücher.example",
    ],
)
def test_an_origin_that_no_browser_sends_stops_the_start(value: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="CORS_ORIGINS"):
        settings_for(tmp_path, cors_origins=value)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "*",
        APP,
        f" {APP} , {OTHER} ,",
        "http://[::1]:8080",
        "https://xn--bcher-kva.example",
        "app://localhost",
    ],
)
def test_origins_as_browsers_send_them_are_taken(value: str, tmp_path: Path) -> None:
    assert settings_for(tmp_path, cors_origins=value).cors_origins == value.replace(" ", "").rstrip(",")
