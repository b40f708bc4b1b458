"""/v1/blobs: blobs as JSON."""

from __future__ import annotations

from simpledrive.api.documents import ChangeDocument, NewBlobDocument
from simpledrive.api.specification.answers import answer
from simpledrive.api.specification.operation import json_body, operation
from simpledrive.api.specification.parameters import CONDITIONS, NEW, STORED, query, switch
from simpledrive.api.specification.problems import CHANGING, FETCHING, SIGNED_IN, STORING
from simpledrive.api.specification.references import Json, parameter, schema
from simpledrive.api.specification.shapes import schema_of
from simpledrive.api.specification.subject import Subject

DIGEST = "7fc79eaaf401347c1d951de2e124d415bdac232d5645b5a8e783e3791bae419a"
HELLO = "SGVsbG8gU2ltcGxlIFN0b3JhZ2UgV29ybGQh"

SCHEMAS: dict[str, Json] = {
    "Record": {
        "description": "What the drive knows of a blob.",
        "type": "object",
        "required": [
            "id",
            "size",
            "created_at",
            "sha256",
            "filename",
            "content_type",
            "storage_backend",
            "metadata",
        ],
        "properties": {
            "id": schema("BlobId"),
            "size": {"type": "integer", "minimum": 0, "description": "Bytes."},
            "created_at": schema("Moment"),
            "sha256": schema("Digest"),
            "filename": schema("FileName"),
            "content_type": {"type": "string"},
            "storage_backend": {"type": "string", "description": "The backend where the bytes are at home."},
            "metadata": schema("Metadata"),
        },
    },
    "RecordWithData": {
        "description": "A record and its bytes, unless they were to be left out.",
        "allOf": [schema("Record")],
        "type": "object",
        "properties": {"data": schema("Base64")},
    },
    "Page": {
        "type": "object",
        "required": ["items", "prefixes", "next_cursor"],
        "additionalProperties": False,
        "properties": {
            "items": {
                "type": "array",
                "items": schema("Record"),
                "description": "In the order of their ids.",
            },
            "prefixes": {
                "type": "array",
                "items": {"type": "string"},
                "description": "With a delimiter: what ids on this page begin with, up to it, once each.",
            },
            "next_cursor": {
                "type": ["string", "null"],
                "description": "The next page's `cursor`; null on the last.",
            },
        },
    },
}

MEMBERS: dict[str, Json] = {
    "filename": schema("FileName"),
    "content_type": schema("MediaType"),
    "storage_backend": {
        "type": "string",
        "description": "The backend that keeps the bytes. Left out: the drive's default.",
    },
    "metadata": schema("Metadata"),
}
"""What may be said of a blob, beyond what pydantic's schema can say."""

SCHEMAS["NewBlob"] = schema_of(
    NewBlobDocument,
    "The bytes as `data`; or `sha256` and `size` of bytes that the caller may read already. With both, the "
    "bytes must be those.",
    **MEMBERS,
    id=schema("BlobId"),
    data=schema("Base64"),
) | {"anyOf": [{"required": ["data"]}, {"required": ["sha256", "size"]}]}
SCHEMAS["Change"] = schema_of(
    ChangeDocument,
    "What is to be different. A new `storage_backend` moves the bytes, and they are read back before the "
    "old ones are let go. `version` stands alone: it makes that version current again, as a new one.",
    **MEMBERS,
) | {
    "minProperties": 1,
    "if": {"required": ["version"]},
    "then": {"maxProperties": 1},
}
SCHEMAS["UploadRequired"] = {
    "description": "The drive needs the bytes: send them there with PUT.",
    "type": "object",
    "required": ["upload_required", "upload_url"],
    "additionalProperties": False,
    "properties": {
        "upload_required": {"const": True},
        "upload_url": {"type": "string", "format": "uri-reference", "examples": [f"/v1/content/{NEW}"]},
    },
}

RECORD = {
    "id": STORED,
    "size": 27,
    "created_at": "2026-01-22T21:37:55Z",
    "sha256": DIGEST,
    "filename": "hello.txt",
    "content_type": "text/plain",
    "storage_backend": "local",
    "metadata": {},
}

