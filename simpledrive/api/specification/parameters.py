"""Parameters that several operations share."""

from __future__ import annotations

from simpledrive.api.queries import DEFAULT_PAGE, MAX_PAGE
from simpledrive.api.specification.references import Json, schema

STORED = "notes/hello.txt"
"""The id in examples of what is there."""

NEW = "photos/pier.jpg"
"""The id in examples of what is to be stored."""


def path_id(example: str = STORED) -> Json:
    """The id of a blob at the end of a path."""
    return {
        "name": "id",
        "in": "path",
        "required": True,
        "description": "The blob's id. Its slashes may stand as they are (`/v1/blobs/a/b//c.txt`) or as "
        "`%2F`; all else is percent-encoded UTF-8. OpenAPI cannot say this of a path parameter: programs "
        "made from this specification send `%2F`, which means the same.",
        "schema": schema("BlobId"),
        "example": example,
    }


def query(name: str, description: str, example: object = None, **of_schema: object) -> Json:
    """A parameter in the query that may be left out. Empty, as a form would send it, is the same."""
    described: Json = {
        "name": name,
        "in": "query",
        "description": description,
        "allowEmptyValue": True,
        "schema": {"type": "string"} | of_schema,
    }
    return described if example is None else described | {"example": example}


def switch(name: str, description: str) -> Json:
    """A yes or no in the query."""
    return query(name, description, enum=["true", "false", "1", "0", "yes", "no"])


def header(name: str, description: str, **of_schema: object) -> Json:
    """A header that may be left out."""
    return {
        "name": name,
        "in": "header",
        "description": description,
        "schema": {"type": "string"} | of_schema,
    }


_ONE_DIGEST = "[a-z*][a-z0-9_.*-]*=:[A-Za-z0-9+/]*={0,2}: *(;[^,]*)?"
_DIGESTS = f"^({_ONE_DIGEST}(, *{_ONE_DIGEST})*)?$"
"""An empty header announces nothing, as if it were not there."""

PARAMETERS: dict[str, Json] = {
    "id": path_id(),
    "key_id": {
        "name": "key_id",
        "in": "path",
        "required": True,
        "description": "The key's id; never the key.",
        "schema": {"type": "string", "minLength": 1},
        "example": "0199f3a2-6c1e-7d3b-9a55-2f8e6b0c4d71",
    },
    "migration_id": {
        "name": "migration_id",
        "in": "path",
        "required": True,
        "description": "The migration's id.",
        "schema": {"type": "string", "minLength": 1},
        "example": "0199f3a2-6c1e-7d3b-9a55-2f8e6b0c4d71",
    },
    "limit": query(
        "limit",
        "The most items on a page.",
        DEFAULT_PAGE,
        type="integer",
        minimum=1,
        maximum=MAX_PAGE,
        default=DEFAULT_PAGE,
    ),
    "cursor": query("cursor", "Where the page begins: `next_cursor` of the page before, as it was given."),
    "prefix": query("prefix", "Only ids that begin with this.", "notes/"),
    "If-Match": header(
        "If-Match",
        "Do this only if the blob still has one of these ETags, of its bytes or of its record; else 412.",
    ),
    "If-None-Match": header(
        "If-None-Match",
        "Do this only if the blob has none of these ETags. A GET is then answered 304, all else 412. `*` "
        "stands for any: only if there is no such blob.",
    ),
    "If-Modified-Since": header(
        "If-Modified-Since", "304 if the bytes are no newer. Passed over beside If-None-Match."
    ),
    "If-Unmodified-Since": header(
        "If-Unmodified-Since", "412 if the blob is newer. Passed over beside If-Match."
    ),
    "If-Range": header(
        "If-Range",
        "Only if this is the strong ETag that the blob still has, Range counts; else the whole is answered. "
        "So it is for any date: dates have whole seconds, and a blob may change twice within one.",
    ),
    "Range": header(
        "Range",
        "One part: `bytes=0-99`, `bytes=100-`, or the last bytes, `bytes=-100`. Several parts, other units "
        "and what cannot be read are answered by the whole.",
    ),
    "Repr-Digest": header(
        "Repr-Digest",
        "Digests of the body as it is sent (RFC 9530), be it a document, a form or a blob's bytes: sha-256, "
        "sha-512, sha or md5. What arrives is compared; other algorithms are passed over.",
        pattern=_DIGESTS,
    ),
    "Content-Digest": header(
        "Content-Digest", "As Repr-Digest: bodies are never encoded here.", pattern=_DIGESTS
    ),
    "Content-MD5": header(
        "Content-MD5", "The MD5 of the body, in base64 (RFC 1864).", pattern="^([A-Za-z0-9+/]{21}[AQgw]==)?$"
    ),
    "Idempotency-Key": header(
        "Idempotency-Key",
        "A name of your own for this request. The same request with the same name is not done twice: it "
        "gets the first answer again. Another request with that name is 422.",
        minLength=1,
        maxLength=255,
        pattern="^[ -~]*[!-~][ -~]*$",
    ),
}

CONDITIONS = ("If-Match", "If-None-Match", "If-Unmodified-Since")
"""What a change may be made to depend on."""

ANNOUNCED = ("Repr-Digest", "Content-Digest", "Content-MD5")
"""What every request with a body may say of it."""
