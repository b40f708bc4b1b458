"""Starting: sentences instead of tracebacks, a token that is printed once, a log that LOG_LEVEL rules."""

import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import requests
from flask import Flask

from tests.servers import Server, wait_for


@pytest.mark.parametrize("setting", [{"STORAGE_BACKEND": "nope"}, {"LOG_LEVEL": "LOUD"}])
def test_a_wrong_setting_is_a_sentence_on_the_command_line(tmp_path: Path, setting: dict[str, str]) -> None:
    done = Server(tmp_path, **setting).run("drive", "config")
    assert done.returncode != 0
    assert next(iter(setting)) in done.stderr
    assert "Traceback" not in done.stderr


def test_the_token_is_made_once_kept_secret_and_printed_once(make_server: Callable[..., Server]) -> None:
    server = make_server(API_TOKEN="")
    token = (server.folder / "instance" / "api_token").read_text().strip()
    assert server.output().count(token) == 1
    assert (server.folder / "instance" / "api_token").stat().st_mode & 0o777 == 0o600
    assert (server.folder / "instance" / "secret_key").stat().st_mode & 0o777 == 0o600
    headers = {"Authorization": f"Bearer {token}"}
    assert requests.get(f"{server.url}/v1/blobs", headers=headers, timeout=10).ok
    for path in (server.folder / "instance").glob("drive.db*"):
        assert path.stat().st_mode & 0o777 == 0o600, path.name

    server.stop()
    server.start()
    assert server.output().count(token) == 1
    assert requests.get(f"{server.url}/v1/blobs", headers=headers, timeout=10).ok


def test_log_level_rules_the_drives_own_log(make_app: Callable[..., Flask]) -> None:
    drive = logging.getLogger("simpledrive.upkeep")
    make_app(log_level="WARNING")
    assert not drive.isEnabledFor(logging.INFO)
    make_app(log_level="INFO")
    assert drive.isEnabledFor(logging.INFO)


def test_the_servers_own_sweep_is_in_the_log(make_server: Callable[..., Server]) -> None:
    server = make_server(SWEEP_INTERVAL=1)
    wait_for(lambda: "swept: " in server.output(), "the first sweep")
