"""The strict S3 server lets a right request through, and none that is wrong in one way."""

import hashlib
import http.client
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from simpledrive.storage import sigv4
from tests.strict_s3 import StrictS3

BODY = b"some bytes"
DIGEST = hashlib.sha256(BODY).hexdigest()


@dataclass
class Sent:
    """A request, signed as its fields say. What `answer` changes is changed behind the signature."""

    server: StrictS3
    method: str = "PUT"
    path: str = "/drive/key"
    query: str = ""
    payload: str = DIGEST
    extra: dict[str, str] = field(default_factory=dict)
    time: datetime = field(default_factory=lambda: datetime.now(UTC))
    secret: str = "strict-secret-key"
    region: str = "eu-test-1"
    access_key: str = "strictaccess"
    body: bytes = BODY

    def headers(self) -> dict[str, str]:
        return sigv4.authorize(
            self.method,
            self.path,
            self.query,
            {"Host": f"127.0.0.1:{self.server.port}", **self.extra},
            self.payload,
            sigv4.Credentials(self.access_key, self.secret),
            sigv4.Scope(self.region),
            self.time,
        )

    def answer(self, path: str | None = None, **changes: str | None) -> tuple[int, str]:
        """Status and code. `path` and `changes` of headers (None: left out) come after the signature."""
        changes = {name.replace("_", "-"): value for name, value in changes.items()}
        headers = self.headers() | {"Content-Length": str(len(self.body))} | changes
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=10)
        connection.putrequest(
            self.method,
            path or self.path + (f"?{self.query}" if self.query else ""),
            skip_host=True,
            skip_accept_encoding=True,
        )
        for name, value in headers.items():
            if value is not None:
                connection.putheader(name, value)
        connection.endheaders(self.body)
        response = connection.getresponse()
        found = re.search(r"<Code>(\w+)</Code>", response.read().decode())
        connection.close()
        return response.status, found[1] if found else ""


@pytest.fixture
def sent(strict_s3: StrictS3) -> Iterator[Callable[..., Sent]]:
    yield lambda **fields: Sent(strict_s3, **fields)
    assert strict_s3.objects == {}


def test_a_right_request_is_served(strict_s3: StrictS3) -> None:
    assert Sent(strict_s3).answer() == (200, "")
    assert strict_s3.objects["key"].file.read_bytes() == BODY
    url = Sent(strict_s3, method="GET", body=b"", payload=sigv4.EMPTY_SHA256)
    assert url.answer() == (200, "")


@pytest.mark.parametrize(
    ("fields", "answer"),
    [
        ({"secret": "another"}, (403, "SignatureDoesNotMatch")),
        ({"access_key": "another"}, (403, "InvalidAccessKeyId")),
        ({"region": "another"}, (400, "AuthorizationHeaderMalformed")),
        ({"payload": hashlib.sha256(b"other").hexdigest()}, (400, "XAmzContentSHA256Mismatch")),
        ({"payload": sigv4.UNSIGNED}, (400, "InvalidArgument")),
        ({"time": datetime.now(UTC) - timedelta(minutes=16)}, (403, "RequestTimeTooSkewed")),
        ({"time": datetime.now(UTC) + timedelta(hours=2)}, (403, "RequestTimeTooSkewed")),
        ({"path": "/another/key"}, (404, "NoSuchBucket")),
        ({"path": "/drive/a%2fb"}, (400, "InvalidURI")),
        ({"path": "/drive/~b%7E"}, (400, "InvalidURI")),
        ({"extra": {"If-None-Match": "*"}}, (501, "NotImplemented")),
        ({"query": "partNumber=1"}, (400, "InvalidArgument")),
        ({"query": "b=1&a=1"}, (403, "SignatureDoesNotMatch")),
    ],
)
def test_a_wrong_request_is_refused(
    sent: Callable[..., Sent], fields: dict[str, object], answer: tuple[int, str]
) -> None:
    assert sent(**fields).answer() == answer


@pytest.mark.parametrize(
    ("changes", "answer"),
    [
        ({"Authorization": None}, (403, "AccessDenied")),
        ({"Authorization": "Bearer x"}, (400, "AuthorizationHeaderMalformed")),
        ({"x-amz-content-sha256": None}, (403, "AccessDenied")),
        ({"x-amz-date": None}, (403, "AccessDenied")),
        ({"Host": "elsewhere"}, (403, "SignatureDoesNotMatch")),
        ({"x-amz-storage-class": "STANDARD"}, (403, "AccessDenied")),
        ({"Range": "bytes=0-1"}, (403, "AccessDenied")),
        ({"Content-Length": None}, (411, "MissingContentLength")),
        ({"Content-Length": None, "Transfer-Encoding": "chunked"}, (411, "MissingContentLength")),
    ],
)
def test_what_is_changed_after_it_was_signed_is_refused(
    sent: Callable[..., Sent], changes: dict[str, str | None], answer: tuple[int, str]
) -> None:
    assert sent().answer(**changes) == answer


@pytest.mark.parametrize(
    ("signed", "path"),
    [("/drive/a/../key", "/drive/key"), ("/drive/a/./key", "/drive/a/key"), ("/drive/a//b", "/drive/a/b")],
)
def test_a_path_that_is_folded_after_it_was_signed_is_refused(
    sent: Callable[..., Sent], signed: str, path: str
) -> None:
    assert sent(path=signed).answer(path=path) == (403, "SignatureDoesNotMatch")
