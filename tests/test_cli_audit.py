"""flask drive audit: the log as it was written, by what it is about, and nothing in it that forges a line."""

import json
import sys
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskCliRunner

from simpledrive import create_app
from simpledrive.keys import NewKey
from simpledrive.parts import Parts
from simpledrive.rights import SERVER, Caller, Origin
from tests.apps import settings_for
from tests.drives import keep, replace


@pytest.fixture
def cli(app: Flask) -> FlaskCliRunner:
    return app.test_cli_runner()


def told(cli: FlaskCliRunner, *arguments: str) -> list[dict[str, object]]:
    result = cli.invoke(args=["drive", "audit", "--json", *arguments])
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.output.splitlines()]


def test_entries_are_told_latest_first_with_all_that_is_known(parts: Parts, cli: FlaskCliRunner) -> None:
    somebody = Caller("somebody", "key-1", SERVER.scopes, origin=Origin("request-1", "192.0.2.7"))
    keep(parts, "a/b", b"bytes", caller=somebody)
    replace(parts, "a/b", b"other")
    latest, first = told(cli)
    assert (latest["action"], first["action"]) == ("blob.replaced", "blob.stored")
    assert {name: first[name] for name in ("target", "key", "key_id", "address", "request_id")} == {
        "target": "a/b",
        "key": "somebody",
        "key_id": "key-1",
        "address": "192.0.2.7",
        "request_id": "request-1",
    }
    assert str(first["time"]).endswith("Z")
    assert isinstance(first["details"], dict)


def test_people_get_a_line_for_each(parts: Parts, cli: FlaskCliRunner) -> None:
    keep(parts, "a", b"bytes")
    result = cli.invoke(args=["drive", "audit"])
    (line,) = result.output.splitlines()
    assert "  blob.stored  a  by the drive itself (server) from -" in line


def test_it_can_be_narrowed(parts: Parts, cli: FlaskCliRunner) -> None:
    somebody = Caller("somebody", "key-1", SERVER.scopes)
    keep(parts, "mine/a", b"1", caller=somebody)
    keep(parts, "mine/b", b"2")
    keep(parts, "yours/c", b"3")
    parts.drive.delete(SERVER, "mine/b")
    targets = [entry["target"] for entry in told(cli, "--prefix", "mine/")]
    assert targets == ["mine/b", "mine/b", "mine/a"]
    assert [entry["target"] for entry in told(cli, "--action", "blob.deleted")] == ["mine/b"]
    assert [entry["target"] for entry in told(cli, "--key", "key-1")] == ["mine/a"]
    assert [entry["target"] for entry in told(cli, "--limit", "1")] == ["mine/b"]


def test_more_than_a_page_is_told_to_the_end(
    parts: Parts, cli: FlaskCliRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["simpledrive.cli.audit"], "PAGE", 3)
    for number in range(8):
        keep(parts, f"{number}", b"bytes")
    assert [entry["target"] for entry in told(cli)] == [f"{number}" for number in reversed(range(8))]
    assert len(told(cli, "--limit", "7")) == 7


def test_nothing_in_an_entry_forges_a_line(parts: Parts, cli: FlaskCliRunner) -> None:
    keep(parts, "a\u202e\u2028b", b"bytes")
    parts.keys.issue(SERVER, NewKey(name="n\u2028ame"))
    output = cli.invoke(args=["drive", "audit"]).output
    assert len(output.splitlines()) == 2
    assert "a\\u202e\\u2028b" in output


def test_an_unknown_action_says_which_there_are(cli: FlaskCliRunner) -> None:
    result = cli.invoke(args=["drive", "audit", "--action", "blob.eaten"])
    assert result.exit_code == 2
    assert "blob.stored" in result.output


def test_a_database_without_tables_says_what_to_do(tmp_path: Path) -> None:
    result = create_app(settings_for(tmp_path)).test_cli_runner().invoke(args=["drive", "audit"])
    assert result.exit_code == 1
    assert "flask db upgrade" in result.output
