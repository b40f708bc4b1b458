"""Digests of a body that its headers announce."""

from __future__ import annotations

import re

import flask
import pybase64

from simpledrive.errors import BadRequest, DigestMismatch

ALGORITHMS = {"sha-512": "sha512", "sha-256": "sha256", "sha": "sha1", "md5": "md5"}
"""Names of digests in HTTP (RFC 9530's registry) and in hashlib."""

_DIGEST = re.compile(r"\s*([a-z*][a-z0-9_.*-]*)=:([A-Za-z0-9+/=]*):\s*(?:;[^,]*)?")


def announced_digests(request: flask.Request) -> dict[str, bytes]:
    """The digests in Repr-Digest, Content-Digest (RFC 9530) and Content-MD5, by hashlib name.

    Unknown algorithms are passed over, as the RFC wants. Raises BadRequest for what cannot be read.
    """
    digests: dict[str, bytes] = {}
    for header in ("Repr-Digest", "Content-Digest"):
        listed = request.headers.get(header, "").strip()
        for item in listed.split(",") if listed else ():
            found = _DIGEST.fullmatch(item)
            if found is None:
                raise BadRequest(f"{header} is not of the form sha-256=:BASE64:.")
            if name := ALGORITHMS.get(found[1]):
                _announce(digests, header, name, found[2])
    if value := request.headers.get("Content-MD5"):
        _announce(digests, "Content-MD5", "md5", value.strip())
    return digests


def _announce(digests: dict[str, bytes], header: str, name: str, value: str) -> None:
    try:
        digest = pybase64.b64decode(value, validate=True)
    except ValueError as error:
        raise BadRequest(f"{header} is not base64.") from error
    if digests.setdefault(name, digest) != digest:
        raise DigestMismatch("The headers announce two different digests.")
