"""Every error is problem+json, from one table, and gives nothing away."""

import logging
import re

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.exceptions import HTTPException, ImATeapot, RequestEntityTooLarge

from simpledrive import errors
from simpledrive.http.problem_kinds import KINDS
from simpledrive.http.problems import FAULT, TABLE, problem_of
from simpledrive.parts import Parts
from tests.apps import BEARER, TOKEN
from tests.problems import assert_problem
from tests.servers import ROOT


def test_an_error_has_exactly_these_members(api: FlaskClient) -> None:
    answer = api.get("/v1/blobs/a%20b/%C3%BC")
    document = assert_problem(answer, 404, "blob-not-found")
    assert document == {
        "type": "/problems/blob-not-found",
        "title": "There is no such blob",
        "status": 404,
        "detail": "There is no blob with the id 'a b/ü'.",
        "instance": "/v1/blobs/a%20b/%C3%BC",
        "request_id": answer.headers["X-Request-Id"],
    }


def test_every_request_has_an_id_of_its_own(api: FlaskClient) -> None:
    ids = {api.get(url).headers["X-Request-Id"] for url in ("/v1/blobs", "/v1/blobs/x", "/nowhere", "/livez")}
    assert len(ids) == 4
    assert all(ids)


def everything(kind: type) -> list[type]:
    return [kind, *(found for child in kind.__subclasses__() for found in everything(child))]


def test_every_error_that_a_request_can_meet_is_in_the_table() -> None:
    groups = {errors.DriveError, errors.RequestError, errors.StorageError, errors.ConfigurationError}
    told = [kind for kind in everything(errors.DriveError) if kind.__module__ == errors.__name__]
    assert [kind for kind in set(told) - groups if problem_of(kind.__new__(kind)) is FAULT] == []


def test_types_are_stable_and_name_one_status_each() -> None:
    statuses: dict[str, set[int]] = {}
    for problem in TABLE.values():
        assert re.fullmatch(r"[a-z_-]+", problem.type)
        assert problem.title
        assert not problem.title.endswith(".")
        statuses.setdefault(problem.type, set()).add(problem.status)
    assert all(len(found) == 1 for found in statuses.values())


def test_the_document_for_callers_lists_every_type_with_its_status() -> None:
    [section] = re.findall(r"\n## Errors\n(.*?)\n## ", (ROOT / "docs" / "api.md").read_text(), re.DOTALL)
    listed = re.findall(r"(\d{3}|any other status) ((?:`[a-z_-]+`(?:, )?)+)", section)
    told = {kind: status for status, kinds in listed for kind in re.findall(r"[a-z_-]+", kinds)}
    assert told == {kind: str(problem.status or "any other status") for kind, problem in KINDS.items()}


def test_an_error_that_has_no_row_takes_its_parents() -> None:
    class Refined(errors.StorageFull):
        pass

    assert problem_of(Refined("a", "put", "why")).type == "storage-full"
    assert problem_of(ValueError()).type == "internal-error"
    assert problem_of(RequestEntityTooLarge()).type == "too-large"
    assert problem_of(ImATeapot()).status == 418


@pytest.mark.parametrize(
    "url", ["/nowhere", "/v1", "/v1/", "/v1/content", "/v1/content/", "/v2/blobs", "/V1/blobs"]
)
def test_a_url_that_leads_nowhere_is_404(api: FlaskClient, url: str) -> None:
    document = assert_problem(api.get(url), 404, "not-found")
    assert document["instance"] == url


@pytest.mark.parametrize(
    ("method", "url", "allowed"),
    [
        ("PUT", "/v1/blobs/x", {"GET", "HEAD", "PATCH", "DELETE", "OPTIONS"}),
        ("POST", "/v1/blobs/x", {"GET", "HEAD", "PATCH", "DELETE", "OPTIONS"}),
        ("PUT", "/v1/blobs", {"GET", "HEAD", "POST", "OPTIONS"}),
        ("DELETE", "/v1/blobs/", {"GET", "HEAD", "POST", "OPTIONS"}),
        ("POST", "/v1/content/x", {"GET", "HEAD", "PUT", "OPTIONS"}),
        ("TRACE", "/v1/content/x", {"GET", "HEAD", "PUT", "OPTIONS"}),
        ("MADE-UP", "/v1/content/x", {"GET", "HEAD", "PUT", "OPTIONS"}),
    ],
)
def test_another_method_is_405_with_what_is_allowed(
    api: FlaskClient, method: str, url: str, allowed: set[str]
) -> None:
    answer = api.open(url, method=method)
    assert_problem(answer, 405, "method-not-allowed")
    assert set(answer.headers["Allow"].split(", ")) == allowed


