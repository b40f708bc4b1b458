"""The settings keep their promises: precedence, misspelt names, secrets that stay secret."""

import multiprocessing
import os
import stat
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import make_url

from simpledrive.config import Settings, effective, ensure_secrets, load
from simpledrive.config.display import HIDDEN
from simpledrive.config.settings import NAMES
from simpledrive.errors import ConfigurationError

ROOT = Path(__file__).parent.parent


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def refusal(folder: Path) -> Callable[..., str]:
    """The sentences with which settings are refused."""

    def refusal(environ: dict[str, str] | None = None, **overrides: Any) -> str:
        with pytest.raises(ConfigurationError) as caught:
            load(environ or {}, folder=folder, overrides=overrides)
        return str(caught.value)

    return refusal


def shown(settings: Settings) -> dict[str, str]:
    return {row.name: row.value for row in effective(settings)}


# --- Defaults -------------------------------------------------------------------------------------


def test_defaults_lie_under_the_folder(folder):
    settings = load({}, folder=folder)
    assert settings.instance_path == folder / "instance"
    assert settings.database_url == f"sqlite:///{folder}/instance/drive.db"
    assert settings.local_storage_path == folder / "instance/blobs"
    assert settings.staging_path == folder / "instance/blobs/staging"
    assert (settings.host, settings.port, settings.workers, settings.threads) == ("127.0.0.1", 8000, 2, 64)
    assert (settings.json_max_bytes, settings.json_memory_bytes) == (48 << 20, 192 << 20)
    assert (settings.sweep_interval, settings.sweep_grace, settings.orphan_age) == (300, 600, 86400)
    assert (settings.app_env, settings.debug, settings.secure_cookies) == ("production", False, False)
    assert settings.api_token is settings.secret_key is None
    assert (settings.history_days, settings.max_blob_bytes, settings.log_level) == (90, 0, "INFO")


def test_derived_paths_follow_the_ones_they_lie_in(folder):
    settings = load({"INSTANCE_PATH": "data", "LOCAL_STORAGE_PATH": "/srv/x/../blobs"}, folder=folder)
    assert settings.database_url == f"sqlite:///{folder}/data/drive.db"
    assert settings.local_storage_path == Path("/srv/blobs")
    assert settings.staging_path == Path("/srv/blobs/staging")
    settings = load({"INSTANCE_PATH": "odd %20?#[name]"}, folder=folder)
    assert make_url(settings.database_url).database == f"{folder}/odd %20?#[name]/drive.db"
    assert settings.local_storage_path == folder / "odd %20?#[name]/blobs"


def test_keywords_alone_make_settings(folder, monkeypatch):
    monkeypatch.setenv("PORT", "9999")
    monkeypatch.chdir(folder)
    (folder / ".env").write_text("THREADS=9\n")
    settings = Settings(workers=1, folder=folder)
    assert (settings.workers, settings.port, settings.threads) == (1, 8000, 64)


def test_settings_do_not_change(folder):
    with pytest.raises(ValueError, match="frozen"):
        load({}, folder=folder).port = 1


