"""/v1/keys: who may do what."""

from __future__ import annotations

from simpledrive.api.key_documents import NewKeyDocument
from simpledrive.api.specification.answers import answer
from simpledrive.api.specification.operation import json_body, operation
from simpledrive.api.specification.problems import ARRIVING, CHANGING, SIGNED_IN
from simpledrive.api.specification.references import Json, parameter, schema
from simpledrive.api.specification.shapes import schema_of
from simpledrive.api.specification.subject import Subject
from simpledrive.api.specification.values import PRINTABLE
from simpledrive.keys import MAX_NAME
from simpledrive.rights import SCOPES

_AMOUNT: Json = {"type": ["integer", "null"], "minimum": 0, "exclusiveMaximum": 1 << 63}
_MOMENT: Json = {"oneOf": [schema("Moment"), {"type": "null"}]}

SCHEMAS: dict[str, Json] = {
    "KeyName": {
        "type": "string",
        "minLength": 1,
        "maxLength": MAX_NAME,
        "allOf": [{"pattern": PRINTABLE}, {"pattern": r"[^\s]"}],
    },
    "KeyDescription": {"type": "string", "maxLength": 5 * MAX_NAME, "pattern": PRINTABLE},
    "NewKey": schema_of(
        NewKeyDocument,
        "A key that is to be made. What is null or left out is as the maker's own key has it; nothing in it "
        "may allow more than that one.",
        name=schema("KeyName"),
        description=schema("KeyDescription"),
        scopes={
            "type": ["array", "null"],
            "minItems": 1,
            "items": {"enum": list(SCOPES)},
            "description": "What it may do; `admin` is managing keys.",
        },
        prefix={
            "type": ["string", "null"],
            "pattern": PRINTABLE,
            "description": "It sees no id that begins otherwise.",
        },
        backends={
            "type": ["array", "null"],
            "minItems": 1,
            "items": {"type": "string"},
            "description": "Where it may place bytes, in the order of its preference.",
        },
        max_bytes=_AMOUNT | {"description": "Its largest upload."},
        quota_bytes=_AMOUNT
        | {
            "description": "What all that it stores may have together, earlier versions and the trash "
            "included."
        },
        expires_at={
            "type": ["string", "null"],
            "format": "date-time",
            "description": "When it ends; not in the past, and with a time zone.",
        },
    ),
    "Key": {
        "description": "What is told of a key. Null stands for no limit, or for what has not happened.",
        "type": "object",
        "required": [
            "id",
            "name",
            "description",
            "scopes",
            "prefix",
            "backends",
            "max_bytes",
            "quota_bytes",
            "used_bytes",
            "created_at",
            "created_by",
            "expires_at",
            "last_used_at",
            "revoked_at",
        ],
        "properties": {
            "id": {"type": "string", "format": "uuid", "description": "Names the key without being one."},
            "name": schema("KeyName"),
            "description": schema("KeyDescription"),
            "scopes": {"type": "array", "items": {"enum": list(SCOPES)}},
            "prefix": {"type": "string"},
            "backends": {"type": ["array", "null"], "items": {"type": "string"}},
            "max_bytes": _AMOUNT,
            "quota_bytes": _AMOUNT,
            "used_bytes": _AMOUNT | {"description": "Of its quota; null without one."},
            "created_at": schema("Moment"),
            "created_by": {"type": ["string", "null"], "description": "The id of the key that made it."},
            "expires_at": _MOMENT,
            "last_used_at": _MOMENT | {"description": "To the minute."},
            "revoked_at": _MOMENT,
        },
    },
    "KeyOnce": {
        "description": "A key and the credential itself, which is shown this once.",
        "allOf": [schema("Key")],
        "type": "object",
        "required": ["key"],
        "properties": {"key": {"type": "string", "pattern": "^sd_[A-Za-z0-9_-]{43}$"}},
    },
}

CREATING = (*SIGNED_IN, *CHANGING, *ARRIVING, "invalid", "unsupported-type")
"""What the making of a key may meet."""


PATHS: dict[str, dict[str, Json]] = {
    "/v1/keys": {
        "post": operation(
            "createKey",
            "Makes a key, and shows it this once.",
            {201: answer("The key.", schema("KeyOnce"), headers=("Location", "Cache-Control"))},
            CREATING,
            description="Wants the scope admin, and a maker without a quota. The answer is never kept: a "
            "second request makes a second key. The path may end in a slash.",
            body=json_body(
                "NewKey",
                reader={"name": "the web site", "scopes": ["read"], "prefix": "public/"},
                everything={"name": "backup"},
            ),
        ),
        "get": operation(
            "listKeys",
            "The keys that may do no more than the one that asks, oldest first.",
            {
                200: answer(
                    "All of them, revoked ones too.",
                    {
                        "type": "object",
                        "required": ["items", "next_cursor"],
                        "additionalProperties": False,
                        "properties": {
                            "items": {"type": "array", "items": schema("Key")},
                            "next_cursor": {"type": "null", "description": "There is one page."},
                        },
                    },
                    headers=("Cache-Control",),
                )
            },
            SIGNED_IN,
            description="Wants the scope admin. API_TOKEN is not among them. The path may end in a slash.",
        ),
    },
    "/v1/keys/{key_id}": {
        "get": operation(
            "getKey",
            "What is known of one key.",
            {200: answer("The key.", schema("Key"), headers=("Cache-Control",))},
            (*SIGNED_IN, "key-not-found"),
            parameters=[parameter("key_id")],
        ),
        "delete": operation(
            "revokeKey",
            "Ends a key, and every session that began with it.",
            {204: answer("From now on it is refused. It stays in the list.")},
            (*SIGNED_IN, *CHANGING, "key-not-found"),
            parameters=[parameter("key_id")],
        ),
    },
}

SUBJECT = Subject(
    "Keys", "Who may do what. A key makes only keys that may do no more than itself.", PATHS, SCHEMAS
)
