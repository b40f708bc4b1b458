"""/v1/migrations: what would move, what is moving, what became of it; and every act on it."""

import json
import threading
from datetime import timedelta
from typing import Any, get_args

import pytest
from flask import Flask
from flask.testing import FlaskClient

from simpledrive.models import Migration, MigrationState
from simpledrive.moving import MigrationJobs
from simpledrive.moving.states import ASKED, DONE, Act
from simpledrive.parts import Parts
from simpledrive.rights import SERVER
from tests.apps import BEARER, client_of
from tests.drives import digest_of, keep, lose, objects
from tests.moves import begin, run
from tests.problems import assert_problem
from tests.servers import ROOT
from tests.sources import content

URL = "/v1/migrations"
MEMBERS = [
    "id", "source", "target", "selection", "plan", "state", "why", "grace_seconds",
    "created_at", "created_by", "ended_at", "items", "bytes", "pending", "moved", "moved_bytes",
    "failed", "gone", "back", "stays",
]  # fmt: skip
RECEIPT = ["id", "version", "sha256", "size", "source_key", "target_key", "verified_at"]
ACTS = ("pause", "resume", "roll-back", "finalize")


@pytest.fixture
def client(any_app: Flask) -> FlaskClient:
    """A client on each database."""
    client = any_app.test_client()
    client.environ_base["HTTP_AUTHORIZATION"] = BEARER["Authorization"]
    return client


def work(parts: Parts) -> None:
    """What a worker would do now."""
    jobs, stop = MigrationJobs(parts.migration_work), threading.Event()
    for job in (jobs.plan, jobs.move, jobs.roll_back, jobs.finalize):
        while job(stop):
            pass


def asked(client: FlaskClient, **more: Any) -> dict[str, Any]:
    """A new migration."""
    answer = client.post(URL, json={"source": "local", "target": "database"} | more)
    assert answer.status_code == 202, answer.text
    document: dict[str, Any] = answer.json
    assert answer.headers["Location"] == f"{URL}/{document['id']}"
    return document


def acted(client: FlaskClient, id: str, act: str) -> str:
    """The state that it is in when this was asked for."""
    answer = client.post(f"{URL}/{id}/{act}")
    assert answer.status_code == (202 if act in ("roll-back", "finalize") else 200), answer.text
    assert list(answer.json) == MEMBERS
    return str(answer.json["state"])


def told(client: FlaskClient, id: str) -> dict[str, Any]:
    answer = client.get(f"{URL}/{id}")
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json
    return document


def test_a_new_one_is_answered_at_once_and_workers_do_the_rest(client: FlaskClient, any_parts: Parts) -> None:
    for seed in range(3):
        keep(any_parts, f"{seed}", content(10, seed))
    document = asked(client, prefix="", min_size=1, grace_seconds=60)
    assert list(document) == MEMBERS
    assert (document["state"], document["items"], document["plan"]) == ("planning", 0, "")
    assert (document["source"], document["target"], document["grace_seconds"]) == ("local", "database", 60)
    assert document["selection"] == {"min_size": 1, "versions": True}
    assert document["created_by"] == "API_TOKEN"
    assert objects(any_parts, "database") == set()
    work(any_parts)
    document = told(client, document["id"])
    assert (document["state"], document["items"], document["moved"], document["moved_bytes"]) == (
        "ended",
        3,
        3,
        30,
    )
    assert document["ended_at"] >= document["created_at"]
    assert client.get("/v1/blobs/0").json["storage_backend"] == "database"


def test_the_same_asked_for_twice_is_one_migration_while_it_is_open(
    client: FlaskClient, any_parts: Parts
) -> None:
    keep(any_parts, "a", b"bytes")
    first = asked(client, prefix="a")
    assert asked(client, prefix="a")["id"] == first["id"]
    assert asked(client, prefix="b")["id"] != first["id"]
    work(any_parts)
    assert asked(client, prefix="a")["id"] != first["id"]


def test_a_dry_run_names_a_plan_that_is_kept_to(client: FlaskClient, any_parts: Parts) -> None:
    for seed in range(12):
        keep(any_parts, f"{seed:02}", content(10, seed))
    ask = {"source": "local", "target": "database", "max_size": 10}
    answer = client.post(URL, json=ask | {"dry_run": True})
    assert answer.status_code == 200
    assert list(answer.json) == ["items", "bytes", "first", "plan"]
    assert (answer.json["items"], answer.json["bytes"]) == (12, 120)
    assert answer.json["first"] == [f"{seed:02}" for seed in range(10)]
    plan = answer.json["plan"]
    assert client.get(URL).json["items"] == []
    keep(any_parts, "new", b"bytes")
    for dry_run in (True, False):
        document = assert_problem(
            client.post(URL, json=ask | {"plan": plan, "dry_run": dry_run}), 422, "invalid", "plan"
        )
        assert "What matches has changed since" in str(document["detail"])
    assert client.get(URL).json["items"] == []
    any_parts.drive.delete(SERVER, "new", permanent=True)
    id = asked(client, max_size=10, plan=plan)["id"]
    work(any_parts)
    assert (told(client, id)["plan"], told(client, id)["moved"]) == (plan, 12)


