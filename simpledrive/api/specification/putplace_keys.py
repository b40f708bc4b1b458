"""/api_keys: keys as PutPlace's contract has them."""

from __future__ import annotations

from simpledrive.api.key_documents import NewApiKeyDocument
from simpledrive.api.specification.answers import answer
from simpledrive.api.specification.keys import CREATING
from simpledrive.api.specification.operation import json_body, operation
from simpledrive.api.specification.problems import CHANGING, SIGNED_IN
from simpledrive.api.specification.references import Json, parameter, schema
from simpledrive.api.specification.shapes import schema_of

SCHEMAS: dict[str, Json] = {
    "NewApiKey": schema_of(
        NewApiKeyDocument,
        "A key that may do what its maker may.",
        name=schema("KeyName"),
        description={"oneOf": [schema("KeyDescription"), {"type": "null"}]},
    ),
    "ApiKey": {
        "type": "object",
        "required": ["_id", "name", "description", "created_at", "is_active"],
        "properties": {
            "_id": {"type": "string", "format": "uuid"},
            "name": schema("KeyName"),
            "description": {"type": ["string", "null"]},
            "created_at": schema("Moment"),
            "is_active": {"type": "boolean", "description": "Neither revoked nor expired."},
        },
    },
    "ListedApiKey": {
        "allOf": [schema("ApiKey")],
        "type": "object",
        "required": ["last_used_at"],
        "properties": {"last_used_at": {"oneOf": [schema("Moment"), {"type": "null"}]}},
    },
    "ApiKeyOnce": {
        "description": "A key and the credential itself, which is shown this once.",
        "allOf": [schema("ApiKey")],
        "type": "object",
        "required": ["api_key"],
        "properties": {"api_key": {"type": "string", "pattern": "^sd_[A-Za-z0-9_-]{43}$"}},
    },
    "Message": {
        "type": "object",
        "required": ["message"],
        "additionalProperties": False,
        "properties": {"message": {"type": "string"}},
    },
}

_DONE = {200: answer("Done.", schema("Message"), headers=("Cache-Control",))}

PATHS: dict[str, dict[str, Json]] = {
    "/api_keys": {
        "post": operation(
            "createApiKey",
            "Makes a key that may do what its maker may, and shows it this once.",
            {201: answer("The key.", schema("ApiKeyOnce"), headers=("Cache-Control",))},
            CREATING,
            body=json_body("NewApiKey", laptop={"name": "laptop", "description": "pushes each night"}),
        ),
        "get": operation(
            "listApiKeys",
            "The keys that may do no more than the one that asks.",
            {
                200: answer(
                    "All of them.",
                    {"type": "array", "items": schema("ListedApiKey")},
                    headers=("Cache-Control",),
                )
            },
            SIGNED_IN,
        ),
    },
    "/api_keys/{key_id}/revoke": {
        "put": operation(
            "revokeApiKey",
            "Ends a key. It stays in the list.",
            _DONE,
            (*SIGNED_IN, *CHANGING, "key-not-found"),
            parameters=[parameter("key_id")],
        )
    },
    "/api_keys/{key_id}": {
        "delete": operation(
            "deleteApiKey",
            "Forgets a key. What it stored stays.",
            _DONE,
            (*SIGNED_IN, *CHANGING, "key-not-found"),
            parameters=[parameter("key_id")],
        )
    },
}
