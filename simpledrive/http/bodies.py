"""Whole bodies, on their way into staging or into memory.

gunicorn hands a truncated body over as a normal end. So every byte of every body is counted (counting.py),
and large ones go straight to staging, form uploads and JSON included.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import flask
from flask import current_app

from simpledrive.config import JSON_MEMORY_FACTOR
from simpledrive.errors import BadRequest, Forbidden, TooLarge, UnsupportedType
from simpledrive.http.current import caller, parts
from simpledrive.http.digests import announced_digests
from simpledrive.http.memory import MemoryBudget
from simpledrive.streams.source import Reader
from simpledrive.streams.staging import Incoming


def incoming(request: flask.Request, limit: int | None = None) -> Incoming:
    """The raw body on its way to the drive, with what the headers announce of it.

    Raises BadRequest and UnsupportedType for a body that is not the bytes themselves, all of them, and
    Forbidden for who may only read: nothing that a body asks for is theirs to ask.
    """
    if caller().scopes <= {"read"}:
        raise Forbidden(f"The key {caller().name} may only read.")
    if "Content-Range" in request.headers:
        raise BadRequest("A part of a blob cannot be stored: send all of its bytes, without Content-Range.")
    refuse_codings(request)
    return Incoming(cast(Reader, request.stream), request.content_length, announced_digests(request), limit)


def refuse_codings(request: flask.Request) -> None:
    """Raises UnsupportedType for a compressed body: it would be kept as it came, and how to read it lost."""
    content = request.headers.get("Content-Encoding", "identity").strip().lower()
    transfer = request.headers.get("Transfer-Encoding", "chunked").strip().lower()
    if content != "identity" or transfer != "chunked":
        raise UnsupportedType("Send the bytes themselves: compressed bodies are not taken here.")


@contextmanager
def json_body(request: flask.Request, limit: int, too_large: str) -> Iterator[bytes]:
    """The whole body in memory, for as long as the block lasts, within the process's budget.

    It comes into memory only when all of it has arrived in staging: who sends slowly, or does not say how
    much, keeps no room from others. Then JSON_MEMORY_FACTOR times its length is reserved: the document, its
    text and what the text decodes to. Raises what receiving raises, TooLarge with the sentence `too_large`,
    UnsupportedType, Busy.
    """
    budget = cast(MemoryBudget, current_app.extensions["simpledrive.json_memory"])
    try:
        staged = parts().staging.receive(incoming(request, limit))
    except TooLarge as error:
        raise TooLarge(too_large) from error
    with staged, budget.reserve(JSON_MEMORY_FACTOR * staged.size):
        reader = staged.source.opener()
        try:
            body = reader.read(staged.size)
        finally:
            reader.close()
        yield body
