"""Whether the drive lives, is ready, is healthy, and what it has counted: for those who run it."""

from __future__ import annotations

from simpledrive.api.specification.answers import answer
from simpledrive.api.specification.operation import KEYS, NOBODY, operation
from simpledrive.api.specification.parameters import query
from simpledrive.api.specification.problems import EVERYWHERE, SIGNED_IN
from simpledrive.api.specification.references import Json, schema
from simpledrive.api.specification.subject import Subject

SCHEMAS: dict[str, Json] = {
    "Readiness": {
        "description": "Whether requests may be sent here.",
        "type": "object",
        "required": ["status"],
        "properties": {
            "status": {"enum": ["ready", "unready"]},
            "failed": {"type": "array", "items": schema("CheckName"), "description": "Without `verbose`."},
            "checks": {
                "type": "array",
                "description": "With `verbose`.",
                "items": {
                    "type": "object",
                    "required": ["name", "passed", "detail"],
                    "additionalProperties": False,
                    "properties": {
                        "name": schema("CheckName"),
                        "passed": {"type": "boolean"},
                        "detail": {"type": "string"},
                    },
                },
            },
            "backends": {
                "type": "array",
                "description": "With `verbose`.",
                "items": schema("Backend"),
            },
        },
    },
    "CheckName": {"enum": ["database", "migrations", "default_backend"]},
}

_READY = {
    200: answer("Ready.", schema("Readiness"), headers=("Cache-Control",)),
    503: answer("Not ready: send requests elsewhere.", schema("Readiness"), headers=("Cache-Control",)),
}

PATHS: dict[str, dict[str, Json]] = {
    "/livez": {
        "get": operation(
            "livez",
            "Whether this process answers.",
            {
                200: answer(
                    "It does.",
                    {"type": "string", "const": "ok\n"},
                    headers=("Cache-Control",),
                    media_type="text/plain",
                )
            },
            security=NOBODY,
            description="It asks nobody else, and stays true when the database or a backend is down.",
        )
    },
    "/readyz": {
        "get": operation(
            "readyz",
            "Whether requests may be sent here.",
            _READY,
            SIGNED_IN,
            security=NOBODY + KEYS,
            description="The database answers, has its tables, and the default backend was reachable at the "
            "last look. `verbose` tells each check and each backend, and wants a key with the scope admin.",
            parameters=[query("verbose", "Present: tell all.")],
        )
    },
    "/healthz": {
        "get": operation(
            "healthz", "The same as /readyz, under another name.", _READY, EVERYWHERE, security=NOBODY
        )
    },
    "/metrics": {
        "get": operation(
            "metrics",
            "What was counted, for Prometheus.",
            {
                200: answer(
                    "All figures, of all processes.",
                    {"type": "string"},
                    headers=("Cache-Control",),
                    media_type="text/plain",
                )
            },
            SIGNED_IN,
            description="Wants the scope admin, unless METRICS_PUBLIC opens it to all.",
        )
    },
}

SUBJECT = Subject("Health", "Whether the drive and what it stands on are well.", PATHS, SCHEMAS)
