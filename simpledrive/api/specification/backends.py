"""/v1/backends: where bytes can be kept."""

from __future__ import annotations

from simpledrive.api.specification.answers import answer
from simpledrive.api.specification.operation import operation
from simpledrive.api.specification.problems import SIGNED_IN
from simpledrive.api.specification.references import Json, schema
from simpledrive.api.specification.subject import Subject

SCHEMAS: dict[str, Json] = {
    "Backend": {
        "description": "A configured storage, and what the last look at it found.",
        "type": "object",
        "required": [
            "name",
            "kind",
            "default",
            "where",
            "reachable",
            "detail",
            "probed_at",
            "probe_ms",
            "steps",
        ],
        "properties": {
            "name": {"type": "string"},
            "kind": {"type": "string", "examples": ["local", "database", "s3", "ftp"]},
            "default": {"type": "boolean", "description": "New blobs that name no backend go here."},
            "where": {"type": "string", "description": "A path or an address, without user and password."},
            "reachable": {"type": "boolean", "description": "Every step of the look went well."},
            "detail": {"type": "string", "description": "Why the last step failed; empty if none did."},
            "probed_at": {"type": ["string", "null"], "format": "date-time"},
            "probe_ms": {"type": ["number", "null"], "minimum": 0, "description": "How long the look took."},
            "steps": {
                "type": "array",
                "description": "In the order in which they were taken. After one that fails comes none.",
                "items": schema("BackendStep"),
            },
        },
    },
    "BackendStep": {
        "type": "object",
        "required": ["name", "passed", "ms"],
        "additionalProperties": False,
        "properties": {
            "name": {
                "type": "string",
                "description": "First the marker, which says that the place belongs to this drive and "
                "backend; then a small object is written, read, compared, listed and deleted.",
                "examples": ["marker", "write", "read", "compare", "list", "delete"],
            },
            "passed": {"type": "boolean"},
            "ms": {"type": "number", "minimum": 0},
        },
    },
    "BackendUsage": {
        "description": "A backend, what lies there, and what it lacks as a mirror.",
        "allOf": [schema("Backend")],
        "type": "object",
        "required": [
            "replicas",
            "bytes",
            "blobs",
            "mirror_of",
            "waiting",
            "waiting_since",
            "waiting_detail",
            "mirror_searched",
            "bad_replicas",
            "verified_since",
        ],
        "properties": {
            "replicas": {
                "type": "integer",
                "minimum": 0,
                "description": "Contents kept there, each once however many blobs have it.",
            },
            "bytes": {"type": "integer", "minimum": 0, "description": "Their bytes together."},
            "blobs": {"type": "integer", "minimum": 0, "description": "Blobs whose home it is."},
            "mirror_of": {
                "type": "array",
                "items": {"type": "string"},
                "description": "The homes whose blobs it is to have a copy of.",
            },
            "waiting": {"type": "integer", "minimum": 0, "description": "Copies that it lacks of these."},
            "waiting_since": {
                "type": ["string", "null"],
                "format": "date-time",
                "description": "Since when it has lacked the oldest of them.",
            },
            "waiting_detail": {
                "type": "string",
                "description": "Why the oldest could not be made the last time; empty if nobody has tried.",
            },
            "mirror_searched": {
                "type": "boolean",
                "description": "Whether all was looked through for it; before that it may lack more.",
            },
            "bad_replicas": {
                "type": "integer",
                "minimum": 0,
                "description": "Contents there that are known to be wrong or gone.",
            },
            "verified_since": {
                "type": ["string", "null"],
                "format": "date-time",
                "description": "Whatever is not known to be bad was read in full and right, or stored, at "
                "this moment or later. Null while nothing is kept there.",
            },
        },
    },
}

PATHS: dict[str, dict[str, Json]] = {
    "/v1/backends": {
        "get": operation(
            "listBackends",
            "Every backend, the default first.",
            {
                200: answer(
                    "The backends.",
                    {
                        "type": "object",
                        "required": ["items"],
                        "additionalProperties": False,
                        "properties": {"items": {"type": "array", "items": schema("BackendUsage")}},
                    },
                    headers=("Cache-Control",),
                )
            },
            SIGNED_IN,
            description="Wants the scope admin. A backend that is no longer configured is listed for as "
            "long as bytes are recorded there.",
        )
    },
    "/v1/backends/{name}/check": {
        "post": operation(
            "checkBackend",
            "Looks at a backend now.",
            {
                200: answer("What was found.", schema("Backend"), headers=("Cache-Control",)),
                202: answer(
                    "The look takes longer than a request waits, 2 seconds, and goes on. This is what the "
                    "one before it has found; GET /v1/backends tells of this one when it has ended.",
                    schema("Backend"),
                    headers=("Cache-Control",),
                ),
            },
            (*SIGNED_IN, "backend-not-found"),
            description="Wants the scope admin. One look at a time is under way: who asks meanwhile is told "
            "what that one finds.",
            parameters=[
                {
                    "name": "name",
                    "in": "path",
                    "required": True,
                    "description": "The backend's name.",
                    "schema": {"type": "string", "minLength": 1},
                    "example": "database",
                }
            ],
        )
    },
}

SUBJECT = Subject("Backends", "Where bytes can be kept, and whether it can.", PATHS, SCHEMAS)
