"""/v1/content: blobs as raw bytes."""

from __future__ import annotations

from simpledrive.api.specification.answers import answer
from simpledrive.api.specification.blobs import RECORD, STORED_HEADERS
from simpledrive.api.specification.operation import operation
from simpledrive.api.specification.parameters import CONDITIONS, NEW, path_id, query, switch
from simpledrive.api.specification.problems import FETCHING, SIGNED_IN, STORING
from simpledrive.api.specification.references import Json, parameter, schema
from simpledrive.api.specification.subject import Subject
from simpledrive.api.specification.values import PRINTABLE

BYTES: Json = {"description": "Any bytes."}
"""Binary content has no type in JSON Schema: OpenAPI 3.1 leaves it out."""

_DESCRIBED = (
    "ETag",
    "Last-Modified",
    "Accept-Ranges",
    "Repr-Digest",
    "Content-Disposition",
    "Cache-Control",
)

CONTENT = {
    200: answer("All bytes.", BYTES, headers=(*_DESCRIBED, "Content-Length"), media_type="*/*"),
    206: answer(
        "The part that was asked for.",
        BYTES,
        headers=(*_DESCRIBED, "Content-Length", "Content-Range"),
        media_type="*/*",
    ),
    304: answer("The bytes are those that the caller has.", headers=_DESCRIBED),
}
"""The answers that have a blob's bytes."""

READING = [
    parameter(name)
    for name in (
        "Range",
        "If-Range",
        "If-Match",
        "If-None-Match",
        "If-Modified-Since",
        "If-Unmodified-Since",
    )
]
"""What the reading of bytes may be made to depend on."""

READING_PROBLEMS = (
    *SIGNED_IN,
    *FETCHING,
    "blob-not-found",
    "precondition-failed",
    "range-not-satisfiable",
)

PATHS: dict[str, dict[str, Json]] = {
    "/v1/content/{id}": {
        "get": operation(
            "readContent",
            "The bytes, or a part of them.",
            CONTENT,
            (*READING_PROBLEMS, "invalid"),
            description="With the type that they were stored with. Every piece is checked before it is "
            "passed on; an answer of which bytes turn out to be lost is cut, never completed with wrong "
            "ones. No content is run as a page of the drive.",
            parameters=[
                parameter("id"),
                query(
                    "version",
                    "The bytes of this version instead of the current one.",
                    type="integer",
                    minimum=1,
                    maximum=2**31 - 1,
                ),
                switch("download", "`true` makes a browser save the file, whatever it is."),
                *READING,
            ],
        ),
        "put": operation(
            "storeContent",
            "Stores the body as a blob, whatever its size.",
            {
                201: answer(
                    "Stored, and safe.",
                    schema("Record"),
                    headers=STORED_HEADERS,
                    examples={
                        "bytes": RECORD | {"id": NEW, "filename": "pier.jpg", "content_type": "image/jpeg"}
                    },
                ),
                200: answer(
                    "Stored in place of the blob that `If-Match` named, which is an earlier version now.",
                    schema("Record"),
                    headers=STORED_HEADERS,
                ),
            },
            (*SIGNED_IN, *STORING, "unsupported-type", "blob-exists", "precondition-failed"),
            description="Chunked, or with a length. Without a condition an existing blob is 409; with "
            "`If-Match` it is replaced.",
            parameters=[
                path_id(NEW),
                query(
                    "filename",
                    "What the file is called when it is downloaded.",
                    maxLength=1024,
                    pattern=PRINTABLE,
                ),
                query("storage_backend", "The backend that keeps the bytes. Left out: the drive's default."),
                *(parameter(name) for name in CONDITIONS),
            ],
            body={
                "required": True,
                "description": "The bytes themselves. Their `Content-Type` is kept.",
                "content": {
                    "application/octet-stream": {
                        "schema": BYTES,
                        "examples": {"bytes": {"value": "Hello Simple Storage World!"}},
                    }
                },
            },
        ),
    }
}

SUBJECT = Subject("Content", "What users store, as the bytes themselves.", PATHS)
