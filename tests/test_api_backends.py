"""/v1/backends: what there is, whether it can be used, how much lies there; and a look now."""

import threading
from collections.abc import Callable

import pytest
from flask import Flask
from flask.testing import FlaskClient

from simpledrive import probes
from simpledrive.keys import NewKey
from simpledrive.parts import Parts
from simpledrive.rights import SERVER
from simpledrive.storage.base import Begin
from tests.apps import BEARER
from tests.drives import keep
from tests.problems import assert_problem
from tests.servers import wait_for
from tests.troubled import SECRETS, STEPS, TROUBLES, WELL

CHECK = "/v1/backends/local/check"
LOOKED_AT = [
    "name",
    "kind",
    "default",
    "where",
    "reachable",
    "detail",
    "probed_at",
    "probe_ms",
    "steps",
]
MEMBERS = [
    *LOOKED_AT,
    "replicas",
    "bytes",
    "blobs",
    "waiting",
    "mirror_of",
    "waiting_since",
    "waiting_detail",
    "mirror_searched",
    "bad_replicas",
    "verified_since",
]


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "WAIT", 20.0)


def listed(client: FlaskClient) -> dict[str, dict[str, object]]:
    response = client.get("/v1/backends", headers=BEARER)
    assert response.status_code == 200, response.text
    return {item["name"]: item for item in response.get_json()["items"]}


def test_backends_are_listed_with_what_lies_there(any_app: Flask) -> None:
    parts: Parts = any_app.extensions["simpledrive"]
    keep(parts, "a", b"bytes")
    keep(parts, "the same", b"bytes")
    keep(parts, "b", b"more bytes", "database")
    backends = listed(any_app.test_client())
    assert list(backends) == ["local", "database"], "the default comes first"
    for item in backends.values():
        assert list(item) == MEMBERS
        assert (item["reachable"], item["detail"]) == (True, "")
    assert [(item["kind"], item["default"]) for item in backends.values()] == [
        ("local", True),
        ("database", False),
    ]
    assert [(item["blobs"], item["replicas"], item["bytes"]) for item in backends.values()] == [
        (2, 1, 5),
        (1, 1, 10),
    ]


def test_one_that_cannot_be_reached_is_listed_too(app: Flask, parts: Parts) -> None:
    keep(parts, "a", b"bytes")
    base = parts.settings.local_storage_path
    base.rename(base.with_name("away"))
    backends = listed(app.test_client())
    assert backends["local"]["reachable"] is False
    assert "is its disk mounted?" in str(backends["local"]["detail"])
    assert backends["local"]["bytes"] == 5
    assert backends["database"]["reachable"] is True


def test_one_that_is_configured_no_more_is_listed_while_bytes_are_recorded_there(
    make_app: Callable[..., Flask],
) -> None:
    with_cold = make_app(backends={"cold": {"kind": "local", "path": "cold"}})
    keep(with_cold.extensions["simpledrive"], "a", b"bytes", "cold")
    gone = listed(make_app().test_client())["cold"]
    assert list(gone) == MEMBERS
    assert (gone["kind"], gone["reachable"], gone["replicas"], gone["bytes"]) == ("gone", False, 1, 5)
    assert (gone["where"], gone["probed_at"], gone["probe_ms"], gone["steps"]) == ("", None, None, [])
    assert gone["detail"] == "No backend of this name is configured any more."


def test_it_wants_the_scope_admin_over_the_whole_drive(app: Flask, parts: Parts) -> None:
    client = app.test_client()
    for answer in (client.get("/v1/backends"), client.post(CHECK)):
        assert_problem(answer, 401, "not-signed-in")
    for rights in ({"scopes": ["read", "write", "delete"]}, {"prefix": "mine/"}):
        _, credential = parts.keys.issue(SERVER, NewKey(name="watcher", **rights))
        headers = {"Authorization": f"Bearer {credential}"}
        for answer in (client.get("/v1/backends", headers=headers), client.post(CHECK, headers=headers)):
            assert_problem(answer, 403, "insufficient_scope")


