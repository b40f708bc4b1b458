"""The migrations, on both databases and with rows in the tables."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from flask import Flask
from flask_migrate import Config, downgrade, upgrade
from sqlalchemy import inspect, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from simpledrive import create_app
from simpledrive.models import db
from simpledrive.parts import Parts
from simpledrive.storage.chunks import metadata as storage_metadata
from tests.apps import settings_for
from tests.drives import check, fetch, keep, replace
from tests.servers import Server

TABLES = {
    "api_keys", "audit_log", "backend_usage", "blob_data", "blob_history", "blob_metadata", "blob_object",
    "drive", "ended_sessions", "machine_files", "migration_items", "migrations",
    "mirror_search", "replays", "replicas", "reservations", "verifications", "wanted_copies",
}  # fmt: skip


def tables(app: Flask) -> set[str]:
    with app.app_context():
        return set(inspect(db.engine).get_table_names()) - {"alembic_version"}


def test_the_models_are_what_the_migrations_make(any_app: Flask) -> None:
    with any_app.app_context(), db.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, [db.metadata, storage_metadata]) == []
    assert tables(any_app) == TABLES


def test_down_and_up_again(any_app: Flask, any_parts: Parts) -> None:
    keep(any_parts, "a", b"first")
    replace(any_parts, "a", b"second", "database")
    any_parts.database.engine.dispose()
    with any_app.app_context():
        upgrade()
        downgrade(revision="base")
        assert tables(any_app) == set()
        upgrade()
    assert tables(any_app) == TABLES


def test_upgrading_what_is_up_to_date_keeps_every_row(any_app: Flask, any_parts: Parts) -> None:
    keep(any_parts, "a", b"first")
    replace(any_parts, "a", b"second", "database")
    with any_app.app_context():
        upgrade()
    assert fetch(any_parts, "a") == b"second"
    check(any_parts)


@pytest.mark.parametrize(
    "moment", ["on a new connection", "after an upgrade, during which SQLite does not look"]
)
def test_the_database_itself_refuses_a_record_without_a_replica(
    any_app: Flask, any_parts: Parts, moment: str
) -> None:
    keep(any_parts, "a", b"bytes")
    any_parts.database.engine.dispose()
    if moment.startswith("after"):
        with any_app.app_context():
            upgrade()
    for statement in (
        "UPDATE blob_metadata SET storage_backend = 'nowhere'",
        "UPDATE blob_metadata SET sha256 = 'other'",
        "DELETE FROM replicas",
        "UPDATE blob_metadata SET storage_backend = NULL",
    ):
        with pytest.raises(IntegrityError):
            any_parts.database.write(partial(execute, statement=statement))
    assert fetch(any_parts, "a") == b"bytes"


def execute(session: Session, statement: str) -> None:
    session.execute(text(statement))


LATER = """
import sqlalchemy as sa
from alembic import op

revision = "9999"
down_revision = "{head}"


def upgrade():
    with op.batch_alter_table("replicas") as replicas:
        replicas.add_column(sa.Column("later", sa.Text()))
        replicas.alter_column("storage_key", existing_type=sa.String(), nullable=True)
    {more}


def downgrade():
    with op.batch_alter_table("replicas") as replicas:
        replicas.drop_column("later")
        replicas.alter_column("storage_key", existing_type=sa.String(), nullable=False)
"""


@contextmanager
def later_migration(app: Flask, tmp_path: Path, more: str = "") -> Iterator[Config]:
    """A migration of some day, which rebuilds the table that everything references."""
    (tmp_path / "later").mkdir()
    with app.app_context():
        config = app.extensions["migrate"].migrate.get_config()
        folder = Path(config.get_main_option("script_location")) / "versions"
        head = max(path.stem for path in folder.glob("0*.py")).partition("_")[0]
        (tmp_path / "later" / "9999_later.py").write_text(LATER.format(head=head, more=more))
        config.set_main_option("version_locations", f"{folder};{tmp_path / 'later'}")
        config.set_main_option("path_separator", ";")
        yield config


def test_a_later_migration_may_rebuild_a_table_that_is_referenced(
    any_app: Flask, any_parts: Parts, tmp_path: Path
) -> None:
    keep(any_parts, "a", b"bytes")
    any_parts.database.engine.dispose()
    with later_migration(any_app, tmp_path) as config:
        command.upgrade(config, "head")
        columns = {column["name"] for column in inspect(db.engine).get_columns("replicas")}
        assert "later" in columns
        command.downgrade(config, "-1")
    assert fetch(any_parts, "a") == b"bytes"
    check(any_parts)
    with pytest.raises(IntegrityError):
        any_parts.database.write(partial(execute, statement="DELETE FROM replicas"))


def test_a_migration_that_would_break_a_foreign_key_changes_nothing(
    any_app: Flask, any_parts: Parts, tmp_path: Path
) -> None:
    keep(any_parts, "a", b"bytes")
    any_parts.database.engine.dispose()
    with later_migration(any_app, tmp_path, "op.execute('DELETE FROM replicas')") as config:
        with pytest.raises((RuntimeError, IntegrityError)):
            command.upgrade(config, "head")
        assert "later" not in {column["name"] for column in inspect(db.engine).get_columns("replicas")}
    assert fetch(any_parts, "a") == b"bytes"


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_hosts_that_upgrade_at_once_agree(request: pytest.FixtureRequest, tmp_path: Path, kind: str) -> None:
    given: dict[str, object] = {}
    if kind == "postgres":
        given["DATABASE_URL"] = request.getfixturevalue("postgres_database")
    server = Server(tmp_path, **given)
    with ThreadPoolExecutor(3) as pool:
        runs = list(pool.map(lambda _: server.run("db", "upgrade"), range(3)))
    assert [run.returncode for run in runs] == [0, 0, 0], [run.stderr for run in runs]
    database = {"database_url": given["DATABASE_URL"]} if given else {}
    app = create_app(settings_for(tmp_path, **database))
    with app.app_context():
        assert tables(app) == TABLES
        assert db.session.execute(text("SELECT count(*) FROM drive")).scalar() == 1
        db.session.remove()
        db.engine.dispose()


def test_a_database_that_cannot_be_used_stops_the_start_with_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("no folder")
    for url in (f"sqlite:///{tmp_path}/file/drive.db", "postgresql://somebody:secret@127.0.0.1:1/drive"):
        server = Server(tmp_path, DATABASE_URL=url)
        with pytest.raises(AssertionError):
            server.start()
        output = server.output()
        assert "The database cannot be used" in output
        assert "Traceback" not in output
        assert "secret" not in output