def test_without_arguments_the_process_is_asked(folder, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PORT", "8123")
    settings = load()
    assert (settings.port, settings.folder) == (8123, folder)


# --- Precedence -----------------------------------------------------------------------------------


def test_the_stronger_source_wins(folder):
    (folder / "simpledrive.toml").write_text("port = 1\nworkers = 1\nthreads = 1\nhost = 'a'\n")
    (folder / ".env").write_text("PORT=2\nWORKERS=2\nTHREADS=2\n")
    settings = load({"PORT": "3", "WORKERS": "3"}, folder=folder, overrides={"port": 4})
    assert (settings.port, settings.workers, settings.threads, settings.host) == (4, 3, 2, "a")
    sources = {row.name: row.source for row in effective(settings)}
    assert [sources[name] for name in ("PORT", "WORKERS", "THREADS", "HOST", "DEBUG")] == [
        "override",
        "environment",
        ".env",
        "simpledrive.toml",
        "default",
    ]


def test_overrides_may_be_written_like_the_environment(folder):
    assert load({}, folder=folder, overrides={"PORT": 0}).port == 0


def test_an_empty_value_is_none(folder):
    (folder / ".env").write_text("S3_BUCKET_NAME=\nPORT=\n")
    (folder / "simpledrive.toml").write_text("ftp_host = ''\n")
    settings = load({"API_TOKEN": "", "STORAGE_BACKEND": "", "S3_NO_SUCH": ""}, folder=folder)
    assert settings.api_token is settings.s3_bucket_name is settings.ftp_host is None
    assert (settings.port, settings.storage_backend) == (8000, "local")


def test_dotenv_takes_quotes_comments_export_and_dollars_as_they_are(folder):
    (folder / ".env").write_text(
        "# comment\nexport API_TOKEN='a$b${HOME}'  # why\nSECRET_KEY=\"two words\"\nFLASK_APP=wsgi\n"
    )
    settings = load({}, folder=folder)
    assert settings.api_token.get_secret_value() == "a$b${HOME}"
    assert settings.secret_key.get_secret_value() == "two words"


def test_another_toml_file_can_be_chosen(folder):
    (folder / "simpledrive.toml").write_text("port = 1\n")
    (folder / "other.toml").write_text("port = 2\n")
    assert load({"SIMPLEDRIVE_CONFIG": "other.toml"}, folder=folder).port == 2
    (folder / ".env").write_text("SIMPLEDRIVE_CONFIG=other.toml\n")
    assert load({}, folder=folder).port == 2


def test_a_chosen_file_that_is_missing_is_said(refusal):
    assert "SIMPLEDRIVE_CONFIG names a file that does not exist" in refusal({"SIMPLEDRIVE_CONFIG": "no.toml"})


# --- Values ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("APP_ENV", "staging"),
        ("DEBUG", "maybe"),
        ("PORT", "80o0"),
        ("PORT", "65536"),
        ("WORKERS", "0"),
        ("THREADS", "many"),
        ("JSON_MAX_BYTES", "lots"),
        ("MAX_BLOB_BYTES", "-1"),
        ("SWEEP_GRACE", "-1"),
        ("HISTORY_DAYS", "1.5"),
        ("SECURE_COOKIES", "2"),
        ("LOG_LEVEL", "LOUD"),
        ("DATABASE_URL", "nonsense"),
        ("FTP_PORT", "0"),
    ],
)
def test_a_wrong_value_is_told_by_the_name_and_source(refusal, name, value):
    environ = {name: value} | ({"FTP_HOST": "h"} if name == "FTP_PORT" else {})
    sentences = refusal(environ).splitlines()
    assert len(sentences) == 2  # no second complaint follows from the first
    assert sentences[0].startswith(f"{name} (environment): ")


@pytest.mark.parametrize(("text", "count"), [("1024", 1024), ("64KiB", 65536), ("1 GiB", 1 << 30)])
def test_sizes_have_units(folder, text, count):
    assert load({"MAX_BLOB_BYTES": text}, folder=folder).max_blob_bytes == count


def test_log_level_in_small_letters(folder):
    assert load({"LOG_LEVEL": "debug"}, folder=folder).log_level == "DEBUG"


def test_all_problems_come_together(folder, refusal):
    (folder / "simpledrive.toml").write_text("colour = 'red'\nthreads = 'x'\n")
    (folder / ".env").write_text("WROKERS=2\nHOST\n")
    message = refusal({"PORT": "x", "S3_BUCKET": "b", "STORAGE_BACKEND": "tape"}, prot=1)
    for part in ("colour", "THREADS", "WROKERS", ".env, line 2", "PORT", "S3_BUCKET ", "'tape'", "PROT"):
        assert part in message
    assert message.splitlines()[-1] == f"Known settings: {', '.join(NAMES)}."


def test_the_memory_for_json_holds_at_least_one_body(refusal):
    message = refusal({"JSON_MEMORY_BYTES": "143MiB"})
    assert "JSON_MEMORY_BYTES (environment): is less than 3 times JSON_MAX_BYTES" in message


def test_orphans_are_given_time_and_history_an_end(refusal):
    message = refusal({"ORPHAN_AGE": "60", "HISTORY_DAYS": "1000000"})
    assert "ORPHAN_AGE (environment): is less than 3600" in message
    assert "HISTORY_DAYS (environment):" in message


@pytest.mark.parametrize("token", ["two words", "naïve", "line\nbreak"])
def test_a_token_travels_in_a_header(refusal, token):
    message = refusal({"API_TOKEN": token})
    assert "API_TOKEN (environment): may hold only visible ASCII" in message
    assert token not in message


