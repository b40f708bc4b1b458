"""flask drive config check: each finding by what makes it and what does not, and what the exit code says."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from flask import Flask

from simpledrive.config import Settings, ensure_secrets, load, unsafe

STRONG = "9f86d081884c7d659a2feaa0c55ad015"
SAFE = {"API_TOKEN": STRONG, "SECRET_KEY": STRONG}
S3 = {"S3_BUCKET_NAME": "b", "S3_ACCESS_KEY_ID": "id", "S3_SECRET_ACCESS_KEY": "hunter2"}
FTP = {"FTP_USERNAME": "somebody", "FTP_PASSWORD": "hunter2"}


def settings(folder: Path, **environ: str) -> Settings:
    return load(SAFE | environ, folder=folder)


def found(given: Settings) -> list[str]:
    return [str(finding) for finding in unsafe(given)]


def test_what_the_drive_makes_itself_is_safe(tmp_path: Path) -> None:
    assert found(ensure_secrets(load({}, folder=tmp_path)).settings) == []


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        ({"DEBUG": "true"}, "Unsafe: DEBUG is on in production: set DEBUG=false"),
        (
            {"DEBUG": "true", "APP_ENV": "development", "HOST": "192.0.2.1", "SECURE_COOKIES": "true"},
            "Unsafe: DEBUG is on, and HOST=192.0.2.1 lets others reach it",
        ),
        ({"API_TOKEN": "short-9f86d08188"}, "Unsafe: API_TOKEN is shorter than 20 characters"),
        ({"API_TOKEN": "abcabcabcabcabcabcabcabcabcabc"}, "Unsafe: API_TOKEN has fewer than 10 different"),
        ({"API_TOKEN": "Changeme-1234567890-xyz"}, "Unsafe: API_TOKEN has a word in it that everybody tries"),
        ({"SECRET_KEY": "dev"}, "Unsafe: SECRET_KEY is shorter than 20 characters"),
        (
            {"ANONYMOUS_ACCESS": "write", "HOST": "0.0.0.0", "SECURE_COOKIES": "true"},
            "Unsafe: ANONYMOUS_ACCESS=write and HOST=0.0.0.0 let anybody who reaches the drive fill it",
        ),
        ({"HOST": "0.0.0.0"}, "Warning: HOST=0.0.0.0 serves tokens and cookies over plain HTTP"),
        ({"HOST": "::"}, "Warning: HOST=:: serves tokens and cookies over plain HTTP"),
        (
            S3 | {"S3_ENDPOINT_URL": "http://s3.example.org:9000"},
            "Unsafe: The backend s3 is reached by plain HTTP (endpoint_url), so bytes and credentials can be",
        ),
        (
            {
                "SIMPLEDRIVE_BACKENDS__DAV__KIND": "webdav",
                "SIMPLEDRIVE_BACKENDS__DAV__URL": "HTTP://dav.example",
            },
            "Unsafe: The backend dav is reached by plain HTTP (url)",
        ),
        (
            {
                "SIMPLEDRIVE_BACKENDS__DAV__KIND": "fsspec",
                "SIMPLEDRIVE_BACKENDS__DAV__URL": "webdav://dav.example/drive",
            },
            "Unsafe: The backend dav is reached by plain HTTP (url)",
        ),
        (
            FTP | {"FTP_HOST": "ftp.example.org"},
            "Unsafe: The backend ftp sends its password and all bytes unencrypted to ftp.example.org",
        ),
        (
            {"SIMPLEDRIVE_BACKENDS__NAS__KIND": "ftp", "SIMPLEDRIVE_BACKENDS__NAS__HOST": "nas.lan"},
            "Unsafe: The backend nas sends its password and all bytes unencrypted to nas.lan",
        ),
    ],
)
def test_what_is_unsafe_is_said_with_what_to_do(tmp_path: Path, environ: dict[str, str], says: str) -> None:
    (finding,) = found(settings(tmp_path, **environ))
    assert finding.startswith(says)
    assert finding.endswith(".")
    assert "hunter2" not in finding
    assert environ.get("API_TOKEN", STRONG) not in finding


@pytest.mark.parametrize(
    "environ",
    [
        {"DEBUG": "true", "APP_ENV": "development"},
        {"ANONYMOUS_ACCESS": "write"},
        {"ANONYMOUS_ACCESS": "write", "HOST": "localhost"},
        {"HOST": "127.0.0.2"},
        {"HOST": "::1"},
        {"HOST": "0.0.0.0", "SECURE_COOKIES": "true"},
        {"HOST": "0.0.0.0", "TRUSTED_PROXIES": "10.0.0.1"},
        S3 | {"S3_ENDPOINT_URL": "https://s3.example.org"},
        S3 | {"S3_ENDPOINT_URL": "http://127.0.0.1:9000"},
        S3 | {"S3_ENDPOINT_URL": "http://[::1]:9000"},
        FTP | {"FTP_HOST": "127.0.0.1"},
        FTP | {"FTP_HOST": "ftp.example.org", "FTP_TLS": "explicit"},
    ],
)
def test_what_is_safe_is_not_complained_about(tmp_path: Path, environ: dict[str, str]) -> None:
    assert found(settings(tmp_path, **environ)) == []


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
def test_files_with_secrets_that_others_may_read_are_named(tmp_path: Path, mode: int) -> None:
    token, dotenv, toml = tmp_path / "token", tmp_path / ".env", tmp_path / "simpledrive.toml"
    token.write_text(STRONG)
    dotenv.write_text(f"SECRET_KEY={STRONG}\n")
    toml.write_text('[backends.cold]\nkind = "webdav"\npassword = "hunter2"\n')
    paths = (token, dotenv, toml)
    for path in paths:
        path.chmod(0o600)
    given = load({"API_TOKEN_FILE": str(token)}, folder=tmp_path)
    assert found(given) == []
    for path in paths:
        path.chmod(mode)
        assert found(given) == [
            f"Unsafe: {path} holds secrets, and other users of this machine may read it: chmod 600 it."
        ]
        path.chmod(0o600)


def test_what_the_drive_keeps_in_its_folder_is_looked_at(tmp_path: Path) -> None:
    given = ensure_secrets(load({}, folder=tmp_path)).settings
    (given.instance_path / "secret_key").chmod(0o644)
    (finding,) = found(given)
    assert str(given.instance_path / "secret_key") in finding


@pytest.mark.parametrize("ending", ["", "-wal", "-shm"])
def test_sqlite_databases_that_others_may_read_are_named(tmp_path: Path, ending: str) -> None:
    given = settings(
        tmp_path,
        SIMPLEDRIVE_BACKENDS__FAR__KIND="database",
        SIMPLEDRIVE_BACKENDS__FAR__URL="sqlite:///far.db",
        SIMPLEDRIVE_BACKENDS__ELSEWHERE__KIND="database",
        SIMPLEDRIVE_BACKENDS__ELSEWHERE__URL="postgresql://me:hunter2@h/name",
    )
    given.instance_path.mkdir()
    for path in (given.instance_path / f"drive.db{ending}", tmp_path / f"far.db{ending}"):
        path.touch(0o600)
        assert found(given) == []
        path.chmod(0o640)
        (finding,) = found(given)
        assert finding.startswith(f"Unsafe: {path} holds what people store, and other users")
        path.chmod(0o600)


def test_a_database_that_the_drive_makes_is_safe_whatever_the_umask(make_app: Callable[..., Flask]) -> None:
    before = os.umask(0)
    try:
        app = make_app(
            api_token=STRONG,
            secret_key=STRONG,
            database_url="sqlite:///new/drive.db",
        )
    finally:
        os.umask(before)
    result = app.test_cli_runner().invoke(args=["drive", "config", "check"])
    assert (result.exit_code, result.output) == (0, "Nothing unsafe was found.\n")


def test_a_toml_file_without_a_secret_may_be_read_by_all(tmp_path: Path) -> None:
    toml = tmp_path / "simpledrive.toml"
    toml.write_text('port = 8001\n[backends.cold]\nkind = "local"\npath = "/cold"\n')
    toml.chmod(0o644)
    assert found(settings(tmp_path)) == []


def test_the_command_prints_every_finding_and_the_exit_code_says_so(make_app: Callable[..., Flask]) -> None:
    app = make_app(api_token=STRONG, secret_key="weak", debug=True, app_env="production", orphan_age=86400)
    result = app.test_cli_runner().invoke(args=["drive", "config", "check"])
    assert result.exit_code == 1
    assert [line.partition(":")[0] for line in result.output.splitlines()] == ["Unsafe", "Unsafe"]
    assert "weak" not in result.output


def test_nothing_unsafe_is_0_and_so_is_a_mere_warning(make_app: Callable[..., Flask]) -> None:
    safe = {"api_token": STRONG, "secret_key": STRONG}
    result = make_app(**safe).test_cli_runner().invoke(args=["drive", "config", "check"])
    assert (result.exit_code, result.output) == (0, "Nothing unsafe was found.\n")
    result = make_app(**safe, host="0.0.0.0").test_cli_runner().invoke(args=["drive", "config", "check"])
    assert result.exit_code == 0
    assert result.output.startswith("Warning: ")


def test_config_alone_still_prints_the_settings(app: Flask) -> None:
    result = app.test_cli_runner().invoke(args=["drive", "config"])
    assert result.exit_code == 0
    assert "STORAGE_BACKEND " in result.output
    assert "Unsafe" not in result.output
