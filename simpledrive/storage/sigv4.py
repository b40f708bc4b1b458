"""AWS Signature Version 4, as S3 wants it: pure functions, in the order of the specification.

A request is signed over what goes over the wire: `path` and `query` are taken as they are sent, encoded once
by `encode_path` and `canonical_query`, and never folded or encoded again. The time is an argument, in UTC.
Nothing here sends anything, reads a clock, or knows of storages.

    1. canonical_request    what is asked, in one spelling
    2. string_to_sign       its digest, with the time and the scope
    3. signing_key          the secret, bound to day, region and service
    4. signature            the one under the other
    5. authorize, presign   put into a header, or into the query of a URL
"""

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from urllib.parse import quote

ALGORITHM = "AWS4-HMAC-SHA256"
EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()
UNSIGNED = "UNSIGNED-PAYLOAD"
LONGEST_EXPIRY = 7 * 24 * 3600

Pairs = Iterable[tuple[str, str]]


@dataclass(frozen=True)
class Credentials:
    """Whose signature it is. `session_token` belongs to temporary credentials."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Scope:
    """What a signature is good for: one region and one service, on one day."""

    region: str
    service: str = "s3"

    def on(self, time: datetime) -> str:
        return f"{time:%Y%m%d}/{self.region}/{self.service}/aws4_request"


def encode(text: str, keep: str = "") -> str:
    """Every byte of the text's UTF-8 but letters, digits, `-._~` and what is in `keep` as %XX."""
    return quote(text, safe=keep)


def encode_path(path: str) -> str:
    """A path as it is sent and signed: encoded once, slashes kept, `//` and dot segments left as they are."""
    return encode(path, keep="/")


def canonical_query(pairs: Pairs) -> str:
    """A query as it is sent and signed, from decoded names and values.

    In order of the encoded names, then values: sorting the joined `name=value` would put `a-=` before `a=`.
    """
    return "&".join("=".join(pair) for pair in sorted((encode(name), encode(value)) for name, value in pairs))


def canonical_headers(headers: Pairs) -> dict[str, str]:
    """Header names in small letters, in order; spaces in values trimmed, those of one name joined."""
    joined: dict[str, list[str]] = {}
    for name, value in headers:
        joined.setdefault(name.lower().strip(), []).append(" ".join(value.split()))
    return {name: ",".join(joined[name]) for name in sorted(joined)}


def canonical_request(method: str, path: str, query: str, headers: Pairs, payload: str) -> str:
    """Step 1. `payload` is the body's SHA-256 in hexadecimal, or UNSIGNED. Every header given is signed."""
    return _canonical_request(method, path, query, canonical_headers(headers), payload)


def _canonical_request(method: str, path: str, query: str, headers: Mapping[str, str], payload: str) -> str:
    lines = "".join(f"{name}:{value}\n" for name, value in headers.items())
    return "\n".join([method, path, query, lines, ";".join(headers), payload])


def string_to_sign(request: str, time: datetime, scope: Scope) -> str:
    """Step 2, from the canonical request."""
    return "\n".join([ALGORITHM, stamp(time), scope.on(time), hashlib.sha256(request.encode()).hexdigest()])


def signing_key(secret: str, time: datetime, scope: Scope) -> bytes:
    """Step 3. The same all day long."""
    return _signing_key(secret, scope.on(time))


@lru_cache(maxsize=64)
def _signing_key(secret: str, scope: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


def signature(key: bytes, text: str) -> str:
    """Step 4, from the signing key and the string to sign."""
    return hmac.digest(key, text.encode(), "sha256").hex()


def authorization(
    credentials: Credentials, scope: Scope, time: datetime, names: Iterable[str], signed: str
) -> str:
    """Step 5: the value of the header `Authorization`; `names` are the signed headers' canonical names."""
    return (
        f"{ALGORITHM} Credential={credentials.access_key_id}/{scope.on(time)}, "
        f"SignedHeaders={';'.join(names)}, Signature={signed}"
    )


def authorize(
    method: str,
    path: str,
    query: str,
    headers: Mapping[str, str],
    payload: str,
    credentials: Credentials,
    scope: Scope,
    time: datetime,
) -> dict[str, str]:
    """`headers` and what S3 wants beside them: time, the body's digest, the session token, the signature.

    `Host` has to be among the headers. All of them are signed, so none may be changed or added afterwards.
    """
    complete = {**headers, "x-amz-date": stamp(time), "x-amz-content-sha256": payload}
    if credentials.session_token is not None:
        complete["x-amz-security-token"] = credentials.session_token
    canonical = canonical_headers(complete.items())
    request = _canonical_request(method, path, query, canonical, payload)
    key = signing_key(credentials.secret_access_key, time, scope)
    signed = signature(key, string_to_sign(request, time, scope))
    return {**complete, "Authorization": authorization(credentials, scope, time, canonical, signed)}


def presign(
    method: str,
    host: str,
    path: str,
    query: Pairs,
    expires: int,
    credentials: Credentials,
    scope: Scope,
    time: datetime,
) -> str:
    """The query of a URL that needs no header but `Host`, and is good for `expires` seconds from `time` on.

    Whoever has the URL can use it: it is a secret as long as it is good. Raises ValueError for an expiry that
    no server accepts.
    """
    if not 1 <= expires <= LONGEST_EXPIRY:
        raise ValueError(f"a URL is good for 1 to {LONGEST_EXPIRY} seconds")
    pairs = [
        *query,
        ("X-Amz-Algorithm", ALGORITHM),
        ("X-Amz-Credential", f"{credentials.access_key_id}/{scope.on(time)}"),
        ("X-Amz-Date", stamp(time)),
        ("X-Amz-Expires", str(expires)),
        ("X-Amz-SignedHeaders", "host"),
    ]
    if credentials.session_token is not None:
        pairs.append(("X-Amz-Security-Token", credentials.session_token))
    encoded = canonical_query(pairs)
    request = canonical_request(method, path, encoded, [("host", host)], UNSIGNED)
    key = signing_key(credentials.secret_access_key, time, scope)
    return f"{encoded}&X-Amz-Signature={signature(key, string_to_sign(request, time, scope))}"


def stamp(time: datetime) -> str:
    """A time as `x-amz-date` has it: 20130524T000000Z."""
    return f"{time:%Y%m%dT%H%M%SZ}"