# --- Database -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "settled"),
    [
        ("postgres://u:p%40w@h/d", "postgresql+psycopg://u:p%40w@h/d"),
        ("postgresql://h:5433/d?sslmode=require", "postgresql+psycopg://h:5433/d?sslmode=require"),
        ("postgresql+psycopg://h/d", "postgresql+psycopg://h/d"),
        ("sqlite:////srv/drive.db", "sqlite:////srv/drive.db"),
        ("sqlite:///data/../drive.db", "sqlite:///{folder}/drive.db"),
        ("sqlite:///file:x.db?uri=true", "sqlite:///file:x.db?uri=true"),
    ],
)
def test_database_url_is_settled(folder, given, settled):
    settings = load({"DATABASE_URL": given}, folder=folder)
    assert settings.database_url == settled.format(folder=folder)
    assert settings.backends["database"] == {"kind": "database", "url": settings.database_url}


def test_unsupported_database_is_refused_without_its_password(refusal):
    message = refusal({"DATABASE_URL": "mysql://u:hunter2@h/d"})
    assert "mysql:// is not supported; known are sqlite:// and postgresql://" in message
    assert "hunter2" not in message


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:"])
def test_records_outlive_the_process(refusal, url):
    assert "outlives" in refusal({"DATABASE_URL": url})


# --- Misspelt names -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("S3_BUKET_NAME", "S3_BUCKET_NAME"),
        ("S3_BUCKET", "S3_BUCKET_NAME"),
        ("FTP_USER", "FTP_USERNAME"),
        ("LOCAL_STORAGE_DIR", "LOCAL_STORAGE_PATH"),
        ("STORAGE_BACKENDS", "STORAGE_BACKEND"),
        ("SIMPLEDRIVE_PORT", "PORT"),
        ("SWEEP_INTERVALL", "SWEEP_INTERVAL"),
        ("JSON_MAX_BYTE", "JSON_MAX_BYTES"),
        ("API_TOKENS", "API_TOKEN"),
        ("DATABASE_URI", "DATABASE_URL"),
        ("SECRETKEY", "SECRET_KEY"),
        ("INSTANCE_PTAH", "INSTANCE_PATH"),
        ("S3_REGION_FILE", "S3_REGION"),
        ("SIMPLEDRIVE_BACKENDS__COLD", "SCRUB_BACKENDS"),
    ],
)
def test_a_misspelt_name_in_the_environment_stops_the_start(refusal, name, nearest):
    message = refusal({name: "x"})
    assert f"{name} (environment) is not a setting; the nearest known name is {nearest}." in message


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("FTP_PROXY", "http://proxy"),
        ("FTP_PASSIVE_MODE", "no"),
        ("S3_SERVICE_HOST", "10.0.0.1"),
        ("STORAGE_DRIVER", "overlay"),
        ("S3_SERVICE_PORT", "9000"),
        ("S3_SERVICE_PORT_HTTP", "9000"),
        ("S3_PORT", "tcp://10.0.0.1:9000"),
        ("S3_PORT_9000_TCP", "tcp://10.0.0.1:9000"),
        ("S3_PORT_9000_TCP_ADDR", "10.0.0.1"),
        ("FTP_PORT", "tcp://10.0.0.1:21"),
        ("SIMPLEDRIVE_PORT", "tcp://10.0.0.1:80"),
        ("SIMPLEDRIVE_MUST_RUN", "all"),
        ("TEST_DATABASE_URL", "postgresql://h/d"),
        ("HOSTNAME", "box"),
        ("HOSTS", "a b"),
        ("REPORT", "1"),
        ("port", "1"),
        ("PATH", "/bin"),
        ("AWS_SECRET_ACCESS_KEY", "x"),
        ("SMTP_PASSWORD", "x"),
        ("SFTP_HOST", "x"),
    ],
)
def test_foreign_names_are_left_alone(folder, name, value):
    settings = load({name: value}, folder=folder)
    assert (settings.port, settings.ftp_port) == (8000, 21)


@pytest.mark.parametrize("name", ["PRT", "port", "COLOUR"])
def test_dotenv_knows_only_settings(folder, refusal, name):
    (folder / ".env").write_text(f"{name}=1\n")
    assert f"{name} (.env) is not a setting; the nearest known name is" in refusal()


