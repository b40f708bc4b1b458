"""The specification is true: of the routes there are, of its own examples, and of every kind of problem."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from flask import Flask
from flask.testing import FlaskClient
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from simpledrive import __version__
from simpledrive.api.specification import document
from simpledrive.api.specification.blobs import HELLO
from simpledrive.api.specification.file_share import FILE_ID
from simpledrive.api.specification.parameters import STORED
from simpledrive.http.problem_kinds import KINDS
from simpledrive.parts import Parts
from simpledrive.rights import SERVER
from tests.moves import begin, run
from tests.problems import assert_problem

SPECIFICATION = document(__version__, "")
COMPONENTS = SPECIFICATION["components"]

FOR_PEOPLE = re.compile(r"/|/(drive|static|docs|problems)(/.*)?")
"""Routes that are pages and what pages fetch: no program is written against them."""

BY_FLASK = {"OPTIONS"}
"""Answered on every path, with `Allow`; the specification says so once."""

REPORTS = {("/healthz", "503")}
"""Answers that say by their status what they report, and are no errors."""

PROBLEM = "application/problem+json"

OTHER_BYTES = {
    "Repr-Digest": f"sha-256=:{'A' * 43}=:",
    "Content-Digest": f"sha-256=:{'A' * 43}=:",
    "Content-MD5": f"{'A' * 22}==",
}
"""What is true of no body that the specification shows."""

NOT_OF_ONE_OPERATION = {
    "not-found": "there is no operation",
    "method-not-allowed": "there is no operation",
    "http-error": "any rule of HTTP that has no type of its own",
    "expectation-failed": "broken HTTP, of any request",
    "form-expired": "forms of the HTML face",
    "key-exists": "forms of the HTML face",
    "misdirected-request": "broken HTTP, of any request",
    "not-implemented": "broken HTTP, of any request",
    "version-not-supported": "broken HTTP, of any request",
}
"""Types that no operation names, and why."""


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in SPECIFICATION["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def resolved(part: dict[str, Any]) -> dict[str, Any]:
    """What a pointer points to, or the part itself."""
    while "$ref" in part:
        _, _, kind, name = part["$ref"].split("/")
        part = COMPONENTS[kind][name]
    return part


def faults_of(value: object, schema: dict[str, Any]) -> list[str]:
    """What in a value is not as its schema has it."""
    validator = Draft202012Validator(
        schema | {"components": COMPONENTS}, format_checker=Draft202012Validator.FORMAT_CHECKER
    )
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(value)]


# --- Its form


def test_it_is_openapi_3_1() -> None:
    assert SPECIFICATION["openapi"].startswith("3.1")
    validate(SPECIFICATION)


def test_it_is_served_to_all_and_says_which_version_of_the_drive_it_describes(app: Flask) -> None:
    answer = app.test_client().get("/openapi.json")
    assert (answer.status_code, answer.mimetype) == (200, "application/json")
    assert answer.json == SPECIFICATION
    assert answer.json["info"]["version"] == __version__
    again = app.test_client().get("/openapi.json", headers={"If-None-Match": answer.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")


def test_behind_a_prefix_its_paths_begin_there(app: Flask) -> None:
    answer = app.test_client().get("/openapi.json", environ_overrides={"SCRIPT_NAME": "/drives/one"})
    assert answer.json["servers"] == [{"url": "/drives/one"}]
    assert app.test_client().get("/openapi.json").json["servers"] == [{"url": "/"}]


def test_every_operation_has_a_name_of_its_own_a_sentence_and_a_subject() -> None:
    names = [operation["operationId"] for _, _, operation in operations()]
    assert len(names) == len(set(names))
    subjects = {tag["name"] for tag in SPECIFICATION["tags"]}
    for path, method, operation in operations():
        assert operation["summary"].endswith("."), (method, path)
        assert set(operation["tags"]) <= subjects
        assert any(status.startswith("2") for status in operation["responses"]), (method, path)


def pointers(part: object) -> Iterator[str]:
    if isinstance(part, dict):
        if "$ref" in part:
            yield part["$ref"]
        part = list(part.values())
    if isinstance(part, list):
        for one in part:
            yield from pointers(one)


def test_nothing_shared_is_left_over() -> None:
    used = set(pointers(SPECIFICATION))
    for kind in ("schemas", "parameters", "headers", "responses"):
        assert {f"#/components/{kind}/{name}" for name in COMPONENTS[kind]} <= used


# --- Its routes


def routes_of(app: Flask) -> set[tuple[str, str]]:
    """Method and path of every route for programs, as the specification spells it."""
    found = set()
    for rule in app.url_map.iter_rules():
        path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)
        # A path and the same one with a slash at its end answer alike.
        path = path.rstrip("/") if path != "/" else path
        if not FOR_PEOPLE.fullmatch(path or "/"):
            found |= {(method, path) for method in (rule.methods or set()) - BY_FLASK}
    return found


def test_every_route_is_in_it_and_it_has_no_other(app: Flask) -> None:
    described = {(method.upper(), path) for path, method, _ in operations()}
    assert described == routes_of(app)


def test_a_route_that_it_lacks_would_be_noticed(app: Flask) -> None:
    app.add_url_rule("/v1/forgotten/<id:id>", "forgotten", lambda id: "")
    assert routes_of(app) - {(method.upper(), path) for path, method, _ in operations()} == {
        ("GET", "/v1/forgotten/{id}"),
        ("HEAD", "/v1/forgotten/{id}"),
    }


def test_every_variable_of_a_path_is_described() -> None:
    for path, method, operation in operations():
        asked = [resolved(part) for part in operation.get("parameters", ())]
        assert {part["name"] for part in asked if part["in"] == "path"} == set(
            re.findall(r"{(\w+)}", path)
        ), (
            method,
            path,
        )


# --- Its problems


def test_every_error_answer_is_a_problem_document_of_types_with_that_status() -> None:
    for path, method, operation in operations():
        for status, answer in operation["responses"].items():
            if int(status) >= 400:
                contents = resolved(answer).get("content", {})
                if (path, status) in REPORTS or (method == "head" and not contents):
                    continue
                assert PROBLEM in contents, (method, path, status)
                types = contents[PROBLEM]["schema"]["properties"]["type"]["enum"]
                assert {KINDS[kind.rpartition("/")[2]].status for kind in types} == {int(status)}


def test_every_type_of_problem_is_named_by_an_operation_or_has_a_reason() -> None:
    named = {kind for name in COMPONENTS["responses"] for kind in name.split(".")[1:]}
    assert named | set(NOT_OF_ONE_OPERATION) == set(KINDS)
    assert not named & set(NOT_OF_ONE_OPERATION)


# --- Its examples


def requests_shown() -> Iterator[Any]:
    """Every request that the specification shows, and the status that it says this is answered with."""
    for path, method, operation in operations():
        answers = {status: resolved(answer) for status, answer in operation["responses"].items()}
        first = next(status for status in answers if status.startswith("2"))
        shown: dict[tuple[str, str], object] = {}
        for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
            for name, example in content.get("examples", {}).items():
                shown[name, media_type] = example["value"]
        for (name, media_type), value in (shown or {("", ""): None}).items():
            status = next(
                (
                    status
                    for status, answer in answers.items()
                    for content in answer.get("content", {}).values()
                    if status.startswith("2") and name in content.get("examples", {})
                ),
                first,
            )
            label = "-".join(filter(None, (operation["operationId"], name, media_type.partition("+")[2])))
            yield pytest.param(path, method, media_type, value, int(status), id=label)


@pytest.fixture
def as_shown(api: FlaskClient) -> FlaskClient:
    """A client of a drive that has what the examples speak of."""
    for id in (STORED, FILE_ID):
        assert api.post("/v1/blobs", json={"id": id, "data": HELLO}).status_code == 201
    machine_file = SPECIFICATION["paths"]["/put_file"]["post"]["requestBody"]["content"]["application/json"]
    announced = api.post("/put_file", json=machine_file["examples"]["known"]["value"])
    assert announced.status_code == 201, announced.text
    return api


def migration_for(client: FlaskClient, path: str) -> str:
    """A migration in a state in which that can be asked of it."""
    parts: Parts = client.application.extensions["simpledrive"]
    migration = begin(parts)
    if path.endswith("/resume"):
        parts.migrations.pause(SERVER, migration.id)
    if path.endswith("/finalize"):
        list(run(parts, migration))
    return migration.id


def asked(client: FlaskClient, path: str, operation: dict[str, Any]) -> tuple[str, dict[str, object]]:
    """The URL and the query, with the example of every parameter that has one."""
    query = {}
    for part in map(resolved, operation.get("parameters", ())):
        if part["name"] == "key_id":  # the only ids that nobody but the drive can choose
            path = path.replace("{key_id}", client.post("/v1/keys", json={"name": "new"}).json["id"])
        elif part["name"] == "migration_id":
            path = path.replace("{migration_id}", migration_for(client, path))
        elif part["in"] == "path":
            path = path.replace(f"{{{part['name']}}}", quote(part["example"], safe=""))
        elif part["in"] == "query" and "example" in part:
            query[part["name"]] = part["example"]
    return path, query


def body_of(media_type: str, value: Any) -> dict[str, Any]:
    """A body as the test client takes it."""
    if media_type == "application/octet-stream":
        return {"data": value}
    if media_type == "multipart/form-data":
        return {"data": {name: (io.BytesIO(text.encode()), "hello.txt") for name, text in value.items()}}
    return {"json": value, "content_type": media_type} if media_type else {}


@pytest.mark.parametrize(("path", "method", "media_type", "value", "status"), [*requests_shown()])
def test_a_request_that_it_shows_is_answered_as_it_says(
    as_shown: FlaskClient, path: str, method: str, media_type: str, value: object, status: int
) -> None:
    operation = SPECIFICATION["paths"][path][method]
    url, query = asked(as_shown, path, operation)
    answer = as_shown.open(url, method=method.upper(), query_string=query, **body_of(media_type, value))
    assert answer.status_code == status, answer.text
    described = resolved(operation["responses"][str(status)])
    assert set(described["headers"]) - {"Link"} <= set(answer.headers.keys()), (
        "every header it names is there"
    )
    if method != "head" and "application/json" in described.get("content", {}):
        assert faults_of(answer.json, described["content"]["application/json"]["schema"]) == []


with_a_body = pytest.mark.parametrize(
    ("path", "method", "media_type", "value"),
    [pytest.param(*shown.values[:4], id=shown.id) for shown in requests_shown() if shown.values[2]],
)


@with_a_body
def test_what_it_says_may_be_announced_of_a_body_is_checked(
    as_shown: FlaskClient, path: str, method: str, media_type: str, value: object
) -> None:
    operation = SPECIFICATION["paths"][path][method]
    headers = {part["name"] for part in map(resolved, operation["parameters"]) if part["in"] == "header"}
    assert set(OTHER_BYTES) <= headers
    url, query = asked(as_shown, path, operation)
    for announced in OTHER_BYTES.items():
        request = body_of(media_type, value)
        answer = as_shown.open(url, method=method.upper(), query_string=query, headers=[announced], **request)
        assert_problem(answer, 400, "digest-mismatch")


def test_every_value_that_it_shows_is_of_its_schema() -> None:
    looked_at = 0
    for _, _, operation in operations():
        contents = [
            *operation.get("requestBody", {}).get("content", {}).values(),
            *(
                content
                for answer in operation["responses"].values()
                for content in resolved(answer).get("content", {}).values()
            ),
        ]
        for content in contents:
            for name, example in content.get("examples", {}).items():
                assert faults_of(example["value"], content["schema"]) == [], (operation["operationId"], name)
                looked_at += 1
        for part in map(resolved, operation.get("parameters", ())):
            if "example" in part:
                assert faults_of(part["example"], part["schema"]) == [], part["name"]
    assert looked_at > 50


def test_a_wrong_example_would_be_noticed() -> None:
    record = COMPONENTS["schemas"]["Record"]
    assert faults_of({"id": "a/../b", "size": -1}, record) != []
