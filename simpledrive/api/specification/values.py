"""Values that documents of several subjects have: ids, digests, moments, names, base64."""

from __future__ import annotations

from simpledrive.api.specification.references import Json

PRINTABLE = r"^[^\u0000-\u001f\u007f-\u009f]*$"
"""Any text without control characters."""

_WORD = r"[A-Za-z0-9_!#$&^.+-]+"
MEDIA_TYPE = rf'^({_WORD}/{_WORD}( *; *{_WORD}=({_WORD}|"[ !#-+\--\[\]-~]*"))* *;?)?$'

SCHEMAS: dict[str, Json] = {
    "BlobId": {
        "description": "Any text of 1 to 1,024 characters, slashes included, compared byte for byte. "
        "Refused are control characters and the segments `.` and `..`.",
        "type": "string",
        "minLength": 1,
        "maxLength": 1024,
        "pattern": PRINTABLE,
        "not": {"pattern": r"(^|/)\.{1,2}(/|$)"},
    },
    "Digest": {"description": "SHA-256, in lower case.", "type": "string", "pattern": "^[0-9a-f]{64}$"},
    "Moment": {
        "description": "UTC, in whole seconds.",
        "type": "string",
        "format": "date-time",
        "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$",
    },
    "FileName": {
        "description": "What the file is called when it is downloaded. Left out or empty: the last segment "
        "of the id.",
        "type": "string",
        "maxLength": 1024,
        "pattern": PRINTABLE,
    },
    "MediaType": {
        "description": "Left out or empty: guessed from the file name.",
        "type": "string",
        "maxLength": 255,
        "pattern": MEDIA_TYPE,
    },
    "Metadata": {
        "description": "Names and values of your own; together at most 2,048 bytes.",
        "type": "object",
        "propertyNames": {"pattern": PRINTABLE},
        "additionalProperties": {"type": "string", "pattern": PRINTABLE},
    },
    "Base64": {
        "description": "Strict base64 (RFC 4648): its own alphabet, padded, no white space, no bit too "
        'many. `""` is no bytes.',
        "type": "string",
        "contentEncoding": "base64",
        "pattern": r"^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/][AQgw]==|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=)?$",
    },
}
