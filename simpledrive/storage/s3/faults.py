"""What went wrong, as a StorageError that says what to do.

A server's refusal is a status and, but for HEAD, an XML document with a code, a message and a request id. All
of that is in the error, without what is secret: a server may quote the request that it refuses.
"""

import re
import socket
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from urllib3.exceptions import ReadTimeoutError

from simpledrive.errors import ObjectMissing, StorageError, StorageFull, StorageRefused, StorageUnavailable
from simpledrive.storage.s3.answers import Unreadable, read
from simpledrive.storage.s3.options import REGION, S3Options

LONGEST_QUOTE = 300
SIGNATURE = re.compile(r"(?i)(signature[=:]\s*|\b)[0-9a-f]{64}\b")


class Passing(StorageUnavailable):
    """Likely to go well if it is done once more, at once."""


class Garbled(Passing):
    """Done or not, the answer does not tell: it is not what it should be."""


class TimedOut(StorageUnavailable):
    """The server was waited for as long as is configured."""


class NoSuchUpload(StorageUnavailable):
    """The upload in parts was completed, aborted or cleaned away."""


@dataclass(frozen=True)
class Refusal:
    """What a server said instead of doing what it was asked.

    `region` is a name of one or empty; `date` is its clock's, if it told.
    """

    status: int
    code: str
    message: str
    request_id: str
    region: str
    date: datetime | None

    def __str__(self) -> str:
        said = " ".join(filter(None, [str(self.status), self.code]))
        request = f", request {self.request_id}" if self.request_id else ""
        return f"{said}{request}" + (f": {self.message}" if self.message else "")


def refusal(status: int, headers: Mapping[str, str], body: bytes) -> Refusal:
    """Reads an answer that is no success. One that is not S3's XML has an empty code."""
    try:
        root = read(body)
        code, message = root.text("Code"), root.text("Message")
        request_id, region = root.text("RequestId"), root.text("Region")
    except Unreadable:
        code = message = request_id = region = ""
    region = region or headers.get("x-amz-bucket-region", "")
    return Refusal(
        status,
        code,
        message,
        request_id or headers.get("x-amz-request-id", ""),
        region if REGION.fullmatch(region) else "",
        _date(headers.get("Date")),
    )


REGION_CODES = {"AuthorizationHeaderMalformed", "PermanentRedirect", "IllegalLocationConstraintException"}
SKEWED = {"RequestTimeTooSkewed", "RequestExpired"}
FULL = {
    "InsufficientStorage",
    "QuotaExceeded",
    "ServiceQuotaExceededException",
    "StorageFull",
    "XMinioAdminBucketQuotaExceeded",
    "XMinioStorageFull",
}
PASSING = {
    "BadDigest",
    "ConditionalRequestConflict",
    "IncompleteBody",
    "InternalError",
    "OperationAborted",
    "RequestTimeout",
    "ServiceUnavailable",
    "SlowDown",
    "Throttling",
    "TooManyRequests",
    "XAmzContentSHA256Mismatch",
}
WHAT_TO_DO = {
    "AccessDenied": "these credentials may not do this: they need s3:GetObject, s3:PutObject, "
    "s3:DeleteObject, s3:ListBucket, s3:AbortMultipartUpload and s3:ListBucketMultipartUploads",
    "ExpiredToken": "the session token has expired: configure new temporary credentials",
    "InvalidAccessKeyId": "the server does not know the access key: correct access_key_id",
    "InvalidObjectState": "the object is in an archive and has to be restored there before it can be read",
    "InvalidStorageClass": "the server does not know the storage class: correct storage_class",
    "InvalidToken": "the session token is not valid: correct session_token or leave it out",
    "SignatureDoesNotMatch": "the secret key does not belong to the access key: correct secret_access_key",
}


