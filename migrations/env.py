"""How Alembic runs here: online, one process at a time, on SQLite with foreign keys checked afterwards."""

from typing import Any

from alembic import context
from flask import current_app
from sqlalchemy import Connection, MetaData, text

from simpledrive.models import db
from simpledrive.storage.chunks import metadata as storage_metadata

PRAGMA_OFF = "PRAGMA foreign_keys = OFF"
LOCK = 7_365_617_001
"""Any number that is ours: PostgreSQL's advisory lock, so that of several hosts that start one upgrades."""


def target() -> MetaData | list[MetaData]:
    return [db.metadata, storage_metadata]


def run() -> None:
    engine = current_app.extensions["migrate"].db.engine.execution_options(writes=True)
    with engine.connect() as connection:
        if connection.dialect.name == "sqlite":
            # Rebuilding a table drops it, and the pragma is ignored inside a transaction.
            driver = connection.connection.driver_connection
            driver.execute(PRAGMA_OFF)
            try:
                migrate(connection, render_as_batch=True)
            finally:
                driver.execute("PRAGMA foreign_keys = ON")
        else:
            migrate(connection)


def migrate(connection: Connection, **options: Any) -> None:
    with connection.begin():
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
        context.configure(connection=connection, target_metadata=target(), compare_type=True, **options)
        context.run_migrations()
        if connection.dialect.name == "sqlite":
            broken = connection.execute(text("PRAGMA foreign_key_check")).all()
            if broken:
                raise RuntimeError(f"{len(broken)} foreign keys would be broken; nothing was changed")


run()