def test_every_selection_is_taken(client: FlaskClient, any_parts: Parts) -> None:
    keep(any_parts, "a/b", b"bytes")
    selected = {
        "prefix": "a/",
        "ids": ["a/b"],
        "older_than": "2999-01-01T00:00:00Z",
        "newer_than": "30d",
        "min_size": 5,
        "max_size": 5.0,
        "content_type": "application/",
        "limit": 1,
        "versions": False,
    }
    nothing = dict.fromkeys(
        ("ids", "older_than", "newer_than", "min_size", "max_size", "content_type", "limit")
    )
    for body in (selected, nothing, {}):
        ask = {"source": "local", "target": "database", "dry_run": True}
        answer = client.post(f"{URL}/", json=ask | body)
        assert answer.json["first"] == ["a/b"], answer.text


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, ["source", "target"]),
        ({"source": "nowhere", "target": "local"}, ["source"]),
        ({"source": "local", "target": "nowhere"}, ["target"]),
        ({"source": "local", "target": "local"}, ["target"]),
        ({"older_than": "yesterday"}, ["older_than"]),
        ({"newer_than": "0001-01-01T00:00:00+14:00"}, ["newer_than"]),
        ({"older_than": 30}, ["older_than"]),
        ({"min_size": -1}, ["min_size"]),
        ({"max_size": 1 << 63}, ["max_size"]),
        ({"limit": 0}, ["limit"]),
        ({"ids": "a"}, ["ids"]),
        ({"ids": ["a\x00"]}, ["ids"]),
        ({"prefix": "a\x00"}, ["prefix"]),
        ({"content_type": "a\x00/b"}, ["content_type"]),
        ({"grace_seconds": 36500 * 86400 + 1}, ["grace_seconds"]),
        ({"grace_seconds": -1}, ["grace_seconds"]),
        ({"dry_run": "yes"}, ["dry_run"]),
        ({"prefixes": "a"}, ["prefixes"]),
    ],
    ids=str,
)
def test_what_is_not_acceptable_is_named(
    client: FlaskClient, body: dict[str, Any], fields: list[str]
) -> None:
    ask = body if "source" in body or not body else {"source": "local", "target": "database"} | body
    assert_problem(client.post(URL, json=ask), 422, "invalid", *fields)


def test_they_are_listed_the_latest_first_page_by_page(client: FlaskClient) -> None:
    ids = [asked(client, prefix=f"{number}")["id"] for number in range(5)]
    found, url = [], f"{URL}?limit=2"
    while url:
        answer = client.get(url)
        found += [item["id"] for item in answer.json["items"]]
        assert all(list(item) == MEMBERS for item in answer.json["items"])
        url = answer.headers.get("Link", "").partition(">")[0].removeprefix("<")
        assert bool(url) == (answer.json["next_cursor"] is not None)
    assert found == ids[::-1]
    assert_problem(client.get(f"{URL}?cursor=nonsense"), 422, "invalid", "cursor")


def test_items_tell_what_became_of_each_record(client: FlaskClient, any_parts: Parts) -> None:
    for seed in range(5):
        keep(any_parts, f"{seed}", content(10, seed))
    for seed in (1, 3):
        lose(any_parts, content(10, seed), "local")
    id = asked(client)["id"]
    work(any_parts)
    url, found = f"{URL}/{id}/items?limit=2", []
    while url:
        answer = client.get(url)
        found += answer.json["items"]
        url = answer.headers.get("Link", "").partition(">")[0].removeprefix("<")
    assert [item["sha256"] for item in found] == sorted(digest_of(content(10, seed)) for seed in range(5))
    assert all(list(item) == [*RECEIPT[:4], "state", "why", *RECEIPT[4:]] for item in found)
    failed = client.get(f"{URL}/{id}/items?state=failed").json["items"]
    assert {item["id"] for item in failed} == {"1", "3"}
    assert all(item["why"] and item["target_key"] is None for item in failed)
    moved = client.get(f"{URL}/{id}/items?state=moved").json["items"]
    assert {item["target_key"] for item in moved} == objects(any_parts, "database")
    assert client.get(f"{URL}/{id}/items?state=").json["items"] == found
    for query in ("state=lost", "cursor=nonsense", "limit=0"):
        field = query.partition("=")[0]
        assert_problem(client.get(f"{URL}/{id}/items?{query}"), 422, "invalid", field)


