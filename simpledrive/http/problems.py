"""The one table that turns errors into answers: problem+json (RFC 9457), or a page for a browser.

Views only raise. What is not in the table is a fault of ours: 500, logged with its traceback, shown without.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from flask import Flask, Response, g, json, render_template, request
from flask.globals import request_ctx
from flask_wtf.csrf import CSRFError
from werkzeug.exceptions import HTTPException

from simpledrive import errors
from simpledrive.http.blob_ids import quoted

log = logging.getLogger(__name__)

RETRY_SECONDS = 2


@dataclass(frozen=True)
class Problem:
    """A kind of answer: its status, its stable type, its title."""

    status: int
    type: str
    title: str


TABLE: dict[type[Exception], Problem] = {
    errors.TruncatedBody: Problem(400, "truncated-body", "The body is shorter than announced"),
    errors.Stalled: Problem(408, "request-timeout", "The request stopped coming"),
    errors.DigestMismatch: Problem(400, "digest-mismatch", "The bytes are not the announced ones"),
    errors.BadRequest: Problem(400, "bad-request", "The request cannot be read"),
    errors.Invalid: Problem(422, "invalid", "A field is not acceptable"),
    errors.NotSignedIn: Problem(401, "not-signed-in", "A valid token is needed"),
    errors.Forbidden: Problem(403, "insufficient_scope", "This token may not do that"),
    errors.BlobNotFound: Problem(404, "blob-not-found", "There is no such blob"),
    errors.BlobExists: Problem(409, "blob-exists", "The id is taken"),
    errors.PreconditionFailed: Problem(412, "precondition-failed", "The blob is not the one that was named"),
    errors.RangeNotSatisfiable: Problem(416, "range-not-satisfiable", "The range begins past the end"),
    errors.BackendNotFound: Problem(404, "backend-not-found", "There is no such backend"),
    errors.MigrationNotFound: Problem(404, "migration-not-found", "There is no such migration"),
    errors.WrongState: Problem(409, "migration-state", "The migration is in another state"),
    errors.KeyNotFound: Problem(404, "key-not-found", "There is no such key"),
    errors.KeyExists: Problem(409, "key-exists", "This key was made before"),
    errors.KeyReused: Problem(422, "idempotency-key-reused", "This key was used for another request"),
    errors.QuotaExceeded: Problem(507, "quota-exceeded", "The quota of this key is used up"),
    errors.TooMany: Problem(429, "too-many-requests", "There were too many requests"),
    errors.TooLarge: Problem(413, "too-large", "There are more bytes than this takes"),
    errors.UnsupportedType: Problem(415, "unsupported-type", "The body is of another type than this takes"),
    errors.Busy: Problem(503, "busy", "The drive is busy"),
    errors.DatabaseUnavailable: Problem(503, "database-unavailable", "The database does not answer"),
    errors.DatabaseFull: Problem(507, "database-full", "The database is full"),
    errors.StagingFull: Problem(507, "staging-full", "There is no room to receive the bytes"),
    errors.IntegrityFault: Problem(500, "integrity-fault", "The bytes of this blob are gone or altered"),
    errors.StorageUnavailable: Problem(503, "storage-unavailable", "The backend cannot be reached"),
    errors.StorageFull: Problem(507, "storage-full", "The backend is full"),
    errors.StorageRefused: Problem(502, "storage-refused", "The backend refuses"),
    errors.ObjectMissing: Problem(500, "integrity-fault", "The bytes of this blob are gone or altered"),
    CSRFError: Problem(400, "form-expired", "The form is no longer valid"),
}

BY_STATUS: dict[int, Problem] = {
    400: TABLE[errors.BadRequest],
    404: Problem(404, "not-found", "There is nothing here"),
    405: Problem(405, "method-not-allowed", "This cannot be done here"),
    408: TABLE[errors.Stalled],
    413: TABLE[errors.TooLarge],
    414: Problem(414, "uri-too-long", "The URL is too long"),
    415: TABLE[errors.UnsupportedType],
    417: Problem(417, "expectation-failed", "This cannot be expected here"),
    421: Problem(421, "misdirected-request", "This host is not served here"),
    431: Problem(431, "header-too-large", "The headers are too large"),
    501: Problem(501, "not-implemented", "This is not a part of HTTP that the drive knows"),
    505: Problem(505, "version-not-supported", "This version of HTTP is not spoken here"),
}
"""What the server, Flask and Werkzeug raise. Their own titles differ from one Python to the next."""

FAULT = Problem(500, "internal-error", "The drive made a mistake")
FAULT_DETAIL = "Nothing of this is your doing. The log of the drive knows more under the request's id."


def problem_of(error: Exception) -> Problem:
    """The row of the table for an error: its class's, or the nearest parent's."""
    for kind in type(error).__mro__:
        if kind in TABLE:
            return TABLE[kind]
    if isinstance(error, HTTPException) and error.code is not None:
        return BY_STATUS.get(error.code, Problem(error.code, "http-error", error.name))
    return FAULT


def init_app(app: Flask) -> None:
    """Answers every error from the table: as a page under /drive, as problem+json elsewhere."""
    app.register_error_handler(Exception, answer)


def answer(error: Exception) -> Response:
    """The response to an error."""
    problem = problem_of(error)
    note(error)
    # Without an adapter (a Host that cannot be one) no page can be made, since it has links.
    if request.path.partition("/")[2].split("/")[0] == "drive" and request_ctx.url_adapter is not None:
        response = Response(render_template("ui/error.html", problem=problem, detail=detail(error)))
    else:
        response = Response(json.dumps(_document(error, problem)), mimetype="application/problem+json")
    response.status_code = problem.status
    response.headers.extend(headers(error))
    return response


def note(error: Exception) -> None:
    """Writes into the log what is not the caller's doing, a fault of ours with its traceback."""
    problem = problem_of(error)
    if problem is FAULT:
        log.error("a fault in request %s", g.get("request_id"), exc_info=error)
    elif problem.status >= 500 and not isinstance(error, errors.RequestError):
        log.error("%s in request %s: %s", problem.type, g.get("request_id"), error)


