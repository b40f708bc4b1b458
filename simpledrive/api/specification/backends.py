"""/v1/backends: where bytes can be kept."""

from __future__ import annotations

from simpledrive.api.specification.answers import answer
from simpledrive.api.specification.operation import operation
from simpledrive.api.specification.problems import SIGNED_IN
from simpledrive.api.specification.references import Json, schema
from simpledrive.api.specification.subject import Subject

SCHEMAS: dict[str, Json] = {
    "Backend": {
        "description": "A configured storage, how it was at the last look, and what lies there.",
        "allOf": [schema("Probe")],
        "type": "object",
        "required": ["name", "kind", "default", "replicas", "bytes", "blobs"],
        "properties": {
            "name": {"type": "string"},
            "kind": {"type": "string", "examples": ["local", "database", "s3", "ftp"]},
            "default": {"type": "boolean", "description": "New blobs that name no backend go here."},
            "replicas": {
                "type": "integer",
                "minimum": 0,
                "description": "Contents kept there, each once however many blobs have it.",
            },
            "bytes": {"type": "integer", "minimum": 0, "description": "Their bytes together."},
            "blobs": {"type": "integer", "minimum": 0, "description": "Blobs whose home it is."},
        },
    }
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
                        "properties": {"items": {"type": "array", "items": schema("Backend")}},
                    },
                    headers=("Cache-Control",),
                )
            },
            SIGNED_IN,
            description="Wants the scope admin. A backend that is no longer configured is listed for as "
            "long as bytes are recorded there.",
        )
    }
}

SUBJECT = Subject("Backends", "Where bytes can be kept.", PATHS, SCHEMAS)
