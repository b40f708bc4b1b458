"""What each type of problem means and what to do about it: for its page and for the specification.

The table in problems.py says when a type is answered. This module has one text for every type in it, and no
other; a test compares them.
"""

from __future__ import annotations

from dataclasses import dataclass

from simpledrive.http.problems import BY_STATUS, FAULT, TABLE, Problem

OTHER = Problem(0, "http-error", "HTTP does not allow this")
"""What has no row of its own: any status that the server's libraries raise themselves."""

KINDS: dict[str, Problem] = {
    problem.type: problem for problem in (*TABLE.values(), *BY_STATUS.values(), FAULT, OTHER)
}
"""Every type that an answer may have."""


@dataclass(frozen=True)
class Text:
    """What has happened, and what the reader can do, each in a few sentences."""

    meaning: str
    remedy: str


_STORED_NOTHING = "Nothing was stored."

TEXTS: dict[str, Text] = {
    "bad-request": Text(
        "The request is not what it claims to be: a body that is not JSON, base64 with a wrong character or "
        "padding, a URL with bytes that are not UTF-8, a header that cannot be read. " + _STORED_NOTHING,
        "The detail names what could not be read, and where. The same request will fail again: change it.",
    ),
    "truncated-body": Text(
        "The body ended before the length that its headers announced, or broke off in the middle. "
        + _STORED_NOTHING,
        "Send the whole request again. If it happens each time, something between you and the drive cuts "
        "long requests: look at the limits of the proxy.",
    ),
    "request-timeout": Text(
        "The head or the body of the request stopped coming, or came so slowly that in BODY_TIMEOUT seconds "
        "it was next to nothing. " + _STORED_NOTHING,
        "Send the whole request again. On a line that stalls, send smaller bodies.",
    ),
    "digest-mismatch": Text(
        "The bytes that arrived are not the ones that the request announced, by Repr-Digest, Content-Digest, "
        "Content-MD5 or the path. " + _STORED_NOTHING,
        "Compute the digest of the file again and send it once more. If the digests still differ, the file "
        "changes while it is read, or something on the way alters it.",
    ),
    "invalid": Text(
        "The request can be read, but a field of it is missing, of the wrong type, or has a value that the "
        "drive does not take. Nothing was done.",
        "`errors` names each field and what is wrong with it. Change those and send the request again.",
    ),
    "not-signed-in": Text(
        "The request has no token, or one that is wrong, revoked or expired. Nothing of its body was read.",
        "Send `Authorization: Bearer TOKEN`, or the same key in `X-API-Key`. Whoever runs the drive makes "
        "new keys with `flask drive keys create`.",
    ),
    "insufficient_scope": Text(
        "The token is valid but may not do this: it lacks the scope, or the id lies outside the prefix that "
        "it is confined to. The answer is the same whether the blob exists or not.",
        "Use a key with that scope, or ask the one who made yours for another. Sending the same request "
        "again does not help.",
    ),
    "blob-not-found": Text(
        "No blob has this id, as far as this key may know: it was never stored, or it was deleted.",
        "Compare the id byte for byte: capitals, slashes and accents count. A deleted blob is in the trash "
        "for a while, and making one of its versions current brings it back.",
    ),
    "blob-exists": Text(
        "A blob with this id is there already, and nothing was changed.",
        "Choose another id. To replace the blob, send PUT /v1/content/{id} with `If-Match` and its ETag.",
    ),
    "precondition-failed": Text(
        "The blob is not the one that the request named by its ETag or date: somebody changed it in "
        "between, or it is not there. Nothing was changed.",
        "Fetch the blob, look at what changed, and send the request again with its new ETag.",
    ),
    "range-not-satisfiable": Text(
        "The range begins past the end of the blob.",
        "`Content-Range` says how many bytes the blob has. Ask for a range that begins before that.",
    ),
    "backend-not-found": Text(
        "No backend of this name is configured.",
        "The detail names those that are, and GET /v1/backends lists them. One that is configured no more "
        "cannot be looked at, even while bytes are recorded there.",
    ),
    "migration-not-found": Text(
        "No migration has this id.",
        "GET /v1/migrations and `flask drive migrations` list those that there were.",
    ),
    "migration-state": Text(
        "This cannot be done to the migration as it is now: one that has ended cannot be paused, for "
        "instance, and what was given up cannot be rolled back. Nothing was changed.",
        "The detail names the state that it is in. Look at the migration before you ask for something else.",
    ),
    "key-not-found": Text(
        "No API key has this id, or it may do more than the key that asks.",
        "List the keys to see their ids. A key is managed only by one that may do at least as much.",
    ),
    "idempotency-key-reused": Text(
        "This Idempotency-Key was sent before, with another body or to another route. Nothing was done.",
        "Make a new Idempotency-Key for each request, and send it again only with the very same request.",
    ),
    "key-exists": Text(
        "The form that asks for a new key was sent a second time, by reloading its answer for example. One "
        "key was made, the first time, and no other.",
        "A key is shown once. If it was not copied then, revoke it and make another.",
    ),
    "quota-exceeded": Text(
        "What this key has stored, and this request, together are more than its quota. " + _STORED_NOTHING,
        "Delete for good what is not needed (the trash and earlier versions count too), or ask for a larger "
        "quota.",
    ),
    "too-many-requests": Text(
        "There were more requests from this key or this address than the limits allow.",
        "Wait for the seconds in `Retry-After`, then go on more slowly. `RateLimit` says what is left.",
    ),
    "too-large": Text(
        "The body has more bytes than this route, this key or this drive takes. " + _STORED_NOTHING,
        "The detail names the limit. Large files go to PUT /v1/content/{id}, which takes any size unless "
        "MAX_BLOB_BYTES or the key limits it.",
    ),
    "unsupported-type": Text(
        "The body is of a type or coding that this route does not take. " + _STORED_NOTHING,
        "Send JSON with `Content-Type: application/json`, files as multipart/form-data, and bytes as they "
        "are, without Content-Encoding.",
    ),
    "busy": Text(
        "The drive has no memory or no lock to spare at this moment. Nothing is wrong and nothing was "
        "changed.",
        "Send the request again after the seconds in `Retry-After`.",
    ),
    "database-unavailable": Text(
        "The database that keeps the records does not answer.",
        "Send the request again after the seconds in `Retry-After`. Whoever runs the drive finds the reason "
        "in its log, and in /readyz?verbose.",
    ),
    "database-full": Text(
        "The database, or the disk under it, is full. Reading goes on; " + _STORED_NOTHING.lower(),
        "Whoever runs the drive has to make room on that disk. Nothing needs to be repaired afterwards.",
    ),
    "staging-full": Text(
        "There is no room on the disk where bytes wait until they are checked. " + _STORED_NOTHING,
        "Send a smaller file or try again later. Whoever runs the drive has to make room at STAGING_PATH.",
    ),
    "integrity-fault": Text(
        "The record is there, but its bytes are gone or altered on every backend that should hold them. The "
        "drive does not hand out wrong bytes.",
        "Tell whoever runs the drive, with the request id: the log names the replicas. If you have the "
        "file, store it again under the same id with `If-Match`.",
    ),
    "storage-unavailable": Text(
        "The backend that should store or hand out these bytes cannot be reached, and no other has them.",
        "Send the request again after the seconds in `Retry-After`, or name another `storage_backend`.",
    ),
    "storage-full": Text(
        "The backend has no room left. " + _STORED_NOTHING,
        "Name another `storage_backend`, or have room made at this one.",
    ),
    "storage-refused": Text(
        "The backend answers but refuses: its credentials, permissions or settings are wrong. "
        + _STORED_NOTHING,
        "Somebody must act at the backend; trying again does not help. The detail names backend and reason.",
    ),
    "form-expired": Text(
        "The form, or the request of a browser's session, lacks a valid CSRF token. Nothing was done.",
        "Load the page again and send the form once more. A program had better send a bearer token.",
    ),
    "not-found": Text(
        "Nothing of this drive has this address.",
        "Compare the URL with the routes in the specification. A blob is at /v1/blobs/{id}.",
    ),
    "method-not-allowed": Text(
        "The address exists, but this cannot be done to it.",
        "`Allow` lists the methods that are possible here.",
    ),
    "uri-too-long": Text(
        "The URL is longer than that of any blob, with any query, can be. The drive was not asked.",
        "An id has at most 1,024 characters. What is longer belongs into the body.",
    ),
    "expectation-failed": Text(
        "The header `Expect` asks for something that is not done here.",
        "Send `Expect: 100-continue`, or no such header.",
    ),
    "misdirected-request": Text(
        "The request names a host that is not served here.",
        "Use the address under which the drive is known. A proxy has to pass on the host it was asked for.",
    ),
    "header-too-large": Text(
        "The headers are too many, or one of them or all together are too long. The drive was not asked.",
        "Send fewer and shorter headers; cookies and tokens of other services are the usual reason.",
    ),
    "not-implemented": Text(
        "The request uses a transfer coding or another part of HTTP that the server does not know.",
        "Send the body with a Content-Length, or chunked.",
    ),
    "version-not-supported": Text(
        "The request is in a version of HTTP that is not spoken here.",
        "Send it as HTTP/1.1. Newer versions are spoken by a proxy in front of the drive.",
    ),
    "internal-error": Text(
        "The drive made a mistake. Nothing of this is the doing of the one who asked.",
        "Tell whoever runs the drive, with the request id: the log has the whole story under it.",
    ),
    "http-error": Text(
        "The request breaks a rule of HTTP that has no type of its own here; the status says which.",
        "The title and the detail of the answer say what is wrong. The same request will fail again: change "
        "it.",
    ),
}
