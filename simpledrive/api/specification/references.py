"""Names for what the specification is made of, and pointers to what several operations share."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]


def schema(name: str) -> Json:
    """A pointer to one of the shared schemas."""
    return _pointer("schemas", name)


def header(name: str) -> Json:
    """A pointer to one of the shared headers."""
    return _pointer("headers", name)


def parameter(name: str) -> Json:
    """A pointer to one of the shared parameters."""
    return _pointer("parameters", name)


def response(name: str) -> Json:
    """A pointer to one of the shared responses."""
    return _pointer("responses", name)


def _pointer(kind: str, name: str) -> Json:
    return {"$ref": f"#/components/{kind}/{name}"}
