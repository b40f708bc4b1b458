"""JSON bodies of the JSON face: one way in for all of its contracts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from flask import request

from simpledrive.api.documents import BESIDE_DATA, D, read
from simpledrive.errors import UnsupportedType
from simpledrive.http.bodies import json_body

JSON_TYPES = ("application/json", "application/merge-patch+json")


@contextmanager
def document(shape: type[D], limit: int = BESIDE_DATA, too_large: str | None = None) -> Iterator[D]:
    """The request's body as a document of that shape, in memory for as long as the block lasts.

    Raises UnsupportedType, TooLarge with the sentence `too_large`, BadRequest, Invalid.
    """
    if request.mimetype not in JSON_TYPES[: 2 if request.method == "PATCH" else 1]:
        raise UnsupportedType("Send application/json; /v1/content/{id} takes raw bytes of any type.")
    with json_body(request, limit, too_large or f"This body has at most {limit} bytes.") as body:
        yield read(shape, body)
