"""how many blobs have their home at each backend"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("backend_usage", sa.Column("blobs", sa.BigInteger(), nullable=False, server_default="0"))
    # Shard -1 is written by nobody else: what there was when counting began.
    op.execute(
        "INSERT INTO backend_usage (storage_backend, shard, replicas, bytes, blobs) "
        "SELECT storage_backend, -1, 0, 0, count(*) FROM blob_metadata GROUP BY storage_backend"
    )


def downgrade() -> None:
    op.execute("DELETE FROM backend_usage WHERE shard = -1")
    op.drop_column("backend_usage", "blobs")
