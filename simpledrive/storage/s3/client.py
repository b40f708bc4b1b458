"""One signed request to a bucket, and what comes of it.

The only place that repeats and makes storage errors. A request goes to the connections of an adapter of
`requests` without its Session: so there are no cookies, no netrc, no redirects and no proxies from the
environment, and nothing folds or encodes the URL again between the signature and the wire.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from itertools import count
from typing import TypeVar

from urllib3.exceptions import HTTPError

from simpledrive.errors import StorageError, StorageRefused
from simpledrive.storage import sigv4
from simpledrive.storage.repeating import persistently
from simpledrive.storage.s3 import answers, faults
from simpledrive.storage.s3.answers import Answer, Unreadable
from simpledrive.storage.s3.content import Content, Sending
from simpledrive.storage.s3.faults import Garbled, Passing
from simpledrive.storage.s3.options import S3Options, bucket_of
from simpledrive.storage.s3.transport import Response, Timeout, Transport

log = logging.getLogger(__name__)

PAUSES = (0.2, 0.4, 0.8, 1.6)
"""Seconds before each repetition, at most."""
AFTER_GARBLED = 2
"""Attempts that may come to an answer which cannot be read: another one seldom can."""
LONGEST_ANSWER, LONGEST_LIST = 64 << 10, 4 << 20
"""A thousand names of 1024 characters, each encoded as three, and what servers say of each."""

T = TypeVar("T")


@dataclass(frozen=True)
class Request:
    """What is asked: of an object, or of the bucket when `key` is None (a key has its prefix already).

    `fine` are statuses beside 2xx that are an answer and no refusal; `patience` is how many seconds the
    server may need for its answer, beside the timeout; `longest` is how many bytes that may have.
    """

    operation: str
    method: str
    key: str | None = None
    query: Sequence[tuple[str, str]] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    content: Content | None = None
    fine: frozenset[int] = frozenset()
    patience: float = 0
    longest: int = LONGEST_ANSWER

    @property
    def seeks_object(self) -> bool:
        """Whether it is about an object that is there: then it may be missing."""
        return self.key is not None and not self.query and self.method != "PUT"


class Client:
    """Requests to the bucket of one backend, from several threads. Connections are made when needed."""

    def __init__(self, name: str, options: S3Options) -> None:
        self._name, self._options = name, options
        self._bucket = bucket_of(options)
        self._credentials, self._scope = options.credentials, sigv4.Scope(options.region)
        self._transport = Transport(self._bucket.origin, options.ca_bundle)

    def ask(self, request: Request, read: Callable[[Answer], T]) -> T:
        """What `read` makes of the answer, which is a success. Raises the StorageError that any other means.

        Without a length, an answer that breaks off looks like a whole one: so one that `read` calls
        Unreadable is asked for once more.
        """
        return self._persistently(partial(self._whole, request, read))

    def stream(self, request: Request, begin: Callable[[Response], T]) -> T:
        """What `begin` makes of an answer whose body is still to come; that is read inside of `errors`."""
        return self._persistently(partial(self._begun, request, begin))

    def size(self, operation: str, key: str) -> int:
        """Bytes of an object. Raises ObjectMissing."""
        return self.ask(Request(operation, "HEAD", key), lambda answer: answers.length(answer.headers))

    def holds(self, operation: str, key: str) -> bool:
        """Whether an object is there. A bucket that is not there holds none."""
        request = Request(operation, "HEAD", key, fine=frozenset({404}))
        return self.ask(request, lambda answer: answer.status != 404)

    def close(self) -> None:
        self._transport.close()

    @contextmanager
    def errors(self, operation: str) -> Iterator[None]:
        """Makes storage errors of what the HTTP client and the system raise."""
        try:
            yield
        except (HTTPError, OSError, ValueError, OverflowError) as error:
            raise faults.broken(self._name, operation, error, self._options) from error

    def _persistently(self, attempt: Callable[[], T]) -> T:
        """Repeats what failed and may well work.

        Each request of ours may be repeated: an object is stored under a key that only this put knows, so a
        repetition after a lost reply stores the same once more. Of an upload in parts that is begun twice,
        `clean` finds the one that nobody knows. A timeout is not repeated: the caller has waited enough.
        """
        number, garbled = count(1), count(1)

        def passes(error: Exception) -> bool:
            # One of another backend is what the source raised, and passes through.
            if not isinstance(error, Passing) or error.backend != self._name:
                return False
            if isinstance(error, Garbled) and next(garbled) == AFTER_GARBLED:
                return False
            log.warning("attempt %d of %d: %s", next(number), 1 + len(PAUSES), error)
            return True

        return persistently(attempt, passes, PAUSES)

    def _begun(self, request: Request, begin: Callable[[Response], T]) -> T:
        response = self._send(request)
        try:
            response.take_time()
            return begin(response)
        except Unreadable as error:
            response.close()
            raise Garbled(self._name, request.operation, str(error)) from error
        except BaseException:
            response.close()
            raise

    def _whole(self, request: Request, read: Callable[[Answer], T]) -> T:
        response = self._send(request)
        body = self._body(request.operation, response, request.longest)
        if response.status not in request.fine and answers.is_error(body):
            # A server that takes its time may say 200 first, and then what went wrong.
            raise self._refused(request, 500, response.headers, body)
        try:
            return read(Answer(response.status, response.headers, body))
        except Unreadable as error:
            raise Garbled(self._name, request.operation, str(error)) from error

    def _send(self, request: Request) -> Response:
        """One attempt; returns if the answer is a success or fine."""
        response = self._exchange(request)
        if _is_fine(request, response):
            return response
        if request.method == "HEAD" and response.status < 500:
            # Its refusals have no body: what is wrong, the bucket or the object, is asked once more.
            response.close()
            fine = request.fine | {416}
            request = replace(request, method="GET", headers={"Range": "bytes=0-0"}, fine=fine)
            status, response = response.status, self._exchange(request)
            if _is_fine(request, response):
                response.close()
                why = f"HEAD was answered by {status}, GET by {response.status}"
                raise Passing(self._name, request.operation, why)
        body = self._body(request.operation, response, LONGEST_ANSWER)
        raise self._refused(request, response.status, response.headers, body)

    def _exchange(self, request: Request) -> Response:
        """Sends a request and returns what came back, whatever it is."""
        sending = Sending(request.content) if request.content is not None else None
        try:
            body = sending.body() if sending is not None else None
            target, headers = self._signed(request)
            seconds = self._options.timeout
            timeout = Timeout(connect=seconds, read=seconds + request.patience)
            with self.errors(request.operation):
                response = self._transport.send(request.method, target, headers, body, timeout)
        except StorageError:
            if sending is not None and sending.error is not None:
                raise sending.error from None
            raise
        finally:
            if sending is not None:
                sending.close()
        if sending is not None and not sending.complete and response.status < 300:
            response.close()
            raise Passing(self._name, request.operation, "the server answered before it had all bytes")
        return response

    def _signed(self, request: Request) -> tuple[str, dict[str, str]]:
        """What is asked for, as it stands in the first line, and the headers."""
        path, query = self._bucket.path(request.key), sigv4.canonical_query(request.query)
        content = request.content
        headers = sigv4.authorize(
            request.method,
            path,
            query,
            {"Host": self._bucket.host, **request.headers},
            sigv4.EMPTY_SHA256 if content is None else content.sha256,
            self._credentials,
            self._scope,
            datetime.now(UTC),
        )
        # Not signed, because what stands between may change them.
        headers |= {"Accept-Encoding": "identity", "User-Agent": "simpledrive"}
        if request.method in ("PUT", "POST"):
            headers["Content-Length"] = "0" if content is None else str(content.size)
        return f"{path}?{query}" if query else path, headers

    def _body(self, operation: str, response: Response, limit: int) -> bytes:
        try:
            with self.errors(operation):
                body: bytes = response.read(limit + 1)
        finally:
            response.close()
        if len(body) > limit:
            raise StorageRefused(self._name, operation, f"the answer is longer than {limit} bytes")
        return body

    def _refused(
        self, request: Request, status: int, headers: Mapping[str, str], body: bytes
    ) -> StorageError:
        refused = faults.refusal(status, headers, body)
        return faults.fault(self._name, request.operation, refused, self._options, request.seeks_object)


def _is_fine(request: Request, response: Response) -> bool:
    return 200 <= response.status < 300 or response.status in request.fine