@pytest.mark.parametrize("name", ["prot", "PORT", "folder", "backend"])
def test_toml_knows_only_settings(folder, refusal, name):
    (folder / "simpledrive.toml").write_text(f"{name} = 1\n")
    assert f"{name} (simpledrive.toml) is not a setting; the nearest known name is" in refusal()


def test_broken_files_are_named(folder, refusal):
    (folder / "simpledrive.toml").write_text("port = \n")
    (folder / ".env").write_bytes(b"HOST=\xff\n")
    message = refusal()
    assert "simpledrive.toml cannot be read: " in message
    assert "line 1" in message
    assert ".env cannot be read: " in message


# --- Backends -------------------------------------------------------------------------------------


def test_local_and_database_are_always_there(folder):
    settings = load({}, folder=folder)
    assert settings.backends == {
        "local": {"kind": "local", "path": f"{folder}/instance/blobs"},
        "database": {"kind": "database", "url": settings.database_url},
    }


def test_s3_and_ftp_come_with_their_bucket_and_host(folder):
    settings = load(
        {
            "STORAGE_BACKEND": "s3",
            "S3_BUCKET_NAME": "b",
            "S3_ENDPOINT_URL": "http://s3",
            "S3_ACCESS_KEY_ID": "id",
            "S3_SECRET_ACCESS_KEY": "secret",
            "FTP_HOST": "ftp",
            "FTP_PORT": "2121",
            "FTP_PASSWORD": "pw",
        },
        folder=folder,
    )
    assert settings.backends["s3"] == {
        "kind": "s3",
        "endpoint_url": "http://s3",
        "access_key_id": "id",
        "secret_access_key": "secret",
        "bucket_name": "b",
        "region": "us-east-1",
        "addressing": "auto",
        "prefix": "",
        "multipart_size": 64 << 20,
        "part_size": 16 << 20,
        "parts_at_once": 4,
        "timeout": 30,
    }
    assert settings.backends["ftp"] == {
        "kind": "ftp",
        "host": "ftp",
        "port": 2121,
        "username": "anonymous",
        "password": "pw",
        "base_dir": "",
        "tls": "off",
        "passive": True,
        "timeout": 30,
    }


@pytest.mark.parametrize(
    ("given", "missing"),
    [("S3_ENDPOINT_URL", "S3_BUCKET_NAME"), ("S3_REGION", "S3_BUCKET_NAME"), ("FTP_USERNAME", "FTP_HOST")],
)
def test_half_a_backend_is_told(refusal, given, missing):
    assert f"{missing}: is missing, but {given} is given" in refusal({given: "x"})


def test_an_unknown_default_backend_is_told_with_the_known_ones(refusal):
    message = refusal({"STORAGE_BACKEND": "tape"})
    assert "STORAGE_BACKEND (environment): no backend is called 'tape'; known are database, local." in message
    message = refusal({"SCRUB_BACKENDS": "local, tape"})
    assert "SCRUB_BACKENDS (environment): no backend is called 'tape'; known are database, local." in message
    assert "S3_BUCKET_NAME would add s3" in refusal({"STORAGE_BACKEND": "s3"})


@pytest.mark.parametrize("name", ["database", "cold"])
def test_one_fault_is_one_complaint(folder, refusal, name):
    (folder / "simpledrive.toml").write_text("[backends.cold]\npath = 'x'\n")
    message = refusal({"DATABASE_URL": "mysql://h/d", "STORAGE_BACKEND": name, "WORKERS": "0"})
    assert "STORAGE_BACKEND (" not in message
    assert len(message.splitlines()) == 4


