"""Answers that several contracts of the JSON face give."""

from typing import Any
from urllib.parse import urlencode

from flask import Response, json, request, url_for

from simpledrive.api import documents
from simpledrive.http.blob_ids import quoted
from simpledrive.models import Blob


def stored(blob: Blob, status: int, etag: str) -> Response:
    """The answer to having stored a blob, with the ETag that the resource in question has now."""
    response = json_response(documents.record(blob), status)
    response.headers["Location"] = url_for("blobs.get", id=blob.id)
    response.headers["ETag"] = f'"{etag}"'
    return response


def page_of(items: list[dict[str, Any]], next_cursor: str | None, **more: object) -> Response:
    """A page of a listing. `Link: rel="next"` is the same request with the next cursor."""
    return with_next(json_response({"items": items, **more, "next_cursor": next_cursor}), next_cursor)


def with_next(response: Response, next_cursor: str | None) -> Response:
    """The response, with a link to the page that follows, if there is one."""
    if next_cursor is not None:
        query = [(name, value) for name, value in request.args.items(multi=True) if name != "cursor"]
        url = f"{request.script_root}{quoted(request.path)}?{urlencode([*query, ('cursor', next_cursor)])}"
        response.headers["Link"] = f'<{url}>; rel="next"'
    return response


def no_content() -> Response:
    """204, of no type."""
    response = Response(status=204)
    del response.headers["Content-Type"]
    return response


def json_response(document: object, status: int = 200) -> Response:
    """A small JSON document, for this caller alone."""
    response = Response(json.dumps(document) + "\n", status, mimetype="application/json")
    response.headers["Cache-Control"] = "private, no-cache"
    return response
