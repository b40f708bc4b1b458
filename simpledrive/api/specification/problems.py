"""What can go wrong with a request: the problem document, and the answers that carry it.

Operations name the types that they may answer with, most of them by one of the groups below; types of the
same status become one shared answer, whose schema allows these types and no others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import groupby

from simpledrive.api.specification.answers import answer
from simpledrive.api.specification.references import Json, response, schema
from simpledrive.http.problem_kinds import KINDS, TEXTS

EVERYWHERE = ("bad-request", "request-timeout", "uri-too-long", "header-too-large", "internal-error")
"""What any request may meet: most of it before a route is looked for."""

SIGNED_IN = (
    *EVERYWHERE,
    "not-signed-in",
    "insufficient_scope",
    "too-many-requests",
    "busy",
    "database-unavailable",
)
"""Where a key is asked for, and looked up."""

CHANGING = ("database-full",)
"""Where records are written."""

ARRIVING = ("truncated-body", "digest-mismatch", "too-large", "staging-full")
"""Where a body is received."""

STORING = (
    *CHANGING,
    *ARRIVING,
    "invalid",
    "quota-exceeded",
    "storage-unavailable",
    "storage-full",
    "storage-refused",
)
"""Where bytes are put."""

FETCHING = ("integrity-fault", "storage-unavailable", "storage-refused")
"""Where bytes are read."""

HEADERS_OF_STATUS: Mapping[int, tuple[str, ...]] = {
    401: ("WWW-Authenticate",),
    403: ("WWW-Authenticate",),
    416: ("Content-Range",),
    429: ("Retry-After", "RateLimit", "RateLimit-Policy"),
    503: ("Retry-After",),
}

SCHEMAS: dict[str, Json] = {
    "Problem": {
        "description": "An error, as RFC 9457 has it. Nothing in it is a path of the server or a secret.",
        "type": "object",
        "required": ["type", "title", "status", "detail", "instance", "request_id"],
        "properties": {
            "type": {
                "type": "string",
                "format": "uri-reference",
                "pattern": "^/problems/[a-z_-]+$",
                "description": "Stable: what programs compare. In a browser it leads to a page that says "
                "what to do.",
            },
            "title": {"type": "string", "description": "The type in words."},
            "status": {"type": "integer", "minimum": 400, "maximum": 599},
            "detail": {"type": "string", "description": "What happened this time."},
            "instance": {
                "type": "string",
                "format": "uri-reference",
                "description": "The path that was asked for.",
            },
            "request_id": {"type": "string", "format": "uuid", "description": "As in `X-Request-Id`."},
            "errors": {
                "type": "array",
                "description": "With 422: each field that is not acceptable.",
                "items": schema("FieldError"),
            },
        },
    },
    "FieldError": {
        "type": "object",
        "required": ["field", "message"],
        "additionalProperties": False,
        "properties": {
            "field": {"type": "string", "description": "The member, header or parameter."},
            "message": {"type": "string"},
        },
    },
}


def answers_of(types: Iterable[str]) -> dict[str, Json]:
    """The responses of an operation that may answer with these types of problem, by status."""
    statuses = groupby(sorted(set(types), key=_by_status), key=lambda kind: KINDS[kind].status)
    return {str(status): response(_name(status, kinds)) for status, kinds in statuses}


def described(name: str) -> Json:
    """The shared response of that name: what `answers_of` points to."""
    status, *kinds = name.split(".")
    document = schema("Problem") | {
        "properties": {
            "type": {"enum": [f"/problems/{kind}" for kind in kinds]},
            "status": {"const": int(status)},
        }
    }
    return answer(
        "\n\n".join(f"**{kind}**: {TEXTS[kind].meaning}" for kind in kinds),
        document,
        headers=HEADERS_OF_STATUS.get(int(status), ()),
        examples={kind: _example(kind) for kind in kinds},
        media_type="application/problem+json",
    )


def either(own: Json, problem: Json) -> Json:
    """The answer of a status that stands for an answer of the operation's own, and for problems as well."""
    other = described(problem["$ref"].rpartition("/")[2])
    return {
        "description": f"{own['description']}\n\nOr: {other['description']}",
        "headers": own["headers"] | other["headers"],
        "content": own["content"] | other["content"],
    }


def _by_status(kind: str) -> tuple[int, str]:
    return KINDS[kind].status, kind


def _name(status: int, kinds: Iterable[str]) -> str:
    return ".".join([str(status), *kinds])


def _example(kind: str) -> Json:
    document: Json = {
        "type": f"/problems/{kind}",
        "title": KINDS[kind].title,
        "status": KINDS[kind].status,
        "detail": KINDS[kind].title + ".",
        "instance": "/v1/blobs/notes/hello.txt",
        "request_id": "0199f3a2-6c1e-7d3b-9a55-2f8e6b0c4d71",
    }
    if kind == "invalid":
        document["errors"] = [{"field": "storage_backend", "message": "There is no backend cold."}]
    return document