def fault(
    name: str, operation: str, refused: Refusal, options: S3Options, seeks_object: bool
) -> StorageError:
    """The error that a refusal means for the backend `name`. Only an object that is sought can be missing."""
    said = _short(_without_secrets(f"the server said {refused}", options))
    kind, why = _meaning(refused, options, seeks_object)
    return kind(name, operation, f"{_without_secrets(why, options)} ({said})" if why else said)


def _meaning(refused: Refusal, options: S3Options, seeks_object: bool) -> tuple[type[StorageError], str]:
    status, code = refused.status, refused.code
    if code == "NoSuchKey" and seeks_object:
        return ObjectMissing, "there is no such object"
    if code == "NoSuchUpload":
        return NoSuchUpload, "the upload was aborted while it was going on"
    if code == "NoSuchBucket":
        why = f"there is no bucket '{options.bucket_name}': make it, or correct bucket_name"
        return StorageRefused, why
    if code in SKEWED:
        return StorageRefused, _clock(refused)
    if code in REGION_CODES or status in (301, 307, 308):
        return StorageRefused, _region(refused, options)
    if code in FULL or status == 507:
        return StorageFull, "there is no room"
    if code in PASSING or status in (408, 429) or (status >= 500 and status not in (501, 505)):
        return Passing, ""
    if code in WHAT_TO_DO:
        return StorageRefused, WHAT_TO_DO[code]
    if not code:
        return StorageRefused, "this does not look like an answer of S3: is endpoint_url right?"
    return StorageRefused, ""


def _clock(refused: Refusal) -> str:
    if refused.date is None:
        return "the clocks of this machine and the server differ too much: set them by NTP"
    minutes = round((datetime.now(UTC) - refused.date).total_seconds() / 60)
    order = "behind" if minutes < 0 else "ahead of"
    return f"the clock of this machine is {abs(minutes)} minutes {order} the server's: set both by NTP"


def _region(refused: Refusal, options: S3Options) -> str:
    if refused.region and refused.region != options.region:
        return f"the bucket is in the region '{refused.region}', not '{options.region}': correct region"
    return f"the bucket is elsewhere: correct region, now '{options.region}', or endpoint_url"


def broken(name: str, operation: str, error: Exception, options: S3Options) -> StorageError:
    """The error that a failed connection means. Says nothing of what was sent."""
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            why = f"the server's certificate is not trusted ({cause.verify_message}): see ca_bundle"
            return StorageRefused(name, operation, why)
    for cause in causes:
        if isinstance(cause, (TimeoutError, ReadTimeoutError)):
            return TimedOut(name, operation, f"no answer within {options.timeout:g} s")
        if isinstance(cause, ssl.SSLError):
            return Passing(name, operation, f"TLS failed: {cause.reason or 'the connection broke'}")
        if isinstance(cause, socket.gaierror):
            return Passing(name, operation, "the name of its host cannot be resolved")
        if isinstance(cause, OSError) and cause.strerror:
            return Passing(name, operation, cause.strerror[:1].lower() + cause.strerror[1:])
    return Passing(name, operation, "the connection broke")


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error and all that it was made of: requests and urllib3 wrap the system's several times."""
    seen: list[BaseException] = []
    left = [error]
    while left:
        cause = left.pop(0)
        if cause not in seen:
            seen.append(cause)
            yield cause
            inner = [*cause.args, getattr(cause, "reason", None), cause.__cause__, cause.__context__]
            left += [other for other in inner if isinstance(other, BaseException)]


def _without_secrets(text: str, options: S3Options) -> str:
    """One line of what a server said, in which nothing that we sent in secret is left."""
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    for secret in (options.credentials.secret_access_key, options.credentials.session_token):
        if secret:
            line = line.replace(secret, "***")
    return SIGNATURE.sub("***", line)


def _short(line: str) -> str:
    return line if len(line) <= LONGEST_QUOTE else f"{line[:LONGEST_QUOTE]}..."


def _date(text: str | None) -> datetime | None:
    try:
        date = parsedate_to_datetime(text or "")
    except (ValueError, OverflowError):
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)
