"""flask drive keys: making, listing and revoking keys at the drive's side."""

import json
import re
from datetime import timedelta

import pytest
import requests
from click.testing import Result
from flask import Flask
from flask.testing import FlaskCliRunner

from simpledrive.errors import InvalidToken
from simpledrive.keys import NewKey
from simpledrive.models import now
from simpledrive.parts import Parts
from simpledrive.rights import SERVER
from tests.servers import Server

KEY = re.compile(r"sd_[A-Za-z0-9_-]{43}")


@pytest.fixture
def cli(any_app: Flask) -> FlaskCliRunner:
    return any_app.test_cli_runner()


def run(cli: FlaskCliRunner, *arguments: str) -> Result:
    return cli.invoke(args=["drive", "keys", *arguments])


def test_a_key_is_made_with_all_that_it_may(cli: FlaskCliRunner, any_parts: Parts) -> None:
    result = run(
        cli,
        *("create", "site tablet", "--scope", "write", "--scope", "read", "--prefix", "site/"),
        *("--backend", "database", "--backend", "local", "--max-bytes", "20M", "--quota", "10GiB"),
        *("--expires", "2099-01-31", "--description", "on the wall"),
    )
    assert result.exit_code == 0, result.output
    credential = result.stdout.strip()
    assert KEY.fullmatch(credential), "the key alone is on stdout"
    assert "site tablet" in result.stderr
    assert "shown this once" in result.stderr
    assert credential not in result.stderr
    caller = any_parts.keys.verify(credential)
    assert caller.scopes == {"read", "write"}
    assert (caller.prefix, caller.backends) == ("site/", ("database", "local"))
    assert (caller.max_bytes, caller.quota_bytes) == (20_000_000, 10 << 30)
    assert caller.expires_at is not None
    assert caller.expires_at.isoformat() == "2099-01-31T00:00:00+00:00"
    [key] = any_parts.keys.all(SERVER)
    assert (key.name, key.description, key.created_by) == ("site tablet", "on the wall", "server")


def test_a_key_without_options_may_do_everything(cli: FlaskCliRunner, any_parts: Parts) -> None:
    result = run(cli, "create", "all", "--quiet")
    assert result.stderr == ""
    caller = any_parts.keys.verify(result.stdout.removesuffix("\n"))
    assert caller.scopes == SERVER.scopes
    assert (caller.prefix, caller.backends, caller.expires_at) == ("", None, None)


def test_a_key_may_end_in_some_days(cli: FlaskCliRunner, any_parts: Parts) -> None:
    caller = any_parts.keys.verify(run(cli, "create", "a", "--expires", "30d", "--quiet").stdout.strip())
    assert caller.expires_at is not None
    assert timedelta(days=29, hours=23) < caller.expires_at - now() <= timedelta(days=30)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--max-bytes", "much"), "'much' is not a number of bytes"),
        (("--quota", "-1"), "'-1' is not a number of bytes"),
        (("--quota", "99999 EiB"), "'99999 EiB' is not between 0 bytes and 8 EiB."),
        (("--expires", "soon"), "'soon' is neither a date"),
        (("--expires", "9999-12-31T23:59-10:00"), "expires_at: This is further away"),
        (("--expires", "2020-01-01"), "expires_at: This is in the past."),
        (("--scope", "root"), "'root' is not one of"),
        (("--backend", "nowhere"), "backends: Backends are one or more of"),
        (("--prefix", "a\x07"), "prefix: The control character"),
    ],
)
def test_what_is_not_acceptable_is_said_and_nothing_is_made(
    cli: FlaskCliRunner, any_parts: Parts, arguments: tuple[str, ...], sentence: str
) -> None:
    result = run(cli, "create", "a", *arguments)
    assert result.exit_code != 0
    assert sentence in result.stderr
    assert "Traceback" not in result.output
    assert any_parts.keys.all(SERVER) == []


def test_keys_are_listed_as_a_table(cli: FlaskCliRunner, any_parts: Parts) -> None:
    result = run(cli, "list")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "API_TOKEN is the only one" in result.stderr
    any_parts.keys.issue(SERVER, NewKey("one", scopes=["read"], prefix="in/\u202e"))
    made, credential = any_parts.keys.issue(SERVER, NewKey("other"))
    any_parts.keys.verify(credential)
    any_parts.keys.revoke(SERVER, made.id)
    head, one, other = run(cli, "list").stdout.splitlines()
    assert re.split(r" {2,}", head) == ["ID", "NAME", "MAY", "ONLY BELOW", "LAST USED", "ENDS"]
    assert re.split(r" {2,}", one)[1:] == ["one", "read", "in/\\u202e", "never", "never"]
    _, name, may, below, used, ends = re.split(r" {2,}", other)
    assert (name, may, below, ends) == ("other", "read,write,delete,admin", "everything", "revoked")
    assert used.endswith("Z")
    assert credential not in f"{head}{one}{other}"


def test_keys_are_listed_as_json_a_line_each(cli: FlaskCliRunner, any_parts: Parts) -> None:
    for name in ("one", "other"):
        any_parts.keys.issue(SERVER, NewKey(name, quota_bytes=7))
    documents = [json.loads(line) for line in run(cli, "list", "--json").stdout.splitlines()]
    assert [document["name"] for document in documents] == ["one", "other"]
    assert documents[0]["quota_bytes"] == 7
    assert documents[0]["used_bytes"] == 0
    assert documents[0]["last_used_at"] is None
    assert "digest" not in documents[0]


def test_a_revoked_key_lets_nobody_in(cli: FlaskCliRunner, any_parts: Parts) -> None:
    made, credential = any_parts.keys.issue(SERVER, NewKey("site tablet"))
    result = run(cli, "revoke", made.id)
    assert result.exit_code == 0
    assert result.stdout.startswith("The key site tablet is revoked:")
    with pytest.raises(InvalidToken):
        any_parts.keys.verify(credential)
    result = run(cli, "revoke", made.id)
    assert result.exit_code == 0
    assert "was revoked already" in result.stdout


@pytest.mark.parametrize("id", ["nothing", "", "a\x07b"])
def test_an_unknown_id_is_said(cli: FlaskCliRunner, id: str) -> None:
    result = run(cli, "revoke", id)
    assert result.exit_code == 1
    assert "There is no key with this id." in result.stderr


def test_a_drive_without_tables_is_told_what_to_do(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("empty")
    server = Server(folder)
    for arguments in (("list",), ("create", "a"), ("revoke", "x")):
        result = server.run("drive", "keys", *arguments)
        assert result.returncode == 1
        assert "run `flask db upgrade`" in result.stderr
        assert "Traceback" not in result.stderr


def test_a_key_made_beside_a_running_server_works_at_once(server: Server) -> None:
    credential = server.run("drive", "keys", "create", "a", "--scope", "read", "--quiet").stdout.strip()
    headers = {"Authorization": f"Bearer {credential}"}
    assert requests.get(f"{server.url}/v1/blobs", headers=headers, timeout=10).status_code == 200
    id = json.loads(server.run("drive", "keys", "list", "--json").stdout)["id"]
    assert server.run("drive", "keys", "revoke", id).returncode == 0
    assert requests.get(f"{server.url}/v1/blobs", headers=headers, timeout=10).status_code == 401
