"""What a module of the specification describes: one subject, with its schemas and routes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from simpledrive.api.specification.references import Json


@dataclass(frozen=True)
class Subject:
    """A tag, what readers should know of it, and all that carries it.

    `paths` has, for each path, its operations by method in small letters. HEAD is not among them: every GET
    has one, and `document` adds it.
    """

    name: str
    description: str
    paths: Mapping[str, Mapping[str, Json]]
    schemas: Mapping[str, Json] = field(default_factory=dict)
