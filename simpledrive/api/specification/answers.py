"""Answers of an operation as the specification has them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from simpledrive.api.specification.references import Json, header


def answer(
    description: str,
    document: Json | None = None,
    *,
    headers: Iterable[str] = (),
    examples: Mapping[str, object] | None = None,
    media_type: str = "application/json",
) -> Json:
    """An answer with a document of this schema, or without a body."""
    described: Json = {
        "description": description,
        "headers": {name: header(name) for name in ("X-Request-Id", *headers)},
    }
    if document is not None:
        content: Json = {"schema": document}
        if examples:
            content["examples"] = {name: {"value": value} for name, value in examples.items()}
        described["content"] = {media_type: content}
    return described


def without_body(described: Json) -> Json:
    """The same answer to HEAD. A shared one stays as it is: it says what GET would have had for a body."""
    return {name: value for name, value in described.items() if name != "content"}
