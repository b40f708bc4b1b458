"""What the JSON face reads and writes: documents in, documents out (CONTRACTS, part 1)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from itertools import chain
from typing import Annotated, Any, Self, TypeVar

import pybase64
from flask import json
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails, PydanticCustomError, from_json

from simpledrive.errors import BadRequest, Invalid
from simpledrive.history import Aside
from simpledrive.models import Blob, BlobHistory

BESIDE_DATA = 64 << 10
"""Bytes that a document may have beside its longest member: all else has limits of its own."""

MOST_PROBLEMS = 20

MISSING = "Send the bytes as data, or the sha256 and size of bytes that are there already."
SENTENCES = {"bytes_type": "This is not a string of base64."}
"""In place of the parser's own, which speaks of the types of Python."""

DIGEST = "^[0-9a-fA-F]{64}$"

_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
_FOREIGN = re.compile(rb"[^A-Za-z0-9+/]")


D = TypeVar("D", bound="Document")


def _whole(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value


WHOLE = BeforeValidator(_whole)
"""Takes a whole number also as `27.0`: JSON does not tell them apart."""

Count = Annotated[int, Field(ge=0, lt=1 << 63), WHOLE]
"""A number of bytes, or of anything else that there may be none of."""


class Document(BaseModel):
    """The shape of a JSON body. What its members may say is checked by the domain.

    Members that it does not know are refused: a misspelt one would be lost.
    """

    model_config = ConfigDict(extra="forbid", strict=True)


class NewBlobDocument(Document):
    """The body of POST /v1/blobs: bytes as base64, or the digest and size of bytes that are there already.

    `data` is bytes because Python's text takes up to four times the room.
    """

    id: str = ""
    data: bytes = b""
    sha256: Annotated[str, Field(pattern=DIGEST)] = ""
    size: Count = 0
    filename: str = ""
    content_type: str = ""
    storage_backend: str = ""
    metadata: dict[str, str] = {}

    @model_validator(mode="after")
    def _bytes_or_digest(self) -> Self:
        if not (self.has_data or {"sha256", "size"} <= self.model_fields_set):
            raise PydanticCustomError("missing", MISSING, {"field": "data"})
        return self

    @property
    def has_data(self) -> bool:
        return "data" in self.model_fields_set

    @property
    def says_size(self) -> bool:
        return "size" in self.model_fields_set

    def described(self) -> dict[str, Any]:
        """What is said of the blob beside its bytes; what was left out is not in it."""
        return self.model_dump(exclude={"data", "sha256", "size"}, exclude_unset=True)


class ChangeDocument(Document):
    """The body of PATCH /v1/blobs/{id}: what is not in it stays as it is."""

    filename: str = ""
    content_type: str = ""
    metadata: dict[str, str] = {}
    storage_backend: str = ""
    version: Annotated[int, Field(ge=1, lt=1 << 31), WHOLE] = 0

    @model_validator(mode="after")
    def _one_act(self) -> Self:
        if not self.model_fields_set:
            raise PydanticCustomError("missing", "There is nothing to change.")
        if self.version and self.model_fields_set != {"version"}:
            why = "A version comes back as it was: nothing else can be said with it."
            raise PydanticCustomError("version", why)
        return self

    @property
    def moves(self) -> bool:
        return "storage_backend" in self.model_fields_set

    def described(self) -> dict[str, Any]:
        """What is to be said of the blob from now on."""
        return self.model_dump(include={"filename", "content_type", "metadata"}, exclude_unset=True)


def read(shape: type[D], body: bytes) -> D:
    """The document in a body. Raises BadRequest for what is not JSON, Invalid for its members."""
    _refuse_bulk(body)
    try:
        return shape.model_validate_json(body)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_input=False)
    if (why := _syntax_error(body)) is None:
        raise Invalid(*map(_listed, problems[:MOST_PROBLEMS]))
    if _syntax_error(_SURROGATE.sub(rb"\\ufffd", body)) is None:
        raise Invalid(("body", "An unpaired surrogate is not a character."))
    raise BadRequest(f"The body is not JSON: {why}.")


def _listed(problem: ErrorDetails) -> tuple[str, str]:
    """The member, as its place in the document or as the check that found it says, and what is wrong."""
    place = ".".join(map(str, problem["loc"])) or problem.get("ctx", {}).get("field", "body")
    return place, SENTENCES.get(problem["type"], problem["msg"])


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


def record(blob: Blob | BlobHistory) -> dict[str, Any]:
    """A blob's members, without its bytes."""
    return {
        "id": blob.id,
        "size": blob.size,
        "created_at": stamp(blob.created_at),
        "sha256": blob.sha256,
        "filename": blob.filename,
        "content_type": blob.content_type,
        "storage_backend": blob.storage_backend,
        "metadata": blob.blob_metadata,
    }


def aside(version: Aside) -> dict[str, Any]:
    """An earlier or deleted version: what is said of a blob, its number, since when and until when."""
    row = version.version
    return record(row) | {
        "version": row.version,
        "deleted": row.deleted,
        "put_aside_at": stamp(row.put_aside_at),
        "gone_at": stamp(version.gone_at),
    }


def stamp(moment: datetime) -> str:
    """A point in time, UTC with seconds and Z."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


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