def document(problem: Problem, detail: str, instance: str, request_id: str) -> dict[str, Any]:
    """The members that every problem document has (RFC 9457). Needs no request."""
    return {
        "type": f"/problems/{problem.type}",
        "title": problem.title,
        "status": problem.status,
        "detail": detail,
        "instance": instance,
        "request_id": request_id,
    }


def detail(error: Exception) -> str:
    """What went wrong this time, as a sentence for a caller: no path, no secret, no traceback."""
    problem = problem_of(error)
    if problem is FAULT:
        return FAULT_DETAIL
    if isinstance(error, errors.StorageError):
        return f"The backend {error.backend} could not do it: {error.sentence}"
    if isinstance(error, HTTPException):
        return error.description or problem.title
    return str(error)


def headers(error: Exception) -> dict[str, str]:
    """What the answer to an error says beside its status: when to come again, which methods there are."""
    problem = problem_of(error)
    told: dict[str, str] = {}
    if isinstance(error, HTTPException):
        kept = {"allow", "location", "retry-after"}
        told = {name: value for name, value in error.get_headers() if name.lower() in kept}
    if problem.status == 401:
        told["WWW-Authenticate"] = 'Bearer realm="Simple Drive"'
        if isinstance(error, errors.InvalidToken):
            told["WWW-Authenticate"] += ', error="invalid_token"'
    if problem.type == "insufficient_scope":
        told["WWW-Authenticate"] = 'Bearer realm="Simple Drive", error="insufficient_scope"'
    if problem.status == 503:
        told["Retry-After"] = str(RETRY_SECONDS)
    if isinstance(error, errors.TooMany):
        told["Retry-After"] = str(error.seconds)
    if isinstance(error, errors.RangeNotSatisfiable):
        told["Content-Range"] = f"bytes */{error.size}"
    return told


def _document(error: Exception, problem: Problem) -> dict[str, Any]:
    members = document(problem, detail(error), quoted(request.path), g.get("request_id", ""))
    if isinstance(error, errors.Invalid):
        members["errors"] = [{"field": field, "message": message} for field, message in error.problems]
    return members
