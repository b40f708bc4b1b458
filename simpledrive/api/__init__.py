"""The JSON face: a module for each contract. No rule lives here; it translates."""

from simpledrive.api import (
    backends,
    blobs,
    content,
    documentation,
    file_share,
    history,
    keys,
    migrations,
    putplace,
    putplace_keys,
)

__all__ = [
    "backends",
    "blobs",
    "content",
    "documentation",
    "file_share",
    "history",
    "keys",
    "migrations",
    "putplace",
    "putplace_keys",
]
