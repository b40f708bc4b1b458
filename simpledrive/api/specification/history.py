"""/v1/versions and /v1/trash: what was replaced or deleted."""

from __future__ import annotations

from simpledrive.api.specification.answers import answer
from simpledrive.api.specification.operation import operation
from simpledrive.api.specification.problems import SIGNED_IN
from simpledrive.api.specification.references import Json, parameter, schema
from simpledrive.api.specification.subject import Subject

SCHEMAS: dict[str, Json] = {
    "Version": {
        "description": "A blob as it was before it was replaced or deleted.",
        "allOf": [schema("Record")],
        "type": "object",
        "required": ["version", "deleted", "put_aside_at", "gone_at"],
        "properties": {
            "version": {
                "type": "integer",
                "minimum": 1,
                "description": "For `?version=` and PATCH /v1/blobs/{id}.",
            },
            "deleted": {"type": "boolean", "description": "Put aside by deleting, not by replacing."},
            "put_aside_at": schema("Moment"),
            "gone_at": schema("Moment") | {"description": "When it will be forgotten."},
        },
    },
    "VersionPage": {
        "type": "object",
        "required": ["items", "next_cursor"],
        "additionalProperties": False,
        "properties": {
            "items": {"type": "array", "items": schema("Version")},
            "next_cursor": {"type": ["string", "null"]},
        },
    },
}

_PAGE = {200: answer("A page.", schema("VersionPage"), headers=("Link", "Cache-Control"))}

PATHS: dict[str, dict[str, Json]] = {
    "/v1/versions/{id}": {
        "get": operation(
            "listVersions",
            "Earlier and deleted versions of a blob, newest first.",
            _PAGE,
            (*SIGNED_IN, "invalid", "blob-not-found"),
            description="Their bytes are at `/v1/content/{id}?version=N`; PATCH /v1/blobs/{id} with "
            '`{"version": N}` makes one current again, of a deleted blob too.',
            parameters=[parameter(name) for name in ("id", "limit", "cursor")],
        )
    },
    "/v1/trash": {
        "get": operation(
            "listTrash",
            "Deleted blobs in the order of their ids, and when they will be gone.",
            _PAGE,
            (*SIGNED_IN, "invalid"),
            description="Each as it was last, while its id is free. The path may end in a slash.",
            parameters=[parameter(name) for name in ("prefix", "limit", "cursor")],
        )
    },
}

SUBJECT = Subject("History", "What was replaced or deleted, for HISTORY_DAYS.", PATHS, SCHEMAS)
