"""which replica was verified longest ago, which are bad, and where scrubbing is"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

bytewise = sa.String().with_variant(sa.Text(collation="C"), "postgresql")

INDEXES = {
    "ix_replicas_bad": (["storage_backend", "sha256"], "bad_at IS NOT NULL"),
    "ix_replicas_unverified": (
        ["storage_backend", "created_at", "sha256"],
        "bad_at IS NULL AND verified_at IS NULL",
    ),
    "ix_replicas_verified": (
        ["storage_backend", "verified_at", "sha256"],
        "bad_at IS NULL AND verified_at IS NOT NULL",
    ),
}


def upgrade() -> None:
    for name, (columns, where) in INDEXES.items():
        op.create_index(
            name, "replicas", columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where)
        )
    op.create_table(
        "verifications",
        sa.Column("storage_backend", bytewise, primary_key=True),
        sa.Column("verified", sa.BigInteger(), nullable=False),
        sa.Column("bad", sa.BigInteger(), nullable=False),
        sa.Column("scrub_at", sa.DateTime(timezone=True), nullable=False),
    )


def downgrade() -> None:
    op.drop_table("verifications")
    for name in INDEXES:
        op.drop_index(name, "replicas")
