"""Answers that several contracts of the JSON face give."""

from flask import Response, json, url_for

from simpledrive.api import documents
from simpledrive.models import Blob


def stored(blob: Blob, status: int, etag: str) -> Response:
    """The answer to having stored a blob, with the ETag that the resource in question has now."""
    response = json_response(documents.record(blob), status)
    response.headers["Location"] = url_for("blobs.get", id=blob.id)
    response.headers["ETag"] = f'"{etag}"'
    return response


def json_response(document: object, status: int = 200) -> Response:
    """A small JSON document, for this caller alone."""
    response = Response(json.dumps(document) + "\n", status, mimetype="application/json")
    response.headers["Cache-Control"] = "private, no-cache"
    return response
