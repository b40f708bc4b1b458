"""What a strict S3 server thinks of a request's signature. Written apart from the code that signs."""

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import quote, unquote

TOLERANCE = timedelta(minutes=15)
AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^/, ]+)/(\d{8})/([^/, ]+)/s3/aws4_request, "
    r"SignedHeaders=([a-z0-9;-]+), Signature=([0-9a-f]{64})"
)


class Refused(Exception):
    """An answer of the S3 kind: status, code, message and further elements."""

    def __init__(self, status: int, code: str, message: str = "", **elements: str) -> None:
        super().__init__(code)
        self.status, self.code, self.message, self.elements = status, code, message, elements


@dataclass(frozen=True)
class Asked:
    """A request as it came: `path` and `query` raw, header names in small letters."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]

    def pairs(self) -> list[tuple[str, str]]:
        raw = [part.partition("=") for part in self.query.split("&") if part]
        return [(unquote(name), unquote(value)) for name, _, value in raw]


@dataclass(frozen=True)
class Account:
    """Who may ask, and where."""

    access_key: str
    secret_key: str
    region: str
    token: str | None = None


def check(asked: Asked, account: Account, now: datetime) -> str:
    """Returns what the request says of its body: a digest, or UNSIGNED-PAYLOAD. Raises Refused."""
    if "x-amz-signature" in asked.query.lower():
        return _check_url(asked, account, now)
    headers = asked.headers
    for name in ("host", "x-amz-date", "x-amz-content-sha256", "authorization"):
        if name not in headers:
            raise Refused(403, "AccessDenied", f"{name} is missing")
    found = AUTHORIZATION.fullmatch(headers["authorization"])
    if not found:
        raise Refused(400, "AuthorizationHeaderMalformed", "not in the documented form")
    access_key, day, region, signed, signature = found.groups()
    _check_scope(access_key, region, headers.get("x-amz-security-token"), account)
    time = _time(headers["x-amz-date"])
    if abs(now - time) > TOLERANCE:
        raise Refused(403, "RequestTimeTooSkewed", "The difference between the times is too large.")
    names = signed.split(";")
    unsigned = {n for n in headers if n in ("host", "range") or n.startswith("x-amz-")} - set(names)
    if names != sorted(names) or unsigned:
        raise Refused(403, "AccessDenied", f"headers are not signed: {sorted(unsigned)}")
    payload = headers["x-amz-content-sha256"]
    if not re.fullmatch(r"[0-9a-f]{64}", payload):
        raise Refused(400, "InvalidArgument", "this server wants the digest of every body")
    lines = "".join(f"{name}:{' '.join(headers[name].split())}\n" for name in names)
    text = f"{asked.method}\n{asked.path}\n{_sorted(asked.query)}\n{lines}\n{signed}\n{payload}"
    _compare(signature, text, time, f"{day}/{region}/s3/aws4_request", account)
    return payload


def _check_url(asked: Asked, account: Account, now: datetime) -> str:
    given = dict(asked.pairs())
    access_key, day, region, *_ = given["X-Amz-Credential"].split("/")
    _check_scope(access_key, region, given.get("X-Amz-Security-Token"), account)
    time = _time(given["X-Amz-Date"])
    if not time - TOLERANCE <= now <= time + timedelta(seconds=int(given["X-Amz-Expires"])):
        raise Refused(403, "AccessDenied", "Request has expired")
    query = re.sub(r"&?X-Amz-Signature=[^&]*", "", asked.query)
    text = (
        f"{asked.method}\n{asked.path}\n{_sorted(query)}\nhost:{asked.headers['host']}\n\nhost\n"
        "UNSIGNED-PAYLOAD"
    )
    _compare(given["X-Amz-Signature"], text, time, f"{day}/{region}/s3/aws4_request", account)
    return "UNSIGNED-PAYLOAD"


def _check_scope(access_key: str, region: str, token: str | None, account: Account) -> None:
    if access_key != account.access_key:
        raise Refused(403, "InvalidAccessKeyId", "The access key does not exist.", AWSAccessKeyId=access_key)
    if region != account.region:
        message = f"the region '{region}' is wrong; expecting '{account.region}'"
        raise Refused(400, "AuthorizationHeaderMalformed", message, Region=account.region)
    if token != account.token:
        raise Refused(400, "InvalidToken", "The provided token is malformed or otherwise invalid.")


def _compare(signature: str, request: str, time: datetime, scope: str, account: Account) -> None:
    if not scope.startswith(f"{time:%Y%m%d}/"):
        raise Refused(403, "SignatureDoesNotMatch", "the day is not that of the time")
    digest = hashlib.sha256(request.encode()).hexdigest()
    text = f"AWS4-HMAC-SHA256\n{time:%Y%m%dT%H%M%SZ}\n{scope}\n{digest}"
    key = ("AWS4" + account.secret_key).encode()
    for part in scope.split("/"):
        key = hmac.new(key, part.encode(), "sha256").digest()
    right = hmac.new(key, text.encode(), "sha256").hexdigest()
    if right != signature:
        # As Amazon does, with much of what was sent.
        raise Refused(
            403,
            "SignatureDoesNotMatch",
            f"The signature we calculated, {right}, does not match {signature}.",
            StringToSign=text,
            SignatureProvided=signature,
        )


def _sorted(query: str) -> str:
    """The query in the one spelling that is signed; what is not encoded so never matches."""
    pairs = [part.partition("=")[::2] for part in query.split("&") if part]
    encoded = sorted((quote(unquote(n), safe="-._~"), quote(unquote(v), safe="-._~")) for n, v in pairs)
    return "&".join(f"{name}={value}" for name, value in encoded)


def _time(text: str) -> datetime:
    try:
        return datetime.strptime(text, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        raise Refused(403, "AccessDenied", "x-amz-date is no time") from None
