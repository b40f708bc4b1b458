"""The JSON face: a module for each contract. No rule lives here; it translates."""

from simpledrive.api import blobs, content

__all__ = ["blobs", "content"]
