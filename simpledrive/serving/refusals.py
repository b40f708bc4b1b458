"""What gunicorn does not take, as the problem documents that the drive itself answers with.

Nothing of the request is in them: whatever is wrong with it could be anything.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from http import HTTPStatus

from gunicorn.http import errors
from gunicorn.util import http_date

from simpledrive.http.problems import BY_STATUS, FAULT, FAULT_DETAIL, Problem, document
from simpledrive.ids import uuid7

REFUSED: dict[type[Exception], tuple[Problem, str]] = {
    errors.ParseException: (BY_STATUS[400], "The head of the request is not as HTTP has it."),
    errors.InvalidRequestLine: (BY_STATUS[400], "The first line is not of the form METHOD TARGET HTTP/1.1."),
    errors.InvalidRequestMethod: (BY_STATUS[400], "The method is not 3 to 20 capital letters."),
    errors.InvalidHTTPVersion: (BY_STATUS[400], "The first line does not end with a version of HTTP."),
    errors.InvalidHeaderName: (BY_STATUS[400], "A header has a name that cannot be one."),
    errors.InvalidHeader: (
        BY_STATUS[400],
        "A header cannot be read, is there twice, contradicts another one, or (Host) is missing.",
    ),
    errors.ObsoleteFolding: (BY_STATUS[400], "A header goes on in a second line, as HTTP had it long ago."),
    errors.NoMoreData: (BY_STATUS[400], "The request ended in the middle of its head."),
    TimeoutError: (BY_STATUS[408], "The head of the request did not come to its end in time."),
    errors.LimitRequestLine: (BY_STATUS[414], "The first line is longer than any URL of this drive."),
    errors.ExpectationFailed: (BY_STATUS[417], "The only thing that may be expected is 100-continue."),
    errors.LimitRequestHeaders: (BY_STATUS[431], "The headers are too many or too long."),
    errors.UnsupportedTransferCoding: (BY_STATUS[501], "The only known Transfer-Encoding is chunked."),
    errors.InvalidResponseHeader: (FAULT, FAULT_DETAIL),
    errors.InvalidResponseHeaderName: (FAULT, FAULT_DETAIL),
    errors.ConfigurationProblem: (FAULT, FAULT_DETAIL),
}
"""By gunicorn's own classes; a class that is not here takes its nearest parent's row."""

UNKNOWN_VERSION = (BY_STATUS[505], "This server speaks HTTP/1.1 and HTTP/1.0.")


@dataclass(frozen=True)
class Refusal:
    """One refused request."""

    problem: Problem
    detail: str
    request_id: str = field(default_factory=lambda: str(uuid7()))

    @classmethod
    def of(cls, error: Exception) -> Refusal:
        """What an error of gunicorn's means to the client; a fault of ours if it means nothing."""
        if isinstance(error, errors.InvalidHTTPVersion) and isinstance(error.version, tuple):
            return cls(*UNKNOWN_VERSION)  # a version, but another one
        rows = (REFUSED[kind] for kind in type(error).__mro__ if kind in REFUSED)
        return cls(*next(rows, (FAULT, FAULT_DETAIL)))

    @property
    def is_fault(self) -> bool:
        return self.problem is FAULT

    def response(self, *, head_only: bool = False) -> bytes:
        """The whole answer, after which the connection ends."""
        # Its path may be what could not be read, so the occurrence is named by its id alone.
        instance = f"urn:uuid:{self.request_id}"
        body = json.dumps(document(self.problem, self.detail, instance, self.request_id)).encode()
        lines = [
            f"HTTP/1.1 {self.problem.status} {HTTPStatus(self.problem.status).phrase}",
            f"Date: {http_date()}",
            "Connection: close",
            "Content-Type: application/problem+json",
            f"Content-Length: {len(body)}",
            "Cache-Control: no-store",
            "X-Content-Type-Options: nosniff",
            f"X-Request-Id: {self.request_id}",
        ]
        return "\r\n".join([*lines, "", ""]).encode() + (b"" if head_only else body)

    def __str__(self) -> str:
        return f"{self.problem.status} {self.problem.type}, request {self.request_id}"