FILTERS = (
    query(
        "delimiter", "`/` lists one level of folders: what lies deeper is named in `prefixes`.", enum=["/"]
    ),
    query("q", "Only blobs whose id or file name contains this, in capitals or not."),
    query("storage_backend", "Only blobs at home there."),
    query("content_type", "Only this media type, or with a slash at its end this half of one: `image/`."),
    query("sha256", "Only blobs of these bytes."),
    query("min_size", "Only blobs of at least so many bytes.", type="integer", minimum=0, maximum=10**18 - 1),
    query("max_size", "Only blobs of at most so many bytes.", type="integer", minimum=0, maximum=10**18 - 1),
    query("created_after", "Only blobs stored later than this.", format="date-time"),
    query("created_before", "Only blobs stored earlier than this.", format="date-time"),
)

STORED_HEADERS = ("Location", "ETag", "Cache-Control")

PATHS: dict[str, dict[str, Json]] = {
    "/v1/blobs": {
        "post": operation(
            "storeBlob",
            "Stores a new blob: from base64, or from the digest of bytes that are there.",
            {
                201: answer(
                    "Stored, and safe.",
                    schema("Record"),
                    headers=STORED_HEADERS,
                    examples={"text": RECORD | {"id": NEW, "metadata": {"place": "Brighton"}}},
                ),
                202: answer(
                    "Nothing is stored yet: this caller may read no blob of these bytes.",
                    schema("UploadRequired"),
                    headers=("Cache-Control",),
                    examples={
                        "announced": {"upload_required": True, "upload_url": f"/v1/content/{NEW}"},
                    },
                ),
            },
            (*SIGNED_IN, *STORING, "unsupported-type", "blob-exists", "idempotency-key-reused"),
            description="The body has at most JSON_MAX_BYTES, and beside its data 64 KiB; `PUT "
            "/v1/content/{id}` takes more. Without an id the drive makes one, a UUID of version 7. The path "
            "may end in a slash.",
            parameters=[parameter("Idempotency-Key")],
            body=json_body(
                "NewBlob",
                text={
                    "id": NEW,
                    "data": HELLO,
                    "content_type": "text/plain",
                    "metadata": {"place": "Brighton"},
                },
                announced={"id": NEW, "sha256": "0" * 64, "size": 4096},
            ),
        ),
        "get": operation(
            "listBlobs",
            "Records, page by page, in the order of their ids.",
            {200: answer("A page.", schema("Page"), headers=("Link", "Cache-Control"))},
            (*SIGNED_IN, "invalid"),
            description="Pages stay right while blobs come and go: none is named twice, and none is left "
            "out that was there all the time. The path may end in a slash.",
            parameters=[*(parameter(name) for name in ("prefix", "limit", "cursor")), *FILTERS],
        ),
    },
    "/v1/blobs/{id}": {
        "get": operation(
            "getBlob",
            "A blob's record, with its bytes in base64.",
            {
                200: answer(
                    "The record.",
                    schema("RecordWithData"),
                    headers=("ETag", "Cache-Control"),
                    examples={"record": RECORD | {"data": HELLO}},
                ),
                304: answer("The record still has that ETag.", headers=("ETag", "Cache-Control")),
            },
            (*SIGNED_IN, *FETCHING, "invalid", "blob-not-found", "precondition-failed"),
            description="Streamed, whatever its size. A record has no date of its own: only ETags are "
            "compared.",
            parameters=[
                parameter("id"),
                switch("data", "`false` leaves the bytes out."),
                parameter("If-Match"),
                parameter("If-None-Match"),
            ],
        ),
        "patch": operation(
            "changeBlob",
            "Changes what is said of a blob, moves it, or makes a version current again.",
            {200: answer("The record as it is now.", schema("Record"), headers=("ETag", "Cache-Control"))},
            (*SIGNED_IN, *STORING, *FETCHING, "unsupported-type", "blob-not-found", "precondition-failed"),
            description="What the body leaves out stays as it is. All that it says happens, or nothing.",
            parameters=[parameter(name) for name in ("id", *CONDITIONS)],
            body=json_body(
                "Change",
                media_types=("application/json", "application/merge-patch+json"),
                renamed={"filename": "greeting.txt"},
                moved={"storage_backend": "database"},
            ),
        ),
        "delete": operation(
            "deleteBlob",
            "Puts a blob into the trash, or away for good.",
            {204: answer("Deleted. From the trash it can be brought back for HISTORY_DAYS.")},
            (*SIGNED_IN, *CHANGING, "invalid", "blob-not-found", "precondition-failed"),
            parameters=[
                parameter("id"),
                switch(
                    "permanent", "`true` forgets the blob and all its versions; nothing brings them back."
                ),
                *(parameter(name) for name in CONDITIONS),
            ],
        ),
    },
}

SUBJECT = Subject("Blobs", "What users store, as JSON with the bytes in base64.", PATHS, SCHEMAS)
