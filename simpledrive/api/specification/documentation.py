"""/openapi.json: this very document."""

from __future__ import annotations

from simpledrive.api.specification.answers import answer
from simpledrive.api.specification.operation import NOBODY, operation
from simpledrive.api.specification.references import Json
from simpledrive.api.specification.subject import Subject

PATHS: dict[str, dict[str, Json]] = {
    "/openapi.json": {
        "get": operation(
            "openapi",
            "This specification.",
            {
                200: answer(
                    "OpenAPI 3.1.", {"type": "object", "required": ["openapi"]}, headers=("Cache-Control",)
                )
            },
            security=NOBODY,
        )
    }
}

SUBJECT = Subject("Documentation", "What describes the drive to programs; people find it at /docs.", PATHS)
