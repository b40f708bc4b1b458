"""/v1/migrations: blobs moved from one backend to another, and back again."""

from __future__ import annotations

from typing import get_args

from simpledrive.api.migration_documents import NewMigrationDocument
from simpledrive.api.queries import ITEM_STATES
from simpledrive.api.specification.answers import answer
from simpledrive.api.specification.operation import json_body, operation
from simpledrive.api.specification.parameters import query
from simpledrive.api.specification.problems import ARRIVING, CHANGING, SIGNED_IN
from simpledrive.api.specification.references import Json, parameter, schema
from simpledrive.api.specification.shapes import schema_of
from simpledrive.api.specification.subject import Subject
from simpledrive.api.specification.values import PRINTABLE
from simpledrive.models import MigrationState

_AMOUNT: Json = {"type": "integer", "minimum": 0}
_SIZE: Json = {"type": ["integer", "null"], "minimum": 0, "exclusiveMaximum": 1 << 63}
_AGE: Json = {
    "type": ["string", "null"],
    "anyOf": [
        {"type": "null"},
        {"pattern": "^[0-9]{1,5}[smhdw]$"},
        {"format": "date"},
        {"format": "date-time"},
    ],
}
_AT: Json = {"type": ["string", "null"], "format": "date-time"}
_PLAN_HASH: Json = {"type": "string", "pattern": "^[0-9a-f]{16}$"}

_RECORD: Json = {
    "id": schema("BlobId"),
    "version": {"type": "integer", "minimum": 1},
    "sha256": schema("Digest"),
    "size": _AMOUNT,
}
_COPIES: Json = {
    "source_key": {"type": ["string", "null"], "description": "The object that was read."},
    "target_key": {"type": ["string", "null"], "description": "The object that was written, and read back."},
    "verified_at": _AT | {"description": "When all of that had been read back, and was right."},
}

