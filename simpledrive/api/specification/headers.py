"""Headers of answers that several operations share."""

from __future__ import annotations

from simpledrive.api.specification.references import Json


def _header(description: str, **schema: object) -> Json:
    return {"description": description, "schema": {"type": "string"} | schema}


HEADERS: dict[str, Json] = {
    "X-Request-Id": _header("The id of this request, under which the log knows it.", format="uuid")
    | {"required": True},
    "ETag": _header(
        'A strong validator. Of bytes it is their SHA-256, `"<sha256>"`; of a record it is '
        '`"<sha256>-<version>"`, which every change makes another.',
        pattern='^"[0-9a-f]{64}(-[0-9]+)?"$',
        example='"7fc7…-1"',
    ),
    "Location": _header("Where what was made is, without the host.", format="uri-reference"),
    "Last-Modified": _header("When the blob was last changed."),
    "Accept-Ranges": _header("Parts may be asked for, in bytes.", const="bytes"),
    "Content-Range": _header(
        "Which bytes these are, of how many; after 416 only how many there are.",
        pattern=r"^bytes ([0-9]+-[0-9]+|\*)/[0-9]+$",
    ),
    "Content-Length": _header("Bytes of this answer.", pattern="^[0-9]+$"),
    "Content-Disposition": _header(
        "`inline` for what a browser may show, `attachment` for all else, with the file name (RFC 6266)."
    ),
    "Repr-Digest": _header(
        "The SHA-256 of the whole blob, also beside a part of it (RFC 9530).",
        pattern="^sha-256=:[A-Za-z0-9+/]{43}=:$",
    ),
    "Cache-Control": _header("Who may keep the answer, and that it is to be asked about again."),
    "Link": _header(
        'The next page, as `<URL>; rel="next"`; absent on the last one.',
        pattern='^<[^>]+>; rel="next"$',
    ),
    "WWW-Authenticate": _header("How to sign in.", pattern="^Bearer "),
    "Retry-After": _header("Seconds after which to try again.", pattern="^[0-9]+$"),
    "RateLimit": _header(
        "What is left of each limit that this request was counted for, and the seconds until its window ends."
    ),
    "RateLimit-Policy": _header("The limits that hold for this caller."),
}
