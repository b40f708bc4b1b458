"""/put_file, /upload_file, /get_file, /health: the contract of PutPlace, but for its keys."""

from __future__ import annotations

from simpledrive.api.putplace import FileDocument
from simpledrive.api.specification import putplace_keys
from simpledrive.api.specification.answers import answer
from simpledrive.api.specification.blobs import RECORD
from simpledrive.api.specification.operation import NOBODY, file_body, json_body, operation
from simpledrive.api.specification.problems import EVERYWHERE, SIGNED_IN, STORING
from simpledrive.api.specification.references import Json, parameter, schema
from simpledrive.api.specification.shapes import schema_of
from simpledrive.api.specification.subject import Subject
from simpledrive.api.specification.values import PRINTABLE
from simpledrive.machines import MAX_NAME

HOST, PATH = "pier", "/srv/plans/hello.txt"

_FILE: Json = {
    "filepath": PATH,
    "hostname": HOST,
    "ip_address": "192.0.2.7",
    "sha256": RECORD["sha256"],
    "file_size": RECORD["size"],
    "file_mode": 33188,
    "file_uid": 1000,
    "file_gid": 1000,
    "file_mtime": 1769117875.5,
    "file_atime": 1769117875.5,
    "file_ctime": 1769117875.5,
}

_KNOWN = _FILE | {
    "_id": "0199f3a2-6c1e-7d3b-9a55-2f8e6b0c4d71",
    "has_file_content": True,
    "file_uploaded_at": RECORD["created_at"],
    "storage_path": f"/v1/content/{HOST}{PATH}",
    "created_at": RECORD["created_at"],
}

_UNKNOWN = _FILE | {"sha256": "0" * 64}

SCHEMAS: dict[str, Json] = {
    "HostName": {
        "type": "string",
        "minLength": 1,
        "maxLength": MAX_NAME,
        "pattern": r"^[^\u0000-\u001f\u007f-\u009f/]*$",
        "not": {"enum": [".", ".."]},
    },
    "FilePath": {
        "description": "With the host's name before it, and without a slash at its front, it is the blob's "
        "id; together they have at most 1,023 characters.",
        "type": "string",
        "pattern": PRINTABLE,
        "not": {"pattern": r"(^|/)\.{1,2}(/|$)|^/?$"},
    },
    "MachineFile": schema_of(
        FileDocument,
        "What a machine says of a file of its own, as `stat` has it. Other members are passed over.",
        hostname=schema("HostName"),
        filepath=schema("FilePath"),
        ip_address={"type": "string", "maxLength": MAX_NAME, "pattern": PRINTABLE},
    ),
    "KnownFile": {
        "description": "What was said of a file, and what the drive knows of its bytes.",
        "allOf": [schema("MachineFile")],
        "type": "object",
        "required": ["_id", "has_file_content", "file_uploaded_at", "storage_path", "created_at"],
        "properties": {
            "_id": {"type": "string", "format": "uuid"},
            "has_file_content": {
                "type": "boolean",
                "description": "Whether the drive has the bytes, whatever the client claims.",
            },
            "file_uploaded_at": {"oneOf": [schema("Moment"), {"type": "null"}]},
            "storage_path": {"type": ["string", "null"], "description": "Where the bytes are read."},
            "created_at": schema("Moment"),
        },
    },
    "AnnouncedFile": {
        "allOf": [schema("KnownFile")],
        "type": "object",
        "required": ["upload_required", "upload_url"],
        "properties": {
            "upload_required": {
                "type": "boolean",
                "description": "Whether the bytes are to be sent. False only if the caller may read them "
                "already.",
            },
            "upload_url": {
                "type": ["string", "null"],
                "pattern": "^/upload_file/[0-9a-f]{64}$",
                "description": "Where to; null if they are not wanted.",
            },
        },
    },
    "UploadedFile": {
        "type": "object",
        "required": ["message", "sha256", "size", "hostname", "filepath", "status"],
        "additionalProperties": False,
        "properties": {
            "message": {"type": "string"},
            "sha256": schema("Digest"),
            "size": {"type": "string", "pattern": "^[0-9]+$"},
            "hostname": schema("HostName"),
            "filepath": schema("FilePath"),
            "status": {"const": "uploaded"},
        },
    },
}

_SHA256: Json = {
    "name": "sha256",
    "in": "path",
    "required": True,
    "schema": {"type": "string", "pattern": "^[0-9A-Fa-f]{64}$"},
    "example": RECORD["sha256"],
}


def _of_file(name: str, of_schema: str, example: str) -> Json:
    return {"name": name, "in": "query", "required": True, "schema": schema(of_schema), "example": example}


PATHS: dict[str, dict[str, Json]] = {
    "/put_file": {
        "post": operation(
            "announceFile",
            "Writes down what a machine says of a file, and tells whether its bytes are wanted.",
            {
                201: answer(
                    "Written down.",
                    schema("AnnouncedFile"),
                    headers=("Cache-Control",),
                    examples={
                        "known": _KNOWN | {"upload_required": False, "upload_url": None},
                        "unknown": _KNOWN
                        | _UNKNOWN
                        | {"has_file_content": False, "file_uploaded_at": None, "storage_path": None}
                        | {"upload_required": True, "upload_url": f"/upload_file/{'0' * 64}"},
                    },
                )
            },
            (*SIGNED_IN, *STORING, "unsupported-type"),
            description="Said again, nothing changes. A file that the caller may read already is in the "
            "drive at once, with the id HOSTNAME/FILEPATH.",
            body=json_body("MachineFile", known=_FILE, unknown=_UNKNOWN),
        )
    },
    "/upload_file/{sha256}": {
        "post": operation(
            "uploadAnnouncedFile",
            "Stores the bytes of a file that was announced.",
            {200: answer("Stored, and safe.", schema("UploadedFile"), headers=("Cache-Control",))},
            (*SIGNED_IN, *STORING, "unsupported-type", "blob-not-found", "idempotency-key-reused"),
            description="404, before the bytes are stored, if no such file was announced for this host and "
            "path; 400 if the bytes have another digest.",
            parameters=[
                _SHA256,
                _of_file("hostname", "HostName", HOST),
                _of_file("filepath", "FilePath", PATH),
                parameter("Idempotency-Key"),
            ],
            body=file_body("The bytes."),
        )
    },
    "/get_file/{sha256}": {
        "get": operation(
            "getAnnouncedFile",
            "What is known of the first file with this digest.",
            {200: answer("The file.", schema("KnownFile"), headers=("Cache-Control",))},
            (*SIGNED_IN, "blob-not-found"),
            parameters=[_SHA256],
        )
    },
    "/health": {
        "get": operation(
            "health",
            "The state of the database.",
            {
                200: answer(
                    "Always, also when it is degraded.",
                    {
                        "type": "object",
                        "required": ["status", "database"],
                        "additionalProperties": False,
                        "properties": {
                            "status": {"enum": ["healthy", "degraded"]},
                            "database": {
                                "type": "object",
                                "required": ["status", "type"],
                                "additionalProperties": False,
                                "properties": {
                                    "status": {"enum": ["connected", "disconnected"]},
                                    "type": {"enum": ["sqlite", "postgresql"]},
                                },
                            },
                        },
                    },
                    headers=("Cache-Control",),
                )
            },
            EVERYWHERE,
            security=NOBODY,
        )
    },
}

SUBJECT = Subject(
    "PutPlace",
    "Whole machines in the drive: files that their hosts announce, each content kept once.",
    PATHS | putplace_keys.PATHS,
    SCHEMAS | putplace_keys.SCHEMAS,
)
