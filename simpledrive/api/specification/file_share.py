"""/files: the contract of File Share."""

from __future__ import annotations

from simpledrive.api.specification.answers import answer
from simpledrive.api.specification.blobs import RECORD
from simpledrive.api.specification.content import CONTENT, READING, READING_PROBLEMS
from simpledrive.api.specification.operation import file_body, operation
from simpledrive.api.specification.problems import SIGNED_IN, STORING
from simpledrive.api.specification.references import Json, parameter, schema
from simpledrive.api.specification.subject import Subject

FILE_ID = "0199f3a2-6c1e-7d3b-9a55-2f8e6b0c4d71"

SCHEMAS: dict[str, Json] = {
    "NewFile": {
        "type": "object",
        "required": ["id", "filename", "size"],
        "additionalProperties": False,
        "properties": {
            "id": {"type": "string", "format": "uuid"},
            "filename": {"type": "string", "description": "As it was sent."},
            "size": {"type": "integer", "minimum": 0},
        },
    },
    "File": {
        "type": "object",
        "required": ["fileId", "filename", "sizeBytes", "contentType", "sha256", "uploadedAt"],
        "additionalProperties": False,
        "properties": {
            "fileId": {"type": "string", "format": "uuid"},
            "filename": {
                "type": "string",
                "pattern": "^[A-Za-z0-9_.-]*$",
                "description": "Every other character is `_`.",
            },
            "sizeBytes": {"type": "integer", "minimum": 0},
            "contentType": {"type": "string"},
            "sha256": schema("Digest"),
            "uploadedAt": schema("Moment"),
        },
    },
}

_FILE = {
    "fileId": FILE_ID,
    "filename": "hello.txt",
    "sizeBytes": RECORD["size"],
    "contentType": "text/plain",
    "sha256": RECORD["sha256"],
    "uploadedAt": RECORD["created_at"],
}

PATHS: dict[str, dict[str, Json]] = {
    "/files": {
        "post": operation(
            "uploadFile",
            "Stores a file under an id that the drive makes.",
            {201: answer("Stored, and safe.", schema("NewFile"), headers=("Location", "Cache-Control"))},
            (*SIGNED_IN, *STORING, "unsupported-type", "idempotency-key-reused"),
            description="At most FILES_MAX_BYTES (20 MiB). The path may end in a slash.",
            parameters=[parameter("Idempotency-Key")],
            body=file_body("The file. Its part names it and may say its type."),
        ),
        "get": operation(
            "listFiles",
            "Files in the order of their ids.",
            {
                200: answer(
                    "A page, `[]` when there are none.",
                    {"type": "array", "items": schema("File")},
                    headers=("Link", "Cache-Control"),
                    examples={"one": [_FILE]},
                )
            },
            (*SIGNED_IN, "invalid"),
            description="The next page is where `Link` leads. The path may end in a slash.",
            parameters=[parameter("limit"), parameter("cursor")],
        ),
    },
    "/files/{id}": {
        "get": operation(
            "downloadFile",
            "A file's bytes, to be saved.",
            CONTENT,
            READING_PROBLEMS,
            parameters=[
                {
                    "name": "id",
                    "in": "path",
                    "required": True,
                    "schema": {"type": "string", "format": "uuid"},
                    "example": FILE_ID,
                },
                *READING,
            ],
        )
    },
}

SUBJECT = Subject(
    "File Share",
    "Files under ids that the drive makes. Each is a blob as well, and seen wherever blobs are.",
    PATHS,
    SCHEMAS,
)