def test_a_receipt_is_what_the_command_writes(
    client: FlaskClient, any_app: Flask, any_parts: Parts, tmp_path: Any
) -> None:
    for seed in range(3):
        keep(any_parts, f"{seed}", content(10, seed))
    lose(any_parts, content(10, 1), "local")
    file = tmp_path / "receipt.jsonl"
    command = ["drive", "migrate-backend", "local", "database", "--receipt", str(file)]
    assert any_app.test_cli_runner().invoke(args=command).exit_code == 1
    (migration,) = client.get(URL).json["items"]
    answer = client.get(f"{URL}/{migration['id']}/receipt")
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/jsonl")
    assert answer.data == file.read_bytes()
    lines = [json.loads(line) for line in answer.data.splitlines()]
    assert [list(line) for line in lines] == [RECEIPT] * 2
    assert {line["id"] for line in lines} == {"0", "2"}


def test_a_receipt_of_nothing_is_empty(client: FlaskClient) -> None:
    id = asked(client)["id"]
    for method in ("GET", "HEAD"):
        answer = client.open(f"{URL}/{id}/receipt", method=method)
        assert (answer.status_code, answer.data) == (200, b"")


def test_it_is_paused_resumed_rolled_back_and_finalized(client: FlaskClient, any_parts: Parts) -> None:
    for seed in range(3):
        keep(any_parts, f"{seed}", content(10, seed))
    id = asked(client)["id"]
    assert acted(client, id, "pause") == "paused"
    work(any_parts)
    assert told(client, id)["state"] == "paused"
    assert acted(client, id, "resume") == "planning"
    work(any_parts)
    assert (told(client, id)["state"], told(client, id)["moved"]) == ("ended", 3)
    lose(any_parts, content(10, 2), "local")
    assert acted(client, id, "roll-back") == "rolling_back"
    work(any_parts)
    document = told(client, id)
    assert (document["state"], document["back"], document["stays"]) == ("rolled_back", 2, 1)
    (stays,) = client.get(f"{URL}/{id}/items?state=stays").json["items"]
    assert (stays["id"], stays["why"]) == ("2", "Its copy at local is gone.")
    again = asked(client)["id"]
    work(any_parts)
    assert acted(client, again, "finalize") == "finalizing"
    work(any_parts)
    assert told(client, again)["state"] == "finalized"


def test_what_cannot_be_done_in_its_state_is_409(client: FlaskClient, any_parts: Parts) -> None:
    keep(any_parts, "a", b"bytes")
    id = asked(client)["id"]
    document = assert_problem(client.post(f"{URL}/{id}/finalize"), 409, "migration-state")
    assert document["detail"] == "It is planning."
    work(any_parts)
    for act in ("pause", "resume"):
        assert_problem(client.post(f"{URL}/{id}/{act}"), 409, "migration-state")
    acted(client, id, "finalize")
    assert_problem(client.post(f"{URL}/{id}/roll-back"), 409, "migration-state")


@pytest.mark.parametrize("id", ["nothing", "01a1f93e-d1a6-7b58-aa21-655bb5133d2f", "a%00b", "%F0%9F%94%91"])
def test_one_that_does_not_exist_is_404(client: FlaskClient, id: str) -> None:
    for path in ("", "/items", "/receipt"):
        assert_problem(client.get(f"{URL}/{id}{path}"), 404, "migration-not-found")
    for act in ACTS:
        assert_problem(client.post(f"{URL}/{id}/{act}"), 404, "migration-not-found")


def test_it_wants_the_scope_admin_over_the_whole_drive(app: Flask, parts: Parts) -> None:
    migration: Migration = begin(parts, grace=timedelta(days=1))
    list(run(parts, migration))
    reads = [URL, *(f"{URL}/{migration.id}{path}" for path in ("", "/items", "/receipt"))]
    writes = [f"{URL}/{migration.id}/{act}" for act in ACTS]
    stranger = app.test_client()
    for rights in ({"scopes": ["read", "write", "delete"]}, {"prefix": "mine/"}, None):
        client = stranger if rights is None else client_of(app, **rights)
        for answer in (
            *(client.get(url) for url in reads),
            *(client.post(url) for url in writes),
            client.post(URL, json={"source": "local", "target": "database"}),
            client.post(URL, json={"source": "local", "target": "database", "dry_run": True}),
        ):
            if rights is None:
                assert_problem(answer, 401, "not-signed-in")
            else:
                assert_problem(answer, 403, "insufficient_scope")
    assert parts.migrations.get(SERVER, migration.id).state == "ended"


def test_what_may_be_asked_for_in_which_state_is_documented() -> None:
    guide = (ROOT / "docs" / "api.md").read_text()
    header, *told = _table(guide, "| state |")
    acts = [name for name in header[1:] if name in get_args(Act)]
    assert sorted(acts) == sorted(get_args(Act))
    assert [row[0] for row in told] == list(get_args(MigrationState))
    for row in told:
        said = dict(zip(header, row, strict=True))
        for act in acts:
            assert said[act] == ASKED[act].get(said["state"], ""), (said["state"], act)
        assert said["workers"] == DONE.get(said["state"], "")


def _table(text: str, beginning: str) -> list[list[str]]:
    """The cells of the table that begins so, without its rule."""
    lines = text[text.index(beginning) :].split("\n\n", maxsplit=1)[0].splitlines()
    rows = [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in lines]
    return [rows[0], *rows[2:]]
