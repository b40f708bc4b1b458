"""Who is asking: by header, by a guarded session, or nobody. What is wrong is never taken for nothing."""

import io
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from simpledrive.keys import Keys, NewKey
from simpledrive.models import ApiKey, now
from simpledrive.parts import Parts
from simpledrive.rights import SERVER
from tests.apps import BEARER, TOKEN
from tests.problems import assert_problem
from tests.visitors import Visitor

MakeApp = Callable[..., Flask]


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """Somebody who sends no credential by himself."""
    return app.test_client()


@pytest.fixture
def keys(parts: Parts) -> Keys:
    return parts.keys


def issue(keys: Keys, *scopes: str, **more: Any) -> tuple[ApiKey, str]:
    return keys.issue(SERVER, NewKey("a key", scopes=scopes or ("read", "write"), **more))


def listing(client: FlaskClient, **headers: str) -> TestResponse:
    return client.get("/v1/blobs", headers={name.replace("_", "-"): value for name, value in headers.items()})


# --- By header


def test_each_way_to_send_a_key_is_accepted(client: FlaskClient, keys: Keys) -> None:
    for credential in (TOKEN, issue(keys)[1]):
        assert listing(client, Authorization=f"Bearer {credential}").status_code == 200
        assert listing(client, Authorization=f"bEARER   {credential} ").status_code == 200
        assert listing(client, X_API_Key=credential).status_code == 200


def test_a_bearer_token_goes_before_an_api_key(client: FlaskClient) -> None:
    assert listing(client, Authorization="Bearer wrong", X_API_Key=TOKEN).status_code == 401
    assert listing(client, Authorization=f"Bearer {TOKEN}", X_API_Key="wrong").status_code == 200


def test_a_proxy_may_want_a_password_of_its_own(client: FlaskClient) -> None:
    assert listing(client, Authorization="Basic dXNlcjpwYXNz", X_API_Key=TOKEN).status_code == 200


def test_a_request_without_a_token_is_challenged_without_an_error(client: FlaskClient) -> None:
    for headers in ({}, {"Authorization": "Basic dXNlcjpwYXNz"}, {"Authorization": "Bearer"}):
        answer = listing(client, **headers)
        assert_problem(answer, 401, "not-signed-in")
        assert answer.headers["WWW-Authenticate"] == 'Bearer realm="Simple Drive"'


@pytest.mark.parametrize(
    "wrong", ["wrong", TOKEN + "x", TOKEN[:-1], TOKEN.upper(), "sd_" + 43 * "A", "\xff\xfe"]
)
def test_a_wrong_token_is_told_to_be_invalid(client: FlaskClient, wrong: str) -> None:
    for name, value in (("Authorization", f"Bearer {wrong}"), ("X_API_Key", wrong)):
        answer = listing(client, **{name: value})
        assert_problem(answer, 401, "not-signed-in")
        assert answer.headers["WWW-Authenticate"] == 'Bearer realm="Simple Drive", error="invalid_token"'
        assert wrong not in answer.text


def test_a_key_that_ended_is_told_to_be_invalid(client: FlaskClient, parts: Parts) -> None:
    revoked, removed = issue(parts.keys), issue(parts.keys)
    expired = issue(parts.keys, expires_at=now() + timedelta(hours=1))
    for _, credential in (revoked, removed, expired):
        assert listing(client, X_API_Key=credential).status_code == 200
    parts.keys.revoke(SERVER, revoked[0].id)
    parts.keys.remove(SERVER, removed[0].id)
    parts.database.write(lambda session: setattr(session.get(ApiKey, expired[0].id), "expires_at", now()))
    for _, credential in (revoked, removed, expired):
        answer = listing(client, X_API_Key=credential)
        assert_problem(answer, 401, "not-signed-in")
        assert "invalid_token" in answer.headers["WWW-Authenticate"]


def test_a_scope_that_a_key_lacks_is_403(client: FlaskClient, keys: Keys) -> None:
    reader = {"X-API-Key": issue(keys, "read")[1]}
    assert client.get("/v1/blobs", headers=reader).status_code == 200
    answer = client.put("/v1/content/x", data=b"x", headers=reader)
    assert_problem(answer, 403, "insufficient_scope")
    assert 'error="insufficient_scope"' in answer.headers["WWW-Authenticate"]


@pytest.mark.parametrize("name", ["token", "access_token", "api_key", "key", "X-API-Key", "Authorization"])
def test_a_token_in_the_query_never_counts(client: FlaskClient, name: str) -> None:
    for value in (TOKEN, f"Bearer {TOKEN}"):
        answer = client.get("/v1/blobs", query_string={name: value})
        assert_problem(answer, 401, "not-signed-in")
        assert TOKEN not in answer.text
        assert client.get("/drive/files/", query_string={name: value}).status_code == 303


