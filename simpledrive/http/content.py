"""A blob's bytes as a response: streamed, every piece checked, never run as a page of the drive."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from itertools import chain
from urllib.parse import quote

from flask import Request, Response
from werkzeug.http import http_date
from werkzeug.wsgi import ClosingIterator

from simpledrive.descriptions import media_type
from simpledrive.errors import Forbidden
from simpledrive.http.conditions import content_etag, part, unchanged
from simpledrive.http.connection import in_portions
from simpledrive.http.current import caller, parts
from simpledrive.models import Blob

PICTURES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp", "image/avif", "image/bmp"})
"""Types that a browser draws and never runs."""

SHOWN = PICTURES | frozenset(
    {"text/plain", "audio/mpeg", "audio/ogg", "audio/wav", "audio/flac", "video/mp4", "video/webm"}
)
"""Types that a browser may show in place. All others are downloaded: HTML, SVG and PDF can run scripts."""


RUNS = frozenset({"script", "style", "worker", "sharedworker", "serviceworker", "embed", "object", "xslt"})
"""What a browser wants when a page would run or apply it: a hole in a page must find no script here."""


def content_response(request: Request, blob: Blob, *, download: bool) -> Response:
    """The answer to GET or HEAD for a blob's bytes: 200, 206 or 304. Raises for 412 and 416.

    The first portion is read before the headers go out, so that lost bytes are an error with a status; what
    breaks later cuts the connection.
    """
    if request.headers.get("Sec-Fetch-Dest") in RUNS:
        raise Forbidden("What users store is not run as a part of a page.")
    etag = content_etag(blob)
    if unchanged(request, etag, blob.updated_at):
        return _described(Response(status=304), blob, download)
    asked = part(request, blob.size, etag)
    start, stop = asked or (0, blob.size)
    if request.method == "HEAD":
        response = Response()
    else:
        response = streamed(parts().drive.read(caller(), blob, start, stop))
    if asked is not None:
        response.status_code = 206
        response.headers["Content-Range"] = f"bytes {start}-{stop - 1}/{blob.size}"
    response.headers["Content-Length"] = str(stop - start)
    return _described(response, blob, download)


def streamed(portions: Iterator[bytes]) -> Response:
    """A response that passes portions on as they come. The first one is taken now, and its error raised."""
    first = next(portions, b"")
    # Passed through directly, a response runs nothing of its own at the end: what the server closes is this.
    sent = ClosingIterator(in_portions(chain((first,), portions)), [getattr(portions, "close", lambda: None)])
    return Response(sent, direct_passthrough=True)


def _described(response: Response, blob: Blob, download: bool) -> Response:
    headers = response.headers
    headers["Content-Type"] = blob.content_type
    headers["ETag"] = f'"{content_etag(blob)}"'
    headers["Last-Modified"] = http_date(blob.updated_at)
    headers["Accept-Ranges"] = "bytes"
    headers["Repr-Digest"] = f"sha-256=:{b64encode(bytes.fromhex(blob.sha256)).decode()}:"
    headers["Content-Disposition"] = disposition(blob, download)
    headers["Cache-Control"] = "private, no-cache"
    headers["Content-Security-Policy"] = "default-src 'none'; sandbox"
    headers["X-Content-Type-Options"] = "nosniff"
    return response


def disposition(blob: Blob, download: bool) -> str:
    """Content-Disposition (RFC 6266): the name in ASCII for old clients, and in full as filename*."""
    shown = media_type(blob.content_type) in SHOWN and not download
    plain = "".join(c if c.isascii() and c.isprintable() and c not in '"\\%/' else "_" for c in blob.filename)
    full = quote(blob.filename, safe="!#$&+.^_`|~-")
    extended = f"; filename*=UTF-8''{full}" if plain != blob.filename else ""
    return f'{"inline" if shown else "attachment"}; filename="{plain}"{extended}'
