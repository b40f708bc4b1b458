"""What schemathesis cannot make up: values that only this drive knows, where random ones could never pass.

Only in what is meant to be valid. What is meant to be wrong stays as it was generated.
"""

from __future__ import annotations

import json
from base64 import b64decode
from hashlib import sha256
from uuid import uuid4

import schemathesis
from schemathesis import Case, DeserializationContext, GenerationMode, HookContext, Response

BACKEND = "database"
ANNOUNCED_FILE = b"Hello Simple Storage World!"
"""The bytes of the file that the specification's examples announce."""

ROOM_FOR_PATH = 1024 - 255 - 1
"""Characters that a path has beside the longest host name."""

OPAQUE = {"cursor"}
"""Parameters whose values only the drive makes."""

FITTING = {"If-Match", "If-Unmodified-Since", "Repr-Digest", "Content-Digest", "Content-MD5"}
"""Headers that have to fit a blob or the body, neither of which is known when they are made up."""


@schemathesis.deserializer("application/jsonl")
def lines(_: DeserializationContext, response: Response) -> list[object]:
    """The documents of an answer that has one a line."""
    return [json.loads(line) for line in response.content.splitlines()]


@schemathesis.hook
def map_case(context: HookContext, case: Case) -> Case:
    """The same request, with the drive's own backends and without what would have to fit something else."""
    assert case.meta is not None
    if case.meta.generation.mode is not GenerationMode.POSITIVE:
        return case
    for name in OPAQUE & set(case.query or {}):
        del case.query[name]
    for name in FITTING & set(case.headers or {}):
        del case.headers[name]
    if "storage_backend" in (case.query or {}):
        case.query["storage_backend"] = BACKEND
    if "Idempotency-Key" in (case.headers or {}):
        case.headers["Idempotency-Key"] = str(uuid4())
    if isinstance(case.body, dict):
        _fit(case.body)
        if "sha256" in (case.path_parameters or {}):
            case.path_parameters["sha256"], case.body["file"] = (
                sha256(ANNOUNCED_FILE).hexdigest(),
                ANNOUNCED_FILE,
            )
    return case


def _fit(body: dict[str, object]) -> None:
    """Makes the members of a body say the same."""
    if "storage_backend" in body:
        body["storage_backend"] = BACKEND
    if isinstance(body.get("backends"), list):
        body["backends"] = [BACKEND]
    if isinstance(body.get("expires_at"), str):
        body["expires_at"] = "2999-12-31T23:59:59Z"
    if "target" in body:
        body.update(source="local", target=BACKEND)
        body.pop("plan", None)  # the hash of what matches, which nobody can make up
    for age in {"older_than", "newer_than"} & set(body):
        if isinstance(body[age], str):
            body[age] = "30d"
    if isinstance(path := body.get("filepath"), str):
        body["filepath"] = path[:ROOM_FOR_PATH]
    if isinstance(data := body.get("data"), str):
        decoded = b64decode(data)
        fitting = {"sha256": sha256(decoded).hexdigest(), "size": len(decoded)}
        body.update({name: value for name, value in fitting.items() if name in body})
