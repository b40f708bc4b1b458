"""What the JSON face reads and writes: documents in, documents out (CONTRACTS, part 1)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain
from typing import Any

import pybase64
from flask import json
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import from_json

from simpledrive.errors import BadRequest, Invalid
from simpledrive.models import Blob

BESIDE_DATA = 64 << 10
"""Bytes that a document may have beside its longest member: all else has limits of its own."""

MOST_PROBLEMS = 20

_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
_FOREIGN = re.compile(rb"[^A-Za-z0-9+/]")


class NewBlobDocument(BaseModel):
    """The shape of the body of POST /v1/blobs; what its members may say is checked by descriptions.py.

    Members that it does not know are refused: a misspelt one would be lost.
    `data` is bytes because Python's text takes up to four times the room.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    id: str = ""
    data: bytes
    filename: str = ""
    content_type: str = ""
    storage_backend: str = ""
    metadata: dict[str, str] = {}


def read_new_blob(body: bytes) -> NewBlobDocument:
    """The document in a body. Raises BadRequest for what is not JSON, Invalid for its members."""
    _refuse_bulk(body)
    try:
        return NewBlobDocument.model_validate_json(body)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_input=False, include_context=False)
    if (why := _syntax_error(body)) is None:
        listed = [(".".join(map(str, problem["loc"])) or "body", problem["msg"]) for problem in problems]
        raise Invalid(*listed[:MOST_PROBLEMS])
    if _syntax_error(_SURROGATE.sub(rb"\\ufffd", body)) is None:
        raise Invalid(("body", "An unpaired surrogate is not a character."))
    raise BadRequest(f"The body is not JSON: {why}.")


def _refuse_bulk(body: bytes) -> None:
    """Raises BadRequest if a long body is not mainly one string, as `data` is.

    A parser makes many times its size of anything else: of empty lists, of members, of long names.
    """
    middle = len(body) // 2
    if middle > BESIDE_DATA:
        start, end = body.rfind(b'"', 0, middle), body.find(b'"', middle)
        is_name = body[end + 1 : end + 64].lstrip().startswith(b":")
        if len(body) - (end - start) > BESIDE_DATA or is_name:
            raise BadRequest(f"Beside data, the body has at most {BESIDE_DATA} bytes.")


def _syntax_error(body: bytes) -> str | None:
    """What makes a body no JSON as RFC 8259 has it. Validation alone lets NaN pass."""
    try:
        from_json(body, allow_inf_nan=False)
    except ValueError as error:
        return str(error)
    return None


def decode(data: bytes) -> bytes:
    """The bytes of strict base64: its own alphabet, padded, no white space, no bit too many.

    Raises BadRequest. So what is answered later is, character for character, what was sent.
    """
    try:
        decoded = pybase64.b64decode(data, validate=True)
    except ValueError as error:
        raise BadRequest(f"data is not base64: {_flaw(data)}.") from error
    tail = decoded[len(decoded) - len(decoded) % 3 :]
    if not data.endswith(pybase64.b64encode(tail)):
        raise BadRequest("data is not base64: its last character has bits that belong to no byte.")
    return decoded


def _flaw(data: bytes) -> str:
    if found := _FOREIGN.search(data.rstrip(b"=")):
        return f"the character at offset {found.start()} is not of its alphabet"
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
    for portion in chain((first,), portions):
        portion = rest + portion
        whole = len(portion) - len(portion) % 3
        yield pybase64.b64encode(memoryview(portion)[:whole])
        rest = portion[whole:]
    yield pybase64.b64encode(rest) + tail
