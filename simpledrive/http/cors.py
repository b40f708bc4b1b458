"""Which other sites' pages may call the API: the origins that CORS_ORIGINS names, and without cookies.

A page of the drive itself is never handed to another origin. Nothing here decides what a caller may do: a
browser is told what a foreign page may see, and that page still needs a key.
"""

from __future__ import annotations

from typing import cast

from flask import Flask, Response, current_app, request

from simpledrive.config import Settings

OPEN = ("v1", "files", "put_file", "upload_file", "get_file", "api_keys", "openapi.json")
"""First segments of the paths that foreign pages may call."""

METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE"

SENT = (
    "Authorization, X-API-Key, Content-Type, If-Match, If-None-Match, If-Modified-Since, "
    "If-Unmodified-Since, If-Range, Range, Idempotency-Key, Repr-Digest, Content-Digest, Content-MD5, "
    "Tus-Resumable, Upload-Length, Upload-Offset, Upload-Metadata, Upload-Defer-Length, Upload-Checksum, "
    "Upload-Concat"
)
"""What foreign pages may send. By name: the wildcard would not cover Authorization."""

SEEN = (
    "ETag, Location, Link, Content-Range, Content-Disposition, Accept-Ranges, Repr-Digest, Last-Modified, "
    "Retry-After, RateLimit, RateLimit-Policy, WWW-Authenticate, X-Request-Id, Tus-Resumable, Tus-Version, "
    "Tus-Extension, Tus-Max-Size, Tus-Checksum-Algorithm, Upload-Length, Upload-Offset, Upload-Metadata, "
    "Upload-Defer-Length, Upload-Concat, Upload-Expires"
)
"""What foreign pages may see of an answer's headers, beside the few that they always may."""

REMEMBERED = 7200
"""Seconds for which a browser need not ask again, as many as browsers allow."""


def init_app(app: Flask, settings: Settings) -> None:
    """Answers other origins as the settings say; without a configured origin nothing is added to anything."""
    origins = frozenset(settings.cors_origins.split(",")) - {""}
    if origins:
        app.extensions["simpledrive.cors"] = origins
        app.before_request(_preflight)
        app.after_request(_admit)


def _preflight() -> Response | None:
    """Answers what a browser asks before it asks. It carries no credential, so none is looked for."""
    asked = request.headers.get("Access-Control-Request-Method")
    if request.method != "OPTIONS" or asked is None or not _is_open() or _admitted() is None:
        return None
    response = Response(status=204)
    del response.headers["Content-Type"]
    response.headers["Access-Control-Allow-Methods"] = METHODS
    response.headers["Access-Control-Allow-Headers"] = SENT
    response.headers["Access-Control-Max-Age"] = str(REMEMBERED)
    return response


def _admit(response: Response) -> Response:
    """Lets the page of an admitted origin see an answer, errors too."""
    if not _is_open():
        return response
    if "*" not in _origins():
        # Also without an origin: a cache must not hand this answer to a page that sends one.
        response.vary.add("Origin")
    if (admitted := _admitted()) is not None:
        response.headers["Access-Control-Allow-Origin"] = admitted
        if request.method != "OPTIONS":
            response.headers["Access-Control-Expose-Headers"] = SEEN
    return response


def _admitted() -> str | None:
    """What is said of the request's origin: the origin itself, `*`, or nothing."""
    origin, known = request.headers.get("Origin"), _origins()
    if origin is None:
        return None
    return "*" if "*" in known else origin if origin in known else None


def _is_open() -> bool:
    return request.path.partition("/")[2].split("/")[0] in OPEN


def _origins() -> frozenset[str]:
    return cast(frozenset[str], current_app.extensions["simpledrive.cors"])
