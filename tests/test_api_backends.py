"""GET /v1/backends: what there is, whether it can be reached, how much lies there."""

from collections.abc import Callable

import pytest
from flask import Flask
from flask.testing import FlaskClient

from simpledrive import probes
from simpledrive.keys import NewKey
from simpledrive.parts import Parts
from simpledrive.rights import SERVER
from tests.apps import BEARER
from tests.drives import keep
from tests.problems import assert_problem
from tests.servers import wait_for

MEMBERS = [
    "name",
    "kind",
    "default",
    "reachable",
    "detail",
    "probed_at",
    "probe_ms",
    "replicas",
    "bytes",
    "blobs",
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
    assert gone["detail"] == "No backend of this name is configured any more."


def test_it_wants_the_scope_admin_over_the_whole_drive(app: Flask, parts: Parts) -> None:
    client = app.test_client()
    assert_problem(client.get("/v1/backends"), 401, "not-signed-in")
    for rights in ({"scopes": ["read", "write", "delete"]}, {"prefix": "mine/"}):
        _, credential = parts.keys.issue(SERVER, NewKey(name="watcher", **rights))
        headers = {"Authorization": f"Bearer {credential}"}
        assert_problem(client.get("/v1/backends", headers=headers), 403, "insufficient_scope")


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
