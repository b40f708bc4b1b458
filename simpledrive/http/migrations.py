"""Migrations as they are told to those who may know: the same at /v1/migrations and by the commands."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from simpledrive.logs import moment
from simpledrive.models import Migration, MigrationItem
from simpledrive.moving.planning import Plan


def document(migration: Migration) -> dict[str, object]:
    """A migration and how far it has come."""
    return {
        "id": migration.id,
        "source": migration.source,
        "target": migration.target,
        "selection": migration.selection,
        "plan": migration.plan,
        "state": migration.state,
        "why": migration.why,
        "grace_seconds": migration.grace_seconds,
        "created_at": moment(migration.created_at),
        "created_by": migration.created_by_name,
        "ended_at": moment(migration.ended_at) if migration.ended_at else None,
        "items": migration.items,
        "bytes": migration.bytes,
        "pending": migration.pending,
        "moved": migration.moved,
        "moved_bytes": migration.moved_bytes,
        "failed": migration.failed,
        "gone": migration.gone,
        "back": migration.back,
        "stays": migration.stays,
    }


def plan_document(planned: Plan) -> dict[str, object]:
    """What would move."""
    return {
        "items": planned.items,
        "bytes": planned.bytes,
        "first": planned.first,
        "plan": planned.hash,
    }


def item_document(row: MigrationItem) -> dict[str, object]:
    """What became of one record, and why it did not move."""
    return _named(row) | {"state": row.state, "why": row.why} | _keys(row)


def receipt(batches: Iterable[list[MigrationItem]]) -> Iterator[bytes]:
    """What has moved, a line of JSON each, for somebody who trusts neither side: to check with sha256sum."""
    for rows in batches:
        yield b"".join(json.dumps(_named(row) | _keys(row)).encode() + b"\n" for row in rows)


def _named(row: MigrationItem) -> dict[str, object]:
    return {"id": row.blob_id, "version": row.version, "sha256": row.sha256, "size": row.size}


def _keys(row: MigrationItem) -> dict[str, object]:
    return {
        "source_key": row.source_key,
        "target_key": row.target_key,
        "verified_at": moment(row.verified_at) if row.verified_at else None,
    }