def test_a_backend_found_again_is_told_at_the_next_look(app: Flask, parts: Parts) -> None:
    keep(parts, "a", b"bytes")
    base = parts.settings.local_storage_path
    away = base.rename(base.with_name("away"))
    client = app.test_client()
    assert listed(client)["local"]["reachable"] is False
    if base.exists():
        base.rmdir()
    away.rename(base)
    wait_for(lambda: listed(client)["local"]["reachable"], "a later look")


def test_every_step_is_told_with_its_time_and_where_it_failed_the_reason(troubled: Flask) -> None:
    response = troubled.test_client().get("/v1/backends", headers=BEARER)
    found = {item["name"]: item for item in response.json["items"]}
    assert {name: found[name]["kind"] for name in WELL} == WELL
    for name in WELL:
        assert (found[name]["reachable"], found[name]["detail"]) == (True, "")
        assert [step["name"] for step in found[name]["steps"]] == STEPS
        assert all(step["passed"] for step in found[name]["steps"])
        assert 0 < sum(step["ms"] for step in found[name]["steps"]) <= found[name]["probe_ms"] + 1
    for name, (failed, why) in TROUBLES.items():
        assert found[name]["reachable"] is False
        assert why in found[name]["detail"]
        *passed, last = found[name]["steps"]
        assert [step["name"] for step in passed] == STEPS[: STEPS.index(failed)]
        assert all(step["passed"] for step in passed)
        assert (last["name"], last["passed"]) == (failed, False)
    for secret in SECRETS:
        assert secret not in response.text


def test_a_check_looks_now_and_answers_what_it_found(app: Flask, parts: Parts) -> None:
    keep(parts, "a", b"bytes")
    client = app.test_client()
    assert listed(client)["local"]["reachable"] is True
    base = parts.settings.local_storage_path
    away = base.rename(base.with_name("away"))
    lost = client.post(CHECK, headers=BEARER)
    assert lost.status_code == 200
    assert list(lost.json) == LOOKED_AT
    assert (lost.json["name"], lost.json["reachable"]) == ("local", False)
    assert "is its disk mounted?" in lost.json["detail"]
    away.rename(base)
    found = client.post(CHECK, headers=BEARER).json
    assert (found["reachable"], [step["name"] for step in found["steps"]]) == (True, STEPS)
    assert found == {member: value for member, value in listed(client)["local"].items() if member in found}


def test_a_check_of_what_is_not_configured_is_404(app: Flask) -> None:
    answer = app.test_client().post("/v1/backends/nowhere/check", headers=BEARER)
    document = assert_problem(answer, 404, "backend-not-found")
    assert document["detail"] == "There is no backend 'nowhere'. Known are: database, local."


def test_a_check_that_hangs_holds_no_request_and_goes_on_once(
    app: Flask, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = app.test_client()
    before = listed(client)["local"]
    let_go, looks = threading.Event(), []

    def hang(begin: Begin) -> None:
        looks.append(begin("write"))
        let_go.wait()

    monkeypatch.setattr(parts.backends.use("local"), "probe", hang)
    monkeypatch.setattr(probes, "WAIT", 0.05)
    try:
        for _ in range(3):
            answer = client.post(CHECK, headers=BEARER)
            assert answer.status_code == 202
            assert answer.json["probed_at"] == before["probed_at"], "that of the look before"
        assert len(looks) == 1
        monkeypatch.setattr(probes, "SILENT", 0.0)
        silent = client.post(CHECK, headers=BEARER).json
        assert silent["detail"].startswith("There was no answer in ")
        assert [(step["name"], step["passed"]) for step in silent["steps"]] == [
            ("marker", True),
            ("write", False),
        ]
    finally:
        let_go.set()
    wait_for(lambda: client.post(CHECK, headers=BEARER).status_code == 200, "the end of the look")
