"""copies that mirrors lack are records"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

bytewise = sa.String().with_variant(sa.Text(collation="C"), "postgresql")
moment = sa.DateTime(timezone=True)
leased = sa.text("leased_until IS NOT NULL")


def upgrade() -> None:
    op.create_table(
        "wanted_copies",
        sa.Column("sha256", bytewise, primary_key=True),
        sa.Column("storage_backend", bytewise, primary_key=True),
        sa.Column("since", moment, nullable=False),
        sa.Column("due_at", moment, nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("leased", bytewise),
        sa.Column("leased_until", moment),
    )
    op.create_index(
        "ix_wanted_copies_leased", "wanted_copies", ["leased"], sqlite_where=leased, postgresql_where=leased
    )
    op.create_index("ix_wanted_copies_due", "wanted_copies", ["storage_backend", "due_at"])
    op.create_index("ix_wanted_copies_since", "wanted_copies", ["storage_backend", "since"])
    op.create_table(
        "mirror_search",
        sa.Column("number", sa.Integer(), primary_key=True),
        sa.Column("mirrors", sa.Text(), nullable=False),
        sa.Column("behind", bytewise),
        sa.Column("ended_at", moment),
    )
    op.add_column("backend_usage", sa.Column("waiting", sa.BigInteger(), nullable=False, server_default="0"))


def downgrade() -> None:
    op.drop_column("backend_usage", "waiting")
    op.drop_table("mirror_search")
    op.drop_table("wanted_copies")