def test_named_backends_with_an_override_for_each_option(folder):
    (folder / "simpledrive.toml").write_text(
        """storage_backend = "eu-bucket"
        [backends.eu-bucket]
        kind = "s3"
        bucket_name = "one"
        timeout = 5
        [backends.archive]
        kind = "local"
        path = "cold"
        [backends.records]
        kind = "database"
        url = "postgres://h/d"
        [backends.local]
        fsync = false
        """
    )
    (folder / ".env").write_text("SIMPLEDRIVE_BACKENDS__EU_BUCKET__BUCKET_NAME=two\n")
    environ = {
        "SIMPLEDRIVE_BACKENDS__EU_BUCKET__BUCKET_NAME": "three",
        "SIMPLEDRIVE_BACKENDS__EU_BUCKET__SECRET_ACCESS_KEY": "s",
        "SIMPLEDRIVE_BACKENDS__NEW__KIND": "local",
        "SIMPLEDRIVE_BACKENDS__NEW__PATH": "/srv/new",
    }
    settings = load(environ, folder=folder)
    assert settings.storage_backend == "eu-bucket"
    assert settings.backends == {
        "local": {"kind": "local", "path": f"{folder}/instance/blobs", "fsync": False},
        "database": {"kind": "database", "url": settings.database_url},
        "eu-bucket": {"kind": "s3", "bucket_name": "three", "timeout": 5, "secret_access_key": "s"},
        "archive": {"kind": "local", "path": "cold"},
        "records": {"kind": "database", "url": "postgresql+psycopg://h/d"},
        "new": {"kind": "local", "path": "/srv/new"},
    }
    sources = {row.name: row.source for row in effective(settings)}
    assert sources["backends.eu-bucket.bucket_name"] == "environment"
    assert sources["backends.eu-bucket.kind"] == "simpledrive.toml"
    assert sources["backends.local.path"] == "LOCAL_STORAGE_PATH"


def test_backends_may_be_overridden_in_tests(folder):
    settings = load({}, folder=folder, overrides={"backends": {"memory": {"kind": "memory"}}})
    assert settings.backends["memory"] == {"kind": "memory"}


@pytest.mark.parametrize(
    ("tables", "sentence"),
    [
        ("[backends.cold]\npath = '/x'", "'cold' has no kind; other backends are database, local"),
        ("[backends.cold]\nkind = 3", "'cold' has no kind"),
        ("[backends.'Cold Store']\nkind = 's3'", "the name 'Cold Store' is not 1 to 64 of a-z, 0-9, - and _"),
        (f"[backends.{'x' * 65}]\nkind = 's3'", "is not 1 to 64"),
        ("[backends.local]\nkind = 's3'", "'local' is always of the kind 'local'"),
        ("[backends.s3]\nkind = 'local'", "'s3' is always of the kind 's3'"),
        (
            "[backends.pg]\nkind = 'database'\nurl = 'mysql://u:hunter2@h/d'",
            "'pg': url mysql:// is not supported",
        ),
        ("[backends]\ncold = 1", "backends (simpledrive.toml) is not made of tables"),
        ("backends = 1", "backends (simpledrive.toml) is not made of tables"),
    ],
)
def test_a_broken_table_is_told(folder, refusal, tables, sentence):
    (folder / "simpledrive.toml").write_text(tables)
    message = refusal()
    assert sentence in message
    assert "hunter2" not in message


# --- Mirrors and rules ----------------------------------------------------------------------------

ARCHIVE = """[backends.archive]
kind = "local"
path = "/mnt/archive"
"""


def test_mirrors_and_rules_are_tables_and_are_shown(folder):
    (folder / "simpledrive.toml").write_text(
        ARCHIVE
        + """[mirrors]
        local = ["archive"]
        database = {to = ["archive", "local"], sync = true}
        [[rules]]
        max_size = "64KiB"
        backend = "database"
        [[rules]]
        prefix = "photos/"
        content_type = "Video/*"
        backend = "archive"
        """
    )
    settings = load({}, folder=folder)
    assert {home: (table.to, table.sync) for home, table in settings.mirrors.items()} == {
        "local": (("archive",), False),
        "database": (("archive", "local"), True),
    }
    assert [rule.said() for rule in settings.rules] == [
        {"backend": "database", "max_size": 65536},
        {"backend": "archive", "prefix": "photos/", "content_type": "video/"},
    ]
    rows = {row.name: (row.value, row.source) for row in effective(settings)}
    assert rows["mirrors.local"] == ("archive", "simpledrive.toml")
    assert rows["mirrors.database"] == ("archive, local (sync)", "simpledrive.toml")
    assert rows["rules.1"] == ("backend=database, max_size=65536", "simpledrive.toml")
    assert rows["rules.2"] == ("backend=archive, prefix=photos/, content_type=video/", "simpledrive.toml")


