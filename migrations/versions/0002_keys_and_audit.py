"""keys, quotas, replays, the audit log, files of machines"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

bytewise = sa.String().with_variant(sa.Text(collation="C"), "postgresql")
moment = sa.DateTime(timezone=True)

named_like_a_uuid = sa.text(
    "CASE WHEN substr(id, length(id) - 35) LIKE '________-____-____-____-____________' THEN 1 ELSE 0 END > 0"
)

TABLES = ("machine_files", "audit_log", "replays", "reservations", "api_keys")


def upgrade() -> None:
    op.create_table(
        "api_keys",
        sa.Column("id", bytewise, primary_key=True),
        sa.Column("digest", bytewise, nullable=False, unique=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("scopes", sa.JSON(), nullable=False),
        sa.Column("prefix", bytewise, nullable=False),
        sa.Column("backends", sa.JSON()),
        sa.Column("max_bytes", sa.BigInteger()),
        sa.Column("quota_bytes", sa.BigInteger()),
        sa.Column("used_bytes", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("expires_at", moment),
        sa.Column("last_used_at", moment),
        sa.Column("revoked_at", moment),
        sa.Column("deleted_at", moment),
    )
    op.create_table(
        "reservations",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("key_id", bytewise, nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", moment, nullable=False),
    )
    op.create_index("ix_reservations_key", "reservations", ["key_id"])
    op.create_table(
        "replays",
        sa.Column("mark", bytewise, primary_key=True),
        sa.Column("fingerprint", bytewise, nullable=False),
        sa.Column("record", sa.JSON(), nullable=False),
        sa.Column("created_at", moment, nullable=False),
    )
    op.create_index("ix_replays_created_at", "replays", ["created_at"])
    op.create_table(
        "audit_log",
        sa.Column("pk", sa.Uuid(), primary_key=True),
        sa.Column("at", moment, nullable=False),
        sa.Column("key_id", bytewise, nullable=False),
        sa.Column("key_name", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("request_id", bytewise, nullable=False),
        sa.Column("action", bytewise, nullable=False),
        sa.Column("target", bytewise, nullable=False),
        sa.Column("details", sa.JSON(), nullable=False),
    )
    op.create_index("ix_audit_log_target", "audit_log", ["target", "pk"])
    _append_only()
    op.create_table(
        "machine_files",
        sa.Column("id", bytewise, primary_key=True),
        sa.Column("blob_id", bytewise, nullable=False, unique=True),
        sa.Column("hostname", sa.Text(), nullable=False),
        sa.Column("filepath", sa.Text(), nullable=False),
        sa.Column("ip_address", sa.Text(), nullable=False),
        sa.Column("sha256", bytewise, nullable=False),
        sa.Column("file_size", sa.BigInteger(), nullable=False),
        sa.Column("file_mode", sa.BigInteger(), nullable=False),
        sa.Column("file_uid", sa.BigInteger(), nullable=False),
        sa.Column("file_gid", sa.BigInteger(), nullable=False),
        sa.Column("file_mtime", sa.Double(), nullable=False),
        sa.Column("file_atime", sa.Double(), nullable=False),
        sa.Column("file_ctime", sa.Double(), nullable=False),
        sa.Column("created_at", moment, nullable=False),
    )
    op.create_index("ix_machine_files_sha256", "machine_files", ["sha256", "id"])
    op.create_index(
        "ix_blob_metadata_files",
        "blob_metadata",
        ["folder", "id"],
        sqlite_where=named_like_a_uuid,
        postgresql_where=named_like_a_uuid,
    )


def _append_only() -> None:
    """The database itself refuses to change or remove entries of the audit log."""
    if op.get_bind().dialect.name == "sqlite":
        for act in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER audit_log_refuses_{act.lower()} BEFORE {act} ON audit_log "
                "BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END"
            )
        return
    op.execute(
        "CREATE FUNCTION audit_log_is_append_only() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'the audit log is append-only'; END $$"
    )
    op.execute(
        "CREATE TRIGGER audit_log_refuses_change BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_log "
        "FOR EACH STATEMENT EXECUTE FUNCTION audit_log_is_append_only()"
    )


def downgrade() -> None:
    op.drop_index("ix_blob_metadata_files", "blob_metadata")
    for table in TABLES:
        op.drop_table(table)
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION audit_log_is_append_only()")
