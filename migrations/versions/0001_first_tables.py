"""first tables"""

import uuid
from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

bytewise = sa.String().with_variant(sa.Text(collation="C"), "postgresql")
key = sa.String(97).with_variant(sa.String(97, collation="C"), "postgresql")
moment = sa.DateTime(timezone=True)


def upgrade() -> None:
    drive = op.create_table(
        "drive",
        sa.Column("uuid", sa.Uuid(), primary_key=True),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("swept_at", moment, nullable=False),
    )
    # SQLite knows no zones: there, UTC goes without saying.
    now = datetime.now(UTC)
    now = now.replace(tzinfo=None) if op.get_bind().dialect.name == "sqlite" else now
    op.bulk_insert(drive, [{"uuid": uuid.uuid4(), "created_at": now, "swept_at": now}])

    op.create_table(
        "replicas",
        sa.Column("sha256", bytewise, primary_key=True),
        sa.Column("storage_backend", bytewise, primary_key=True),
        sa.Column("storage_key", bytewise, nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("pieces", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("verified_at", moment),
        sa.Column("retired_at", moment),
        sa.Column("bad_at", moment),
    )
    op.create_index("ix_replicas_backend", "replicas", ["storage_backend", "sha256"])
    retired = sa.text("retired_at IS NOT NULL")
    op.create_index(
        "ix_replicas_retired_at", "replicas", ["retired_at"], sqlite_where=retired, postgresql_where=retired
    )

    op.create_table("blob_metadata", *described(), sa.UniqueConstraint("id"))
    op.create_index("ix_blob_metadata_replica", "blob_metadata", ["sha256", "storage_backend"])
    op.create_index("ix_blob_metadata_folder", "blob_metadata", ["folder", "id"])
    op.create_index("ix_blob_metadata_backend", "blob_metadata", ["storage_backend", "id"])

    op.create_table(
        "blob_history",
        *described(),
        sa.Column("put_aside_at", moment, nullable=False),
        sa.Column("deleted", sa.Boolean(), nullable=False),
    )
    op.create_index("ix_blob_history_replica", "blob_history", ["sha256", "storage_backend"])
    op.create_index("ix_blob_history_id", "blob_history", ["id", "version"])
    op.create_index("ix_blob_history_put_aside_at", "blob_history", ["put_aside_at"])

    op.create_table(
        "backend_usage",
        sa.Column("storage_backend", bytewise, primary_key=True),
        sa.Column("shard", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("replicas", sa.BigInteger(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
    )

    op.create_table(
        "blob_object",
        sa.Column("storage_key", key, primary_key=True),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("complete", sa.Boolean(), nullable=False),
    )
    op.create_index(
        "ix_blob_object_incomplete",
        "blob_object",
        ["created_at"],
        sqlite_where=sa.text("complete = 0"),
        postgresql_where=sa.text("NOT complete"),
    )
    op.create_table(
        "blob_data",
        sa.Column("storage_key", key, sa.ForeignKey("blob_object.storage_key"), primary_key=True),
        sa.Column("part", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
    )
    if op.get_bind().dialect.name == "postgresql":
        # Compressing what is mostly compressed already costs three quarters of the time to store it.
        op.execute("ALTER TABLE blob_data ALTER COLUMN data SET STORAGE EXTERNAL")


def described() -> list[sa.schema.SchemaItem]:
    """What blobs and their history have in common."""
    return [
        sa.Column("pk", sa.Uuid(), primary_key=True),
        sa.Column("id", bytewise, nullable=False),
        sa.Column("folder", bytewise, nullable=False),
        sa.Column("filename", sa.Text(), nullable=False),
        sa.Column("content_type", sa.Text(), nullable=False),
        sa.Column("metadata", sa.JSON(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("sha256", bytewise, nullable=False),
        sa.Column("storage_backend", bytewise, nullable=False),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("updated_at", moment, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["sha256", "storage_backend"], ["replicas.sha256", "replicas.storage_backend"]
        ),
    ]


def downgrade() -> None:
    for table in (
        "blob_data",
        "blob_object",
        "backend_usage",
        "blob_history",
        "blob_metadata",
        "replicas",
        "drive",
    ):
        op.drop_table(table)