def test_a_token_in_a_form_or_a_cookie_counts_as_little(client: FlaskClient) -> None:
    assert client.post("/v1/blobs", data={"access_token": TOKEN}).status_code == 401
    client.set_cookie("simpledrive", TOKEN)
    client.set_cookie("Authorization", f"Bearer {TOKEN}")
    assert client.get("/v1/blobs").status_code == 401
    assert client.get("/drive/files/").status_code == 303


def test_a_deed_is_logged_with_its_origin(client: FlaskClient, parts: Parts) -> None:
    answer = client.put(
        "/v1/content/x", data=b"x", headers=BEARER, environ_overrides={"REMOTE_ADDR": "192.0.2.7"}
    )
    [entry] = parts.audit.page(SERVER, action="blob.stored").entries
    assert (entry.request_id, entry.address) == (answer.headers["X-Request-Id"], "192.0.2.7")
    assert entry.key_name == "API_TOKEN"


# --- By a session under /v1


def test_a_session_counts_under_v1_only_with_the_csrf_header(visitor: Visitor) -> None:
    token = {"X-CSRFToken": visitor.token}
    for method, url in (("GET", "/v1/blobs"), ("HEAD", "/v1/blobs"), ("PUT", "/v1/content/x")):
        refused = visitor.client.open(url, method=method, data=b"x" if method == "PUT" else None)
        assert refused.status_code == 401, method
        assert "Cookie" not in refused.headers.get("Vary", "")
    assert visitor.client.put("/v1/content/x", data=b"x", headers=token).status_code == 201
    assert visitor.client.get("/v1/blobs", headers=token).status_code == 200
    assert visitor.client.delete("/v1/blobs/x", headers=token).status_code == 204


def test_a_csrf_token_of_another_session_is_refused(app: Flask, visitor: Visitor) -> None:
    other = Visitor(app)
    other.sign_in()
    other.get("/drive/files/")
    for token in (other.token, visitor.token + "x", "", "made up"):
        answer = visitor.client.get("/v1/blobs", headers={"X-CSRFToken": token})
        assert_problem(answer, 401, "not-signed-in")


def test_a_csrf_token_without_a_session_is_worth_nothing(app: Flask, visitor: Visitor) -> None:
    token = {"X-CSRFToken": visitor.token}
    assert app.test_client().get("/v1/blobs", headers=token).status_code == 401
    stranger = Visitor(app)
    stranger.get("/drive/sign-in")
    assert stranger.client.get("/v1/blobs", headers={"X-CSRFToken": stranger.token}).status_code == 401


def test_a_csrf_token_in_the_body_or_the_query_does_not_count(visitor: Visitor) -> None:
    given = {"csrf_token": visitor.token}
    assert visitor.client.post("/v1/blobs", data=given).status_code == 401
    assert visitor.client.get("/v1/blobs", query_string=given).status_code == 401


def test_a_header_goes_before_the_session(visitor: Visitor) -> None:
    headers = {"X-CSRFToken": visitor.token, "Authorization": "Bearer wrong"}
    assert visitor.client.get("/v1/blobs", headers=headers).status_code == 401


# --- Nobody


def test_without_anonymous_access_nobody_gets_in(client: FlaskClient) -> None:
    assert_problem(listing(client), 401, "not-signed-in")
    assert client.get("/drive/files/").headers["Location"].startswith("/drive/sign-in")


@pytest.mark.parametrize(
    ("access", "written", "deleted"), [("read", 403, 403), ("write", 201, 403)], ids=["read", "write"]
)
def test_anonymous_access_acts_as_a_key_with_these_scopes(
    make_app: MakeApp, access: str, written: int, deleted: int
) -> None:
    client = make_app(anonymous_access=access).test_client()
    assert client.put("/v1/content/there", data=b"x", headers=BEARER).status_code == 201
    assert client.get("/v1/content/there").data == b"x"
    assert client.get("/v1/blobs").status_code == 200
    assert client.put("/v1/content/new", data=b"x").status_code == written
    assert client.delete("/v1/blobs/there").status_code == deleted


@pytest.mark.parametrize("access", ["read", "write"])
def test_a_wrong_credential_is_never_anonymous(make_app: MakeApp, visitor: Visitor, access: str) -> None:
    client = make_app(anonymous_access=access).test_client()
    for headers in (
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Bearer "},
        {"Authorization": ""},
        {"Authorization": "Basic dXNlcjpwYXNz"},
        {"X-API-Key": "wrong"},
        {"X-API-Key": ""},
        {"X-CSRFToken": "made up"},
    ):
        assert_problem(client.get("/v1/blobs", headers=headers), 401, "not-signed-in")


