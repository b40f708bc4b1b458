"""What a caller may say of a blob, checked once for every face, with what is chosen where he says nothing."""

import mimetypes
import re
from collections.abc import Mapping
from dataclasses import dataclass

from simpledrive.errors import Invalid
from simpledrive.ids import flaw, name_of, unprintable, uuid7

MAX_NAME = 1024
MAX_TYPE = 255
MAX_METADATA = 2048
DEFAULT_TYPE = "application/octet-stream"

_TYPE = re.compile(r"[\w!#$&^.+-]+/[\w!#$&^.+-]+(\s*;.*)?", re.ASCII)
_TYPES = mimetypes.MimeTypes(filenames=())
"""Guesses by file name from Python's own table: the machine's would give other answers elsewhere."""


@dataclass(frozen=True)
class Description:
    """A blob's id, file name, media type and metadata, all acceptable."""

    id: str
    filename: str
    content_type: str
    metadata: Mapping[str, str]


def of(
    id: str | None, filename: str | None, content_type: str | None, metadata: Mapping[str, str]
) -> Description:
    """The description, completed: an id if there is none, a name from the id, a type from the name.

    Raises Invalid with every field that is not acceptable.
    """
    problems: list[tuple[str, str]] = []

    def check(field: str, why: str | None) -> None:
        if why is not None:
            problems.append((field, why))

    id = str(uuid7()) if id is None else id
    check("id", flaw(id))
    filename = filename or name_of(id) or id
    check("filename", unprintable(filename) or _too_long(filename, MAX_NAME))
    content_type = content_type or _TYPES.guess_type(filename)[0] or DEFAULT_TYPE
    check("content_type", unprintable(content_type) or _too_long(content_type, MAX_TYPE))
    if not _TYPE.fullmatch(content_type) or not content_type.isascii():
        check("content_type", "This is not a media type such as text/plain.")
    for key, value in metadata.items():
        check("metadata", unprintable(key) or unprintable(value))
    if (
        sum(
            len(key.encode(errors="replace")) + len(value.encode(errors="replace"))
            for key, value in metadata.items()
        )
        > MAX_METADATA
    ):
        check("metadata", f"Names and values together have at most {MAX_METADATA} bytes.")
    if problems:
        raise Invalid(*problems)
    return Description(id, filename, content_type, metadata)


def _too_long(text: str, most: int) -> str | None:
    return f"This has at most {most} characters." if len(text) > most else None
