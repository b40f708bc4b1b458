"""Conditional and range requests (RFC 9110, sections 13 and 14), for both faces and every resource."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime

from flask import Request
from werkzeug.http import parse_date

from simpledrive.errors import BlobExists, PreconditionFailed, RangeNotSatisfiable
from simpledrive.models import Blob

_RANGE = re.compile(r"([0-9]{0,1000})-([0-9]{0,1000})")


def content_etag(blob: Blob) -> str:
    """The strong ETag of a blob's bytes, without quotes: their digest."""
    return blob.sha256


def record_etag(blob: Blob) -> str:
    """The strong ETag of a blob's record: its digest and version."""
    return f"{blob.sha256}-{blob.version}"


def precondition(request: Request) -> Callable[[Blob | None], bool] | None:
    """What the headers demand of the blob that is to be changed, or None if they demand nothing.

    A change concerns the blob as a whole, so a tag may be the ETag of its bytes or that of its record. A
    missing blob never satisfies If-Match.
    """
    headers = request.headers
    if not any(name in headers for name in ("If-Match", "If-Unmodified-Since", "If-None-Match")):
        return None

    def holds(blob: Blob | None) -> bool:
        if blob is None:
            return "If-Match" not in headers
        etags = content_etag(blob), record_etag(blob)
        return _as_named(request, etags, blob.updated_at) and not _excluded(request, etags)

    return holds


def replaceable(request: Request) -> Callable[[Blob | None], bool] | None:
    """What a PUT demands of the blob in whose place it comes; None: that there is none.

    A condition that does not hold is 412. One that holds is not enough to replace a blob: only If-Match
    says that this is what the caller wants, and without it BlobExists is raised.
    """
    demanded = precondition(request)
    if demanded is None or "If-Match" in request.headers:
        return demanded

    def holds(blob: Blob | None) -> bool:
        if blob is not None and demanded(blob):
            raise BlobExists(f"A blob with the id {blob.id!r} exists already; If-Match would replace it.")
        return blob is None

    return holds


def unchanged(request: Request, etag: str, modified: datetime | None = None) -> bool:
    """Whether a GET or HEAD is answered 304. Raises PreconditionFailed for 412.

    In the order of section 13.2.2; dates count in whole seconds. What says no date of modification
    (`modified` is None) ignores the dates of others, as sections 13.1.3 and 13.1.4 have it.
    """
    if not _as_named(request, (etag,), modified):
        raise PreconditionFailed("The blob is not the one that was named, or was changed since.")
    if "If-None-Match" in request.headers:
        return _excluded(request, (etag,))
    return _no_newer(request, "If-Modified-Since", modified) is True


def part(request: Request, size: int, etag: str) -> tuple[int, int] | None:
    """The bytes [start, stop) that are asked for, or None for all of them.

    Several ranges, other units, ranges that cannot be read, and ranges of another version (If-Range) are
    answered by the whole. Raises RangeNotSatisfiable.
    """
    if request.method != "GET" or not _same(request, etag):
        return None
    unit, _, listed = request.headers.get("Range", "").partition("=")
    ranges = [item.strip() for item in listed.split(",") if item.strip()]
    if unit.strip().lower() != "bytes" or len(ranges) != 1 or not (found := _RANGE.fullmatch(ranges[0])):
        return None
    first, last = (int(digits) if digits else None for digits in found.groups())
    if first is None:
        return None if last is None else _suffix(last, size)
    if last is not None and last < first:
        return None
    if first >= size:
        raise RangeNotSatisfiable(size)
    return first, size if last is None else min(last + 1, size)


def _suffix(length: int, size: int) -> tuple[int, int] | None:
    """The last bytes. All of an empty blob are no range that Content-Range could name, but satisfy."""
    if length == 0:
        raise RangeNotSatisfiable(size)
    return (max(0, size - length), size) if size else None


def _as_named(request: Request, etags: tuple[str, ...], modified: datetime | None) -> bool:
    """If-Match, or without it If-Unmodified-Since: whether they hold (steps 1 and 2 of section 13.2.2)."""
    if "If-Match" in request.headers:
        named = request.if_match
        return named.star_tag or any(named.is_strong(etag) for etag in etags)
    return _no_newer(request, "If-Unmodified-Since", modified) is not False


def _excluded(request: Request, etags: tuple[str, ...]) -> bool:
    """Whether If-None-Match names one of these."""
    named = request.if_none_match
    return named.star_tag or any(named.contains_weak(etag) for etag in etags)


def _same(request: Request, etag: str) -> bool:
    """Whether If-Range allows a part: the strong ETag of what we have, or no such header.

    Never by a date: dates have whole seconds, and a blob may change twice within one (RFC 9110, 8.8.2.2).
    """
    value = request.headers.get("If-Range", "").strip()
    return not value or value == f'"{etag}"'


def _no_newer(request: Request, header: str, modified: datetime | None) -> bool | None:
    """Whether the blob is at most as new as the date in a header; None if there is nothing to compare."""
    since = _date(request, header)
    return None if since is None or modified is None else _seconds(modified) <= since


def _date(request: Request, header: str) -> datetime | None:
    """The date in a header; None without it, and for what is no date: such a header is to be ignored."""
    try:
        return parse_date(request.headers.get(header))
    except OverflowError:
        return None


def _seconds(moment: datetime) -> datetime:
    """The moment as Last-Modified says it."""
    return moment.replace(microsecond=0)
