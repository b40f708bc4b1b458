"""Starting: sentences instead of tracebacks, a token that is printed once, a log that LOG_LEVEL rules."""

import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import requests
from flask import Flask

from simpledrive.errors import ConfigurationError
from simpledrive.start import prepare
from tests.apps import settings_for
from tests.servers import Server, wait_for
from tests.strict_s3 import StrictS3
from tests.strict_signature import Refused

S3 = {"S3_BUCKET_NAME": "drive", "S3_ACCESS_KEY_ID": "id", "S3_SECRET_ACCESS_KEY": "hunter2"}


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"STORAGE_BACKEND": "nope"}, "STORAGE_BACKEND"),
        ({"LOG_LEVEL": "LOUD"}, "LOG_LEVEL"),
        (
            S3 | {"S3_ENDPOINT_URL": "s3.example.org"},
            "The backend 's3' of kind 's3': the option 'endpoint_url'",
        ),
    ],
)
def test_a_wrong_setting_is_a_sentence_on_the_command_line(
    tmp_path: Path, settings: dict[str, str], says: str
) -> None:
    done = Server(tmp_path, **settings).run("drive", "config", "check")
    assert done.returncode != 0
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert "hunter2" not in done.stderr


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


def test_only_the_default_backend_keeps_the_drive_from_starting_when_it_refuses(
    tmp_path: Path, strict_s3: StrictS3, caplog: pytest.LogCaptureFixture
) -> None:
    """A clock that is off or a password that expired at a cold place is no reason to serve nothing at all."""
    cold = {"backends": {"cold": strict_s3.config()}}
    prepare(settings_for(tmp_path, **cold))
    for refused in (Refused(403, "RequestTimeTooSkewed"), Refused(403, "QuotaExceeded")):
        strict_s3.next.append(lambda asked, refused=refused: refused)
        prepare(settings_for(tmp_path, **cold))
        assert "cold: check: " in caplog.text or "cold: open: " in caplog.text
        caplog.clear()
    strict_s3.next.append(lambda asked: Refused(403, "RequestTimeTooSkewed"))
    with pytest.raises(ConfigurationError, match="the clock"):
        prepare(settings_for(tmp_path, storage_backend="cold", **cold))


def test_a_place_of_another_drive_keeps_it_from_starting_whatever_the_default(
    tmp_path: Path, strict_s3: StrictS3
) -> None:
    cold = {"backends": {"cold": strict_s3.config()}}
    prepare(settings_for(tmp_path / "one", **cold))
    with pytest.raises(ConfigurationError, match="its marker is that of another drive"):
        prepare(settings_for(tmp_path / "two", **cold))
