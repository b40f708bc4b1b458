"""Blob ids in URLs: any text, slashes included, in front and doubled too."""

from urllib.parse import quote, unquote_to_bytes

from flask import Flask, request
from werkzeug.exceptions import NotFound
from werkzeug.routing import BaseConverter

from simpledrive.errors import BadRequest


class BlobId(BaseConverter):
    """Everything that follows. Flask's `path` can reach no id with a leading slash."""

    regex = "(?s:.+)"
    part_isolating = False

    def to_url(self, value: str) -> str:
        return quoted(value)


class FolderPath(BlobId):
    """A folder: nothing, or everything up to a last slash."""

    regex = "(?s:(?:.*/)?)"


def quoted(id: str) -> str:
    """An id as it stands in a URL's path."""
    return quote(id, safe="/")


def init_app(app: Flask) -> None:
    """Adds the converters `id` and `folder`, and keeps doubled slashes."""
    app.url_map.converters.update(id=BlobId, folder=FolderPath)
    app.url_map.merge_slashes = False


def refuse_doubled_root() -> None:
    """Raises NotFound for a path that begins with two slashes, which Werkzeug would take for one.

    As the target of a request it is a path with an empty first segment (RFC 9112), and no host follows.
    """
    if request.environ["PATH_INFO"].startswith("//"):
        raise NotFound


def refuse_broken_text() -> None:
    """Raises BadRequest for bytes in the URL that are not UTF-8, and for a fragment.

    Werkzeug replaces the first, and U+FFFD would be another, valid id. gunicorn cuts off the second, which no
    client sends that means it: an id with a bare `#` would become a shorter one.
    """
    if "#" in request.environ.get("RAW_URI", ""):
        raise BadRequest("The URL has a fragment. A # in an id is sent as %23.")
    try:
        request.environ["PATH_INFO"].encode("latin-1").decode()
        unquote_to_bytes(request.environ.get("QUERY_STRING", "").encode("latin-1")).decode()
    except UnicodeError as error:
        raise BadRequest("The URL has bytes that are not UTF-8.") from error
