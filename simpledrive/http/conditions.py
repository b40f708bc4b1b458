"""Conditional and range requests (RFC 9110, sections 13 and 14), for both faces and every resource."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from flask import Request
from werkzeug.http import http_date, parse_date

from simpledrive.errors import PreconditionFailed, RangeNotSatisfiable
from simpledrive.models import Blob


def content_etag(blob: Blob) -> str:
    """The strong ETag of a blob's bytes, without quotes: their digest."""
    return blob.sha256


def record_etag(blob: Blob) -> str:
    """The strong ETag of a blob's record: its digest and version."""
    return f"{blob.sha256}-{blob.version}"


def if_match(request: Request) -> Callable[[Blob | None], bool] | None:
    """The condition that If-Match sets, or None without that header. A missing blob never matches.

    A change concerns the blob as a whole, so it may name the ETag of its bytes or that of its record.
    """
    if "If-Match" not in request.headers:
        return None
    named = request.if_match

    def holds(blob: Blob | None) -> bool:
        if blob is None:
            return False
        return named.star_tag or named.is_strong(content_etag(blob)) or named.is_strong(record_etag(blob))

    return holds


def unchanged(request: Request, etag: str, modified: datetime) -> bool:
    """Whether a GET or HEAD is answered 304. Raises PreconditionFailed for 412.

    In the order of section 13.2.2; dates count in whole seconds.
    """
    headers, moment = request.headers, parse_date(http_date(modified))
    if "If-Match" in headers:
        if not (request.if_match.star_tag or request.if_match.is_strong(etag)):
            raise PreconditionFailed("The blob is not the one that was named.")
    elif (since := parse_date(headers.get("If-Unmodified-Since"))) and moment and moment > since:
        raise PreconditionFailed("The blob was changed since.")
    if "If-None-Match" in headers:
        return request.if_none_match.contains_weak(etag) or request.if_none_match.star_tag
    since = parse_date(headers.get("If-Modified-Since"))
    return bool(since and moment and moment <= since)


def part(request: Request, size: int, etag: str, modified: datetime) -> tuple[int, int] | None:
    """The bytes [start, stop) that are asked for, or None for all of them.

    Several ranges, other units, ranges that cannot be read, and ranges of another version (If-Range) are
    answered by the whole. Raises RangeNotSatisfiable.
    """
    if request.method != "GET" or not _same(request, etag, modified):
        return None
    wanted = request.range
    if wanted is None or wanted.units != "bytes" or len(wanted.ranges) != 1:
        return None
    first, stop = wanted.ranges[0]
    start = max(0, size + first) if first < 0 else first
    if start >= size:
        raise RangeNotSatisfiable(size)
    return start, size if stop is None else min(stop, size)


def _same(request: Request, etag: str, modified: datetime) -> bool:
    """Whether If-Range allows a part: a strong ETag or the exact date of what we have, or no such header."""
    value = request.headers.get("If-Range", "").strip()
    if not value:
        return True
    if value.startswith('"'):
        return value == f'"{etag}"'
    date = parse_date(value)
    return date is not None and date == parse_date(http_date(modified))
