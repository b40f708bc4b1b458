"""What the JSON face reads and writes: documents in, documents out (CONTRACTS, part 1)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import pybase64
from flask import json
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from simpledrive.errors import BadRequest, Invalid
from simpledrive.models import Blob


class NewBlobDocument(BaseModel):
    """The body of POST /v1/blobs. Members that it does not know are refused: a misspelt one would be lost."""

    model_config = ConfigDict(extra="forbid", strict=True)

    id: str = ""
    data: Annotated[str, Field()]
    filename: str = ""
    content_type: str = ""
    storage_backend: str | None = None
    metadata: dict[str, str] = {}  # noqa: RUF012 (pydantic copies it)


def read_new_blob(body: bytes) -> NewBlobDocument:
    """The document in a body. Raises BadRequest for what is not JSON, Invalid for its members."""
    try:
        return NewBlobDocument.model_validate_json(body)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_input=False, include_context=False)
    if any(problem["type"] == "json_invalid" for problem in problems):
        if not any("surrogate" in problem["msg"] for problem in problems):
            raise BadRequest(f"The body is not JSON: {problems[0]['msg']}.")
        # Text, if not Unicode: the member it stands in deserves to be named.
        raise Invalid(("body", "An unpaired surrogate is not a character."))
    raise Invalid(*((".".join(map(str, problem["loc"])) or "body", problem["msg"]) for problem in problems))


def decode(data: str) -> bytes:
    """The bytes of strict base64: its own alphabet, padded, no white space. Raises BadRequest."""
    try:
        return pybase64.b64decode(data, validate=True)
    except ValueError as error:
        raise BadRequest(f"data is not base64: {_flaw(data)}.") from error


def _flaw(data: str) -> str:
    alphabet = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")
    bare = data.rstrip("=")
    for at, character in enumerate(bare):
        if character not in alphabet:
            return f"the character at offset {at} is not of its alphabet"
    if len(data) % 4:
        return f"its length, {len(data)}, is not a multiple of four"
    return "its padding is wrong"


def record(blob: Blob) -> dict[str, Any]:
    """A blob's members, without its bytes."""
    return {
        "id": blob.id,
        "size": blob.size,
        "created_at": blob.created_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "sha256": blob.sha256,
        "filename": blob.filename,
        "content_type": blob.content_type,
        "storage_backend": blob.storage_backend,
        "metadata": blob.blob_metadata,
    }


def with_data(blob: Blob, portions: Iterator[bytes]) -> tuple[int, Iterator[bytes]]:
    """The record with its bytes as `data`: the document's length, and the document in portions.

    Never in memory as a whole, whatever the size.
    """
    head = json.dumps(record(blob))[:-1].encode() + b', "data": "'
    tail = b'"}\n'
    length = len(head) + -(-blob.size // 3) * 4 + len(tail)
    return length, _document(head, portions, tail)


def _document(head: bytes, portions: Iterator[bytes], tail: bytes) -> Iterator[bytes]:
    rest = b""
    # The first bytes are fetched before the head goes out: lost ones are an error with a status.
    first = next(portions, b"")
    yield head
    for portion in _chain(first, portions):
        portion = rest + portion
        whole = len(portion) - len(portion) % 3
        yield pybase64.b64encode(memoryview(portion)[:whole])
        rest = portion[whole:]
    yield pybase64.b64encode(rest) + tail


def _chain(first: bytes, portions: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from portions