@pytest.mark.parametrize(
    ("tables", "sentence"),
    [
        (
            "[mirrors]\nlocal = ['tape']",
            "mirrors (simpledrive.toml): no backend is called 'tape'; known are archive, database, local.",
        ),
        ("[mirrors]\ntape = ['local']", "no backend is called 'tape'"),
        ("[mirrors]\nlocal = ['archive', 'local']", "'local' cannot be its own mirror"),
        ("[mirrors]\nlocal = ['archive', 'archive']", "'local' names 'archive' twice"),
        ("[mirrors]\nlocal = []", "mirrors.local.to (simpledrive.toml): Tuple should have at least 1 item"),
        (
            "[mirrors]\nlocal = {to = ['archive'], sinc = true}",
            "mirrors.local.sinc (simpledrive.toml) is not",
        ),
        ("[mirrors]\nlocal = 'archive'", "mirrors.local (simpledrive.toml): "),
        ("[[rules]]\nbackend = 'tape'", "rules (simpledrive.toml): rule 1: no backend is called 'tape'"),
        ("[[rules]]\nprefix = 'a'", "rules.1.backend (simpledrive.toml): Field required"),
        (
            "[[rules]]\nbackend = 'local'\nprefix = 'a'\n[[rules]]\nbackend = 'local'\nmax_size = '5 XB'",
            "rules.2.max_size (simpledrive.toml): could not interpret byte unit",
        ),
        ("[[rules]]\nbackend = 'local'\nmin_size = -1", "rules.1.min_size (simpledrive.toml): "),
        (
            "[[rules]]\nbackend = 'local'\nmin_size = 2\nmax_size = 1",
            "rules.1 (simpledrive.toml): min_size is larger than max_size",
        ),
        ("[[rules]]\nbackend = 'local'\ncontent_type = 'video'", "is neither a media type such as"),
        ("[[rules]]\nbackend = 'local'\nsize = 5", "rules.1.size (simpledrive.toml) is not known"),
        (
            "[[rules]]\nbackend = 'local'\n[[rules]]\nbackend = 'archive'\nprefix = 'a'",
            "rule 1 fits every blob, so that those behind it never count",
        ),
        ("[rules]\nbackend = 'local'", "rules (simpledrive.toml): Input should be a valid tuple"),
    ],
)
def test_mirrors_and_rules_that_cannot_be_meant_stop_the_start(folder, refusal, tables, sentence):
    (folder / "simpledrive.toml").write_text(ARCHIVE + tables)
    assert sentence in refusal()


def test_a_rule_for_a_backend_that_is_broken_itself_is_no_second_complaint(folder, refusal):
    (folder / "simpledrive.toml").write_text(
        "[backends.cold]\npath = 'x'\n[mirrors]\nlocal = ['cold']\n[[rules]]\nbackend = 'cold'\n"
    )
    assert len(refusal().splitlines()) == 2


# --- Secrets in files -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["API_TOKEN", "SECRET_KEY", "S3_SECRET_ACCESS_KEY", "S3_SESSION_TOKEN", "FTP_PASSWORD", "DATABASE_URL"],
)
def test_secrets_come_from_files(folder, name):
    (folder / "secret").write_text("  sqlite:////srv/x.db\n")
    environ = {f"{name}_FILE": "secret", "S3_BUCKET_NAME": "b", "FTP_HOST": "h"}
    value = getattr(load(environ, folder=folder), name.lower())
    assert (value if isinstance(value, str) else value.get_secret_value()) == "sqlite:////srv/x.db"


def test_secrets_of_named_backends_come_from_files(folder):
    (folder / "one").write_text("first\n")
    (folder / "two").write_text("second\n")
    (folder / "simpledrive.toml").write_text(
        "api_token_file = 'one'\n[backends.far]\nkind = 's3'\nsecret_access_key_file = 'one'\n"
    )
    settings = load({}, folder=folder)
    assert settings.backends["far"] == {"kind": "s3", "secret_access_key": "first"}
    assert settings.api_token.get_secret_value() == "first"
    settings = load({"SIMPLEDRIVE_BACKENDS__FAR__SECRET_ACCESS_KEY_FILE": str(folder / "two")}, folder=folder)
    assert settings.backends["far"] == {"kind": "s3", "secret_access_key": "second"}