SCHEMAS: dict[str, Json] = {
    "NewMigration": schema_of(
        NewMigrationDocument,
        "What is to be moved from where to where. Of several conditions all must hold.",
        source={"type": "string", "minLength": 1, "description": "The backend to move from."},
        target={"type": "string", "minLength": 1, "description": "Another one, to move to."},
        prefix={"type": "string", "pattern": PRINTABLE, "description": "Only ids that begin with this."},
        ids={
            "type": ["array", "null"],
            "items": {"type": "string", "pattern": PRINTABLE},
            "description": "Only these ids.",
        },
        older_than=_AGE | {"description": "Only what was stored before: an age such as `30d`, or a date."},
        newer_than=_AGE | {"description": "Only what was stored since."},
        min_size=_SIZE | {"description": "Only what has at least so many bytes."},
        max_size=_SIZE | {"description": "Only what has at most so many bytes."},
        content_type={
            "type": ["string", "null"],
            "pattern": PRINTABLE,
            "description": "Only this media type, or with a slash at its end (`image/`) all that begin so.",
        },
        limit={
            "type": ["integer", "null"],
            "minimum": 1,
            "exclusiveMaximum": 1 << 63,
            "description": "At most so many records.",
        },
        versions={"type": "boolean", "description": "Earlier versions and the trash too, unless false."},
        plan={
            "type": ["string", "null"],
            "description": "The hash of a dry run: refuse if something else would move.",
        },
        dry_run={"type": "boolean", "description": "Only say what would move."},
    ),
    "MigrationPlan": {
        "description": "What would move.",
        "type": "object",
        "required": ["items", "bytes", "first", "plan"],
        "additionalProperties": False,
        "properties": {
            "items": _AMOUNT | {"description": "How many records: blobs, earlier versions."},
            "bytes": _AMOUNT,
            "first": {"type": "array", "items": schema("BlobId"), "description": "The first ten ids."},
            "plan": _PLAN_HASH | {"description": "Stands for all of it: the same hash, the same records."},
        },
    },
    "Migration": {
        "description": "A migration, and how far it has come: how many of its records are in which state.",
        "type": "object",
        "required": [
            "id",
            "source",
            "target",
            "selection",
            "plan",
            "state",
            "why",
            "grace_seconds",
            "created_at",
            "created_by",
            "ended_at",
            "items",
            "bytes",
            "pending",
            "moved",
            "moved_bytes",
            "failed",
            "gone",
            "back",
            "stays",
        ],
        "properties": {
            "id": {"type": "string", "format": "uuid"},
            "source": {"type": "string"},
            "target": {"type": "string"},
            "selection": {"type": "object", "description": "What was asked for, without what was left out."},
            "plan": {
                "type": "string",
                "pattern": "^([0-9a-f]{16})?$",
                "description": "The hash of what was planned; empty until it is.",
            },
            "state": {
                "enum": list(get_args(MigrationState)),
                "description": "Workers bring `planning`, `running`, `rolling_back` and `finalizing` to "
                "their end. One that has `ended` has nothing left to try.",
            },
            "why": {
                "type": "string",
                "description": "Why nobody could go on with it the last time: a place that is down, or full.",
            },
            "grace_seconds": _AMOUNT | {"description": "How long the source keeps what has moved."},
            "created_at": {"type": "string", "format": "date-time"},
            "created_by": {"type": "string", "description": "The name of the key that asked for it."},
            "ended_at": _AT,
            "items": _AMOUNT | {"description": "Records that are to move."},
            "bytes": _AMOUNT | {"description": "What these hold, each counted for itself."},
            "pending": _AMOUNT | {"description": "Left to try."},
            "moved": _AMOUNT,
            "moved_bytes": _AMOUNT,
            "failed": _AMOUNT,
            "gone": _AMOUNT | {"description": "Deleted, or moved by others, meanwhile."},
            "back": _AMOUNT | {"description": "Went back in a roll-back."},
            "stays": _AMOUNT | {"description": "Could not go back any more."},
        },
    },
    "MigrationItem": {
        "description": "One record of a migration: a blob, or an earlier version of one.",
        "type": "object",
        "required": [*_RECORD, "state", "why", *_COPIES],
        "additionalProperties": False,
        "properties": {
            **_RECORD,
            "state": {"enum": list(ITEM_STATES)},
            "why": {"type": "string", "description": "Why it is `failed`, `gone` or `stays`."},
            **_COPIES,
        },
    },
    "MigrationReceipt": {
        "description": "A line of a receipt: one record that has moved.",
        "type": "object",
        "required": [*_RECORD, *_COPIES],
        "additionalProperties": False,
        "properties": {**_RECORD, **_COPIES},
    },
}

EXAMPLE: Json = {
    "id": "01a1fa16-b642-7acf-8ce5-e47e031126ec",
    "source": "local",
    "target": "database",
    "selection": {"older_than": "30d", "min_size": 1048576, "versions": True},
    "plan": "",
    "state": "planning",
    "why": "",
    "grace_seconds": 604800,
    "created_at": "2026-01-22T21:37:55.123Z",
    "created_by": "API_TOKEN",
    "ended_at": None,
    **dict.fromkeys(
        ("items", "bytes", "pending", "moved", "moved_bytes", "failed", "gone", "back", "stays"), 0
    ),
}

LINKS: Json = {
    name: {"operationId": name, "parameters": {"migration_id": "$response.body#/id"}}
    for name in (
        "getMigration",
        "listMigrationItems",
        "getMigrationReceipt",
        "pauseMigration",
        "resumeMigration",
        "rollBackMigration",
        "finalizeMigration",
    )
}
"""Where the id of a new one leads."""


def _page(of: str, description: str) -> Json:
    return answer(
        description,
        {
            "type": "object",
            "required": ["items", "next_cursor"],
            "additionalProperties": False,
            "properties": {
                "items": {"type": "array", "items": schema(of)},
                "next_cursor": {"type": ["string", "null"]},
            },
        },
        headers=("Cache-Control", "Link"),
    )


def _told(description: str) -> Json:
    return answer(description, schema("Migration"), headers=("Cache-Control",))


def _act(name: str, summary: str, status: int, description: str, more: str = "") -> dict[str, Json]:
    return {
        "post": operation(
            name,
            summary,
            {status: _told(description)},
            (*SIGNED_IN, *CHANGING, "migration-not-found", "migration-state"),
            description=f"Wants the scope admin. {more}".strip(),
            parameters=[parameter("migration_id")],
        )
    }