def test_a_url_that_is_not_utf_8_is_400_and_never_another_id(api: FlaskClient) -> None:
    assert api.put("/v1/content/a%EF%BF%BDb", data=b"x").status_code == 201
    for broken in ("\xff", "\xc3", "\xed\xa0\x80", "\xc0\xaf", "\xf8\x88\x80\x80\x80"):
        for method, path in (("GET", "/v1/blobs/a"), ("PUT", "/v1/content/a"), ("DELETE", "/v1/blobs/a")):
            answer = api.open("/", method=method, environ_overrides={"PATH_INFO": f"{path}{broken}b"})
            assert_problem(answer, 400, "bad-request")
    for query in ("prefix=%FF", "prefix=%ED%A0%80", "prefix=\xff", "%FF=1"):
        answer = api.open("/v1/blobs", environ_overrides={"QUERY_STRING": query})
        assert_problem(answer, 400, "bad-request")


def test_a_fragment_in_a_url_is_400_and_never_a_shorter_id(api: FlaskClient) -> None:
    answer = api.put("/v1/content/a", data=b"x", environ_overrides={"RAW_URI": "/v1/content/a#b"})
    assert_problem(answer, 400, "bad-request")
    assert api.get("/v1/content/a").status_code == 404


def test_head_of_an_error_has_its_headers_and_no_body(api: FlaskClient) -> None:
    head = api.head("/v1/blobs/x")
    assert (head.status_code, head.data) == (404, b"")
    assert head.headers["Content-Type"] == "application/problem+json"
    assert head.headers["Cache-Control"] == "no-store"


SECRETS = "/secret/path password=hunter2"


@pytest.mark.parametrize("debug", [False, True])
def test_a_fault_of_ours_is_500_shows_nothing_and_is_logged_with_its_traceback(
    app: Flask, parts: Parts, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, debug: bool
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError(SECRETS)

    app.debug = debug
    monkeypatch.setattr(parts.drive, "describe", fail)
    for url in ("/v1/blobs/x", "/v1/content/x"):
        caplog.clear()
        answer = app.test_client().get(url, headers=BEARER)
        assert_problem(answer, 500, "internal-error")
        assert not any(
            word in answer.text for word in ("secret", "hunter2", "RuntimeError", "Traceback", ".py")
        )
        [record] = [record for record in caplog.records if record.levelno == logging.ERROR]
        assert answer.headers["X-Request-Id"] in record.getMessage()
        assert record.exc_info is not None
        assert str(record.exc_info[1]) == SECRETS


@pytest.mark.parametrize(
    ("why", "said"),
    [
        ("its folder is gone: is the disk mounted?", "its folder is gone: is the disk mounted?"),
        ("it does not answer", "it does not answer."),
        ("It does not answer.", "It does not answer."),
    ],
)
def test_what_a_backend_says_ends_as_one_sentence(
    api: FlaskClient, parts: Parts, monkeypatch: pytest.MonkeyPatch, why: str, said: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise errors.StorageUnavailable("local", "put", why)

    monkeypatch.setattr(parts.drive, "store", fail)
    document = assert_problem(api.put("/v1/content/x", data=b"x"), 503, "storage-unavailable")
    assert document["detail"] == f"The backend local could not do it: {said}"


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (errors.Busy("later"), 503, "busy"),
        (errors.DatabaseUnavailable("no answer"), 503, "database-unavailable"),
        (errors.DatabaseFull("full"), 507, "database-full"),
        (errors.StagingFull("full"), 507, "staging-full"),
        (errors.ObjectMissing("local", "open", "not there"), 500, "integrity-fault"),
        (errors.IntegrityFault("gone"), 500, "integrity-fault"),
        (errors.Forbidden("not yours"), 403, "insufficient_scope"),
    ],
    ids=lambda value: getattr(value, "__class__", value).__name__ if isinstance(value, Exception) else None,
)
def test_each_error_of_the_drive_has_its_answer(
    api: FlaskClient, parts: Parts, monkeypatch: pytest.MonkeyPatch, error: Exception, status: int, kind: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(parts.drive, "store", fail)
    for answer in (api.put("/v1/content/x", data=b"x"), api.post("/v1/blobs", json={"data": ""})):
        assert_problem(answer, status, kind)
        assert ("Retry-After" in answer.headers) == (status == 503)
        challenge = answer.headers.get("WWW-Authenticate", "")
        assert ('error="insufficient_scope"' in challenge) == (status == 403)


def test_a_flask_error_keeps_its_sentence_and_becomes_a_problem(
    api: FlaskClient, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(parts.drive, "describe", fail)
    for error in (RequestEntityTooLarge(), ImATeapot()):
        assert isinstance(error, HTTPException)
        assert error.code is not None
        document = assert_problem(api.get("/v1/blobs/x"), error.code, problem_of(error).type)
        assert document["detail"] == error.description


def test_no_answer_and_no_log_has_the_token(app: Flask, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    client = app.test_client()
    answers = [
        client.get("/v1/blobs/x", headers={"Authorization": f"Bearer {TOKEN}{more}"}) for more in ("", "x")
    ]
    answers.append(client.get("/v1/blobs/x", headers={"X-API-Key": f"{TOKEN}x"}))
    assert [answer.status_code for answer in answers] == [404, 401, 401]
    for answer in answers:
        assert TOKEN not in answer.text + str(answer.headers)
    assert TOKEN not in caplog.text
