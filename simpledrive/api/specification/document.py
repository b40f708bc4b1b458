"""The whole specification, put together from its subjects."""

from __future__ import annotations

from collections.abc import Iterator

from simpledrive.api.specification import (
    backends,
    blobs,
    content,
    documentation,
    file_share,
    health,
    history,
    keys,
    migrations,
    problems,
    putplace,
    values,
)
from simpledrive.api.specification.headers import HEADERS
from simpledrive.api.specification.operation import head_of
from simpledrive.api.specification.parameters import PARAMETERS
from simpledrive.api.specification.references import Json
from simpledrive.api.specification.subject import Subject
from simpledrive.http.current import CSRF_HEADER

SUBJECTS: tuple[Subject, ...] = (
    blobs.SUBJECT,
    content.SUBJECT,
    history.SUBJECT,
    keys.SUBJECT,
    backends.SUBJECT,
    migrations.SUBJECT,
    file_share.SUBJECT,
    putplace.SUBJECT,
    health.SUBJECT,
    documentation.SUBJECT,
)

DESCRIPTION = """\
A drive over any storage. Every error is `application/problem+json`, with a stable `type` that leads to a page
saying what to do about it.

Send a key as `Authorization: Bearer KEY` or `X-API-Key: KEY`. What a key may not see is answered as if it did
not exist. Where ANONYMOUS_ACCESS allows it, requests without a key may read or write too.

On every path, OPTIONS answers with `Allow`, and preflights of pages from CORS_ORIGINS as CORS has it; a
method that the path does not have is 405. Broken HTTP is 400, 417, 421, 501 or 505."""

SECURITY: dict[str, Json] = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "API_TOKEN, or an API key."},
    "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "The same keys."},
    "session": {
        "type": "apiKey",
        "in": "cookie",
        "name": "simpledrive",
        "description": "The cookie of somebody who signed in at /drive; counts only together with the CSRF "
        "token.",
    },
    "csrf": {
        "type": "apiKey",
        "in": "header",
        "name": CSRF_HEADER,
        "description": "The token that the pages of /drive carry in their forms.",
    },
}


def document(version: str, root: str) -> Json:
    """The specification of this version of the drive; its paths begin at `root` (`/drives/one`, or "")."""
    return _DOCUMENT | {
        "info": _INFO | {"version": version},
        "servers": [{"url": root or "/"}],
        "externalDocs": {"description": "Every type of problem", "url": f"{root}/problems/"},
    }


def _paths() -> Json:
    paths: Json = {}
    for subject in SUBJECTS:
        for path, operations in subject.paths.items():
            paths[path] = {}
            for method, asked in operations.items():
                paths[path][method] = {"tags": [subject.name]} | asked
                if method == "get":
                    paths[path]["head"] = {"tags": [subject.name]} | head_of(asked)
    return paths


def _shared_answers(part: object) -> Iterator[str]:
    """The names of the shared responses that something in this part points to."""
    if isinstance(part, dict):
        if part.get("$ref", "").startswith("#/components/responses/"):
            yield part["$ref"].rpartition("/")[2]
        part = list(part.values())
    if isinstance(part, list):
        for one in part:
            yield from _shared_answers(one)


def _whole() -> Json:
    paths = _paths()
    schemas: Json = values.SCHEMAS | problems.SCHEMAS
    for subject in SUBJECTS:
        schemas |= subject.schemas
    return {
        "openapi": "3.1.0",
        "info": {},
        "servers": [],
        "externalDocs": {},
        "tags": [{"name": subject.name, "description": subject.description} for subject in SUBJECTS],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "parameters": PARAMETERS,
            "headers": HEADERS,
            "responses": {name: problems.described(name) for name in sorted(set(_shared_answers(paths)))},
            "securitySchemes": SECURITY,
        },
    }


_INFO: Json = {
    "title": "Simple Drive",
    "description": DESCRIPTION,
    "license": {"name": "MIT", "identifier": "MIT"},
}
_DOCUMENT = _whole()