def test_strangers_may_look_at_an_open_drive_and_see_no_form_they_may_not_use(make_app: MakeApp) -> None:
    app = make_app(anonymous_access="read")
    app.test_client().put("/v1/content/a/x.txt", data=b"hello", headers=BEARER)
    stranger = Visitor(app)
    for url in ("/drive/files/", "/drive/files/a/", "/drive/blob/a/x.txt", "/drive/files/empty/"):
        page = stranger.get(url)
        assert page.status_code == 200
        assert re.findall(r'<form[^>]* action="([^"]+)"', page.text) == ["/drive/settings/theme"], url
        assert "Sign in" in page.text
        assert "Sign out" not in page.text
        assert 'type="checkbox"' not in page.text
    assert stranger.get("/drive/content/a/x.txt").data == b"hello"


def test_what_strangers_may_not_do_is_answered_by_the_door(make_app: MakeApp) -> None:
    app = make_app(anonymous_access="read")
    app.test_client().put("/v1/content/x", data=b"hello", headers=BEARER)
    stranger = Visitor(app)
    stranger.get("/drive/files/")
    for refused in (
        stranger.upload((b"new", "new.txt")),
        stranger.post("/drive/delete", {"id": "x", "confirmed": "1"}),
        stranger.post("/drive/delete", {"id": "x"}),
    ):
        assert (refused.status_code, refused.headers["Location"]) == (303, "/drive/sign-in")
    assert stranger.get("/drive/blob/new.txt").status_code == 404
    assert stranger.get("/drive/blob/x").status_code == 200
    fragment = stranger.post("/drive/delete", {"id": "x"}, headers={"HX-Request": "true"})
    assert fragment.headers["HX-Redirect"] == "/drive/sign-in"


def test_nothing_of_a_file_is_received_from_who_may_only_read(make_app: MakeApp) -> None:
    app = make_app(anonymous_access="read")
    staging = app.extensions["simpledrive"].settings.staging_path
    stranger = Visitor(app)
    stranger.get("/drive/files/")
    assert stranger.upload((bytes(400 << 10), "large")).status_code == 303
    assert not list(staging.glob("*"))
    form = {"id": ["x" * 1000] * 100}
    assert stranger.post("/drive/delete", form).status_code == 413  # more than a stranger's form may have


class Unread(io.RawIOBase):
    """A body that nobody may touch."""

    def read(self, *_: object) -> bytes:
        raise AssertionError("the body was read")

    readline = read


@pytest.mark.parametrize(
    ("method", "path", "content_type"),
    [
        ("POST", "/v1/blobs", "application/json"),
        ("PATCH", "/v1/blobs/x", "application/json"),
        ("PUT", "/v1/content/x", "text/plain"),
        ("POST", "/v1/keys", "application/json"),
        ("POST", "/files", "multipart/form-data; boundary=x"),
        ("POST", "/put_file", "application/json"),
        ("POST", "/upload_file/" + 64 * "0" + "?hostname=h&filepath=f", "multipart/form-data; boundary=x"),
        ("POST", "/api_keys", "application/json"),
        ("POST", "/drive/upload", "multipart/form-data; boundary=x"),
    ],
)
def test_nothing_of_a_body_is_read_from_who_may_only_read(
    make_app: MakeApp, method: str, path: str, content_type: str
) -> None:
    answer = (
        make_app(anonymous_access="read")
        .test_client()
        .open(
            path,
            method=method,
            content_type=content_type,
            environ_overrides={"wsgi.input": Unread(), "CONTENT_LENGTH": "1000"},
        )
    )
    assert answer.status_code in (403, 404, 303), answer.text


def test_strangers_may_fill_a_drive_that_is_open_for_writing(make_app: MakeApp) -> None:
    stranger = Visitor(make_app(anonymous_access="write"))
    stranger.get("/drive/files/")
    assert stranger.upload((b"new", "new.txt")).headers["Location"] == "/drive/files/"
    page = stranger.get("/drive/files/")
    assert "new.txt" in page.text
    assert "/drive/delete" not in page.text
    assert stranger.post("/drive/delete", {"id": "new.txt", "confirmed": "1"}).status_code == 303
    assert stranger.get("/drive/blob/new.txt").status_code == 200


def test_strangers_of_an_open_drive_can_sign_in(make_app: MakeApp) -> None:
    stranger = Visitor(make_app(anonymous_access="read"))
    page = stranger.get("/drive/files/")
    assert "/drive/sign-in?next=/drive/files/" in page.text
    assert stranger.sign_in().status_code == 303
    page = stranger.get("/drive/files/")
    assert "Sign out" in page.text
    assert "/drive/upload" in page.text


def test_a_key_that_may_only_read_sees_no_other_forms_either(app: Flask, keys: Keys) -> None:
    reader = Visitor(app)
    assert reader.sign_in(issue(keys, "read")[1]).status_code == 303
    page = reader.get("/drive/files/")
    assert "/drive/upload" not in page.text
    assert "/drive/delete" not in page.text
    assert reader.upload((b"new", "new.txt")).status_code == 403
    assert reader.post("/drive/delete", {"id": "x"}).status_code == 403
