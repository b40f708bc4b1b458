"""migrations of blobs between backends are records"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

bytewise = sa.String().with_variant(sa.Text(collation="C"), "postgresql")
moment = sa.DateTime(timezone=True)
still_open = sa.text("state IN ('planning', 'running', 'paused')")
leased = sa.text("leased_until IS NOT NULL")
retired = sa.text("retired_at IS NOT NULL")

COUNTS = ("items", "bytes", "moved", "moved_bytes", "failed", "gone", "back", "stays")


def upgrade() -> None:
    op.create_table(
        "migrations",
        sa.Column("id", bytewise, primary_key=True),
        sa.Column("source", bytewise, nullable=False),
        sa.Column("target", bytewise, nullable=False),
        sa.Column("selection", sa.JSON(), nullable=False),
        sa.Column("mark", bytewise, nullable=False),
        sa.Column("plan", bytewise, nullable=False),
        sa.Column("required_plan", bytewise, nullable=False),
        sa.Column("state", bytewise, nullable=False),
        sa.Column("grace_seconds", sa.BigInteger(), nullable=False),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("created_by", bytewise, nullable=False),
        sa.Column("created_by_name", sa.Text(), nullable=False),
        sa.Column("ended_at", moment),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("exclusive_until", moment),
        sa.Column("leased", bytewise),
        sa.Column("leased_until", moment),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in COUNTS),
    )
    op.create_index(
        "ix_migrations_open",
        "migrations",
        ["mark"],
        unique=True,
        sqlite_where=still_open,
        postgresql_where=still_open,
    )
    op.create_table(
        "migration_items",
        sa.Column("migration", bytewise, sa.ForeignKey("migrations.id"), primary_key=True),
        sa.Column("sha256", bytewise, primary_key=True),
        sa.Column("record", sa.Uuid(), primary_key=True),
        sa.Column("blob_id", bytewise, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("state", bytewise, nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("is_marked", sa.Boolean(), nullable=False),
        sa.Column("leased", bytewise),
        sa.Column("leased_until", moment),
        sa.Column("source_key", bytewise),
        sa.Column("target_key", bytewise),
        sa.Column("verified_at", moment),
        sa.Column("moved_at", moment),
    )
    op.create_index(
        "ix_migration_items_leased",
        "migration_items",
        ["leased"],
        sqlite_where=leased,
        postgresql_where=leased,
    )
    op.create_index(
        "ix_migration_items_marked",
        "migration_items",
        ["migration"],
        sqlite_where=sa.text("is_marked = 1"),
        postgresql_where=sa.text("is_marked"),
    )
    op.create_index("ix_migration_items_state", "migration_items", ["migration", "state", "sha256", "record"])
    op.add_column("replicas", sa.Column("keep_until", moment))
    op.drop_index("ix_replicas_retired_at", "replicas")
    op.create_index(
        "ix_replicas_retired",
        "replicas",
        ["keep_until", "retired_at", "sha256"],
        sqlite_where=retired,
        postgresql_where=retired,
    )


def downgrade() -> None:
    op.drop_index("ix_replicas_retired", "replicas")
    op.create_index(
        "ix_replicas_retired_at", "replicas", ["retired_at"], sqlite_where=retired, postgresql_where=retired
    )
    op.drop_column("replicas", "keep_until")
    op.drop_table("migration_items")
    op.drop_table("migrations")