def test_a_table_of_an_option_is_overridden_entry_by_entry(folder):
    (folder / "one").write_text("first\n")
    (folder / "simpledrive.toml").write_text(
        "[backends.nas]\nkind = 'fsspec'\n[backends.nas.storage_options]\nusername = 'me'\npassword = 'x'\n"
    )
    prefix = "SIMPLEDRIVE_BACKENDS__NAS__STORAGE_OPTIONS"
    for given in ({f"{prefix}__PASSWORD": "first"}, {f"{prefix}__PASSWORD_FILE": "one"}):
        settings = load(given, folder=folder)
        options = {"username": "me", "password": "first"}
        assert settings.backends["nas"] == {"kind": "fsspec", "storage_options": options}
        assert settings.sources["backends.nas.storage_options.password"] == "environment"
        assert settings.sources["backends.nas.storage_options.username"] == "simpledrive.toml"
        rows = shown(settings)
        assert rows["backends.nas.storage_options.password"] == HIDDEN
        assert rows["backends.nas.storage_options.username"] == "me"
    assert folder / "one" in settings.secret_files
    assert folder / "simpledrive.toml" in load({}, folder=folder).secret_files


def test_an_option_cannot_be_text_and_a_table(folder, refusal):
    prefix = "SIMPLEDRIVE_BACKENDS__NAS__STORAGE_OPTIONS"
    for given in ([prefix, f"{prefix}__PASSWORD"], [f"{prefix}__PASSWORD", prefix]):
        assert f"{given[1]} (environment) and another name" in refusal(dict.fromkeys(given, "hunter2"))


def test_a_secret_given_twice_is_refused(folder, refusal):
    (folder / "secret").write_text("x")
    message = refusal({"API_TOKEN": "y", "API_TOKEN_FILE": "secret"})
    assert "API_TOKEN and API_TOKEN_FILE are both given; leave one out." in message
    prefix = "SIMPLEDRIVE_BACKENDS__FAR__KEY"
    message = refusal({prefix: "y", f"{prefix}_FILE": "secret", "SIMPLEDRIVE_BACKENDS__FAR__KIND": "s3"})
    assert f"{prefix} and {prefix}_FILE are both given" in message


def test_the_stronger_source_wins_over_a_file_in_a_weaker_one(folder):
    (folder / "secret").write_text("weak")
    (folder / ".env").write_text("API_TOKEN_FILE=secret\n")
    assert load({"API_TOKEN": "strong"}, folder=folder).api_token.get_secret_value() == "strong"


@pytest.mark.parametrize(("content", "sentence"), [(None, "cannot be read"), ("\n", "that is empty")])
def test_an_unusable_secret_file_is_refused(folder, refusal, content, sentence):
    if content is not None:
        (folder / "secret").write_text(content)
    assert sentence in refusal({"FTP_PASSWORD_FILE": "secret", "FTP_HOST": "h"})


# --- Showing --------------------------------------------------------------------------------------


def test_no_secret_is_ever_shown(folder):
    (folder / "simpledrive.toml").write_text(
        """[backends.far]
        kind = "s3"
        secret_access_key = "hunter2"
        endpoint_url = "https://me:hunter2@s3.example?api_token=hunter2&x=1"
        headers = { Authorization = "hunter2", Accept = "xml" }
        storage_options = { account_key = "hunter2", connection_string = "hunter2", auth = ["me", "hunter2"] }
        """
    )
    environ = {
        "API_TOKEN": "hunter2",
        "SECRET_KEY": "hunter2",
        "DATABASE_URL": "postgresql://me:hunter2@h/d?sslpassword=hunter2",
        "S3_BUCKET_NAME": "b",
        "S3_SECRET_ACCESS_KEY": "hunter2",
        "FTP_HOST": "h",
        "FTP_PASSWORD": "hunter2",
    }
    settings = load(environ, folder=folder)
    assert "hunter2" not in repr(settings)
    rows = shown(settings)
    assert "hunter2" not in str(rows)
    assert rows["DATABASE_URL"] == f"postgresql+psycopg://me:{HIDDEN}@h/d?sslpassword={HIDDEN}"
    assert rows["API_TOKEN"] == rows["backends.far.secret_access_key"] == HIDDEN
    assert rows["backends.far.endpoint_url"] == f"https://me:{HIDDEN}@s3.example?api_token={HIDDEN}&x=1"
    assert rows["backends.far.headers.Authorization"] == HIDDEN
    assert rows["backends.far.headers.Accept"] == "xml"


def test_every_setting_is_shown_in_order(folder):
    names = [row.name for row in effective(load({}, folder=folder))]
    assert tuple(names[: len(NAMES)]) == NAMES