PATHS: dict[str, dict[str, Json]] = {
    "/v1/migrations": {
        "post": operation(
            "createMigration",
            "Begins a migration, or says what one would move.",
            {
                200: answer(
                    "With `dry_run`: what would move. Nothing was changed.",
                    schema("MigrationPlan"),
                    headers=("Cache-Control",),
                    examples={
                        "plan": {
                            "items": 1,
                            "bytes": 27,
                            "first": ["notes/hello.txt"],
                            "plan": "2d2a2b5d4c1f0e9a",
                        }
                    },
                ),
                202: answer(
                    "A worker plans it and runs it. The same asked for again, while it is open or has "
                    "failures, is the same migration: it tries again what failed and adds what has come "
                    "since.",
                    schema("Migration"),
                    headers=("Location", "Cache-Control"),
                    examples={"old": EXAMPLE},
                )
                | {"links": LINKS},
            },
            (
                *SIGNED_IN,
                *CHANGING,
                *ARRIVING,
                "invalid",
                "unsupported-type",
                "storage-unavailable",
                "storage-refused",
                "storage-full",
            ),
            description="Wants the scope admin and a key without a prefix. With `dry_run` or `plan` the "
            "answer takes some ten seconds for a million records. The path may end in a slash.",
            body=json_body(
                "NewMigration",
                plan={"source": "local", "target": "database", "prefix": "notes/", "dry_run": True},
                old={"source": "local", "target": "database", "older_than": "30d", "min_size": 1048576},
            ),
        ),
        "get": operation(
            "listMigrations",
            "All migrations there were, the latest first.",
            {200: _page("Migration", "A page of them.")},
            (*SIGNED_IN, "invalid"),
            description="Wants the scope admin and a key without a prefix. The path may end in a slash.",
            parameters=[parameter("limit"), parameter("cursor")],
        ),
    },
    "/v1/migrations/{migration_id}": {
        "get": operation(
            "getMigration",
            "One migration, and how far it has come.",
            {200: _told("The migration.")},
            (*SIGNED_IN, "migration-not-found"),
            parameters=[parameter("migration_id")],
        )
    },
    "/v1/migrations/{migration_id}/items": {
        "get": operation(
            "listMigrationItems",
            "Its records, in the order of their digests.",
            {200: _page("MigrationItem", "A page of them.")},
            (*SIGNED_IN, "invalid", "migration-not-found"),
            parameters=[
                parameter("migration_id"),
                query("state", "Only those in this state.", "failed", enum=list(ITEM_STATES)),
                parameter("limit"),
                parameter("cursor"),
            ],
        )
    },
    "/v1/migrations/{migration_id}/receipt": {
        "get": operation(
            "getMigrationReceipt",
            "What has moved so far, to be checked with sha256sum.",
            {
                200: answer(
                    "One of these a line, streamed.",
                    {"type": "array", "items": schema("MigrationReceipt")},
                    headers=("Cache-Control",),
                    media_type="application/jsonl",
                )
            },
            (*SIGNED_IN, "migration-not-found"),
            parameters=[parameter("migration_id")],
        )
    },
    "/v1/migrations/{migration_id}/pause": _act(
        "pauseMigration", "Has no worker take up anything more of it.", 200, "It is paused."
    ),
    "/v1/migrations/{migration_id}/resume": _act(
        "resumeMigration", "Has workers go on with one that is paused.", 200, "They go on."
    ),
    "/v1/migrations/{migration_id}/roll-back": _act(
        "rollBackMigration",
        "Has everything go back that it has moved.",
        202,
        "A worker switches the homes back, without copying a byte.",
        "What cannot go back any more `stays`, with its reason; asked for again, it is tried again.",
    ),
    "/v1/migrations/{migration_id}/finalize": _act(
        "finalizeMigration",
        "Gives up what the source keeps to go back to.",
        202,
        "A worker leaves it to the sweep.",
        "There is no way back from this but copying.",
    ),
}

SUBJECT = Subject(
    "Migrations", "Blobs moved between backends while they are used, and back again.", PATHS, SCHEMAS
)