def test_what_is_not_given_is_shown_empty(folder):
    rows = shown(load({}, folder=folder))
    assert (rows["API_TOKEN"], rows["S3_BUCKET_NAME"], rows["DEBUG"]) == ("", "", "false")


# --- Made secrets ---------------------------------------------------------------------------------


def test_missing_secrets_are_made_once_and_kept_private(folder):
    first = ensure_secrets(load({}, folder=folder))
    token = first.settings.api_token.get_secret_value()
    assert first.made == ("api_token", "secret_key")
    assert token.startswith("sd_")
    assert len(token) >= 46
    assert first.settings.secret_key.get_secret_value() != token
    assert stat.S_IMODE((folder / "instance").stat().st_mode) == 0o700
    for name in ("api_token", "secret_key"):
        assert stat.S_IMODE((folder / "instance" / name).stat().st_mode) == 0o600
    assert sorted(os.listdir(folder / "instance")) == ["api_token", "secret_key"]

    second = ensure_secrets(load({}, folder=folder))
    assert second.made == ()
    assert second.settings.api_token == first.settings.api_token
    assert second.settings.secret_key == first.settings.secret_key
    sources = {row.name: row.source for row in effective(second.settings)}
    assert sources["API_TOKEN"] == str(folder / "instance/api_token")


def test_given_secrets_are_taken_and_nothing_is_written(folder):
    given = load({"API_TOKEN": "t", "SECRET_KEY": "k"}, folder=folder)
    assert ensure_secrets(given) == (given, ())
    assert not (folder / "instance").exists()


def test_an_existing_folder_keeps_its_mode(folder):
    (folder / "instance").mkdir(mode=0o750)
    ensure_secrets(load({}, folder=folder))
    assert stat.S_IMODE((folder / "instance").stat().st_mode) == 0o750


def test_an_empty_secret_is_not_taken_for_one(folder):
    (folder / "instance").mkdir()
    (folder / "instance/secret_key").write_text("\n")
    with pytest.raises(ConfigurationError, match="secret_key is empty: remove it"):
        ensure_secrets(load({}, folder=folder))


def test_an_unusable_instance_folder_is_told(folder):
    (folder / "instance").write_text("in the way")
    with pytest.raises(ConfigurationError, match=r"API_TOKEN is not given and cannot be kept in .*api_token"):
        ensure_secrets(load({}, folder=folder))


def test_a_draft_is_removed_when_it_cannot_be_published(folder, monkeypatch):
    def no_links(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    with pytest.raises(ConfigurationError, match="Operation not permitted"):
        ensure_secrets(load({}, folder=folder))
    assert os.listdir(folder / "instance") == []


def _start(folder: Path, gate: Any, answers: Any) -> None:
    gate.wait()
    settings, made = ensure_secrets(load({}, folder=folder))
    answers.put((settings.api_token.get_secret_value(), settings.secret_key.get_secret_value(), made))


def test_processes_that_start_together_agree(folder):
    context = multiprocessing.get_context("spawn")
    gate, answers = context.Barrier(3), context.Queue()
    processes = [context.Process(target=_start, args=(folder, gate, answers)) for _ in range(3)]
    for process in processes:
        process.start()
    found = [answers.get(timeout=60) for _ in processes]
    for process in processes:
        process.join()
    assert len({(token, key) for token, key, _ in found}) == 1
    assert sorted(name for _, _, made in found for name in made) == ["api_token", "secret_key"]
    assert sorted(os.listdir(folder / "instance")) == ["api_token", "secret_key"]


# --- The documented settings ----------------------------------------------------------------------


def test_env_example_names_every_setting_with_its_default(folder):
    lines = (ROOT / ".env.example").read_text().splitlines()
    entries = {
        line[1:].split("=", 1)[0]: (line[1:].split("=", 1)[1], before.removeprefix("# "))
        for before, line in pairwise(lines)
        if line.startswith("#") and line[1:2].isupper()
    }
    assert tuple(entries) == NAMES
    for name, (_, description) in entries.items():
        assert description == Settings.model_fields[name.lower()].description

    (folder / ".env").write_text("\n".join(f"{name}={value}" for name, (value, _) in entries.items()))
    assert load({}, folder=folder).model_dump() == Settings(folder=folder).model_dump()


def test_every_setting_is_described():
    assert all(field.description for field in Settings.model_fields.values())
