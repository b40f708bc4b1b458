"""What a caller may say of a blob, checked once for every face, with what is chosen where he says nothing."""

import mimetypes
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from simpledrive.errors import Invalid
from simpledrive.ids import flaw, name_of, unprintable

MAX_NAME = 1024
MAX_TYPE = 255
MAX_METADATA = 2048
DEFAULT_TYPE = "application/octet-stream"
PACKED = {"gzip": "application/gzip", "bzip2": "application/x-bzip2", "xz": "application/x-xz"}
"""What `x.tar.gz` is: a gzip file, and not the tar that is in it."""

_WORD = r"[\w!#$&^.+-]+"
# No comma anywhere: browsers take `text/plain;,text/html` for a list, and the last of a list counts.
_TYPE = re.compile(rf'{_WORD}/{_WORD}(\s*;\s*{_WORD}=({_WORD}|"[^",\\]*"))*\s*;?', re.ASCII)
_WANTED = re.compile(rf"{_WORD}/({_WORD})?", re.ASCII)
_TYPES = mimetypes.MimeTypes(filenames=())
"""Guesses by file name from Python's own table: the machine's would give other answers elsewhere."""


@dataclass(frozen=True)
class Description:
    """A blob's id, file name, media type and metadata, all acceptable."""

    id: str
    filename: str
    content_type: str
    metadata: Mapping[str, str]


def of(id: str, filename: str | None, content_type: str | None, metadata: Mapping[str, str]) -> Description:
    """The description, completed: a name from the id, a type from the name.

    Raises Invalid with every field that is not acceptable.
    """
    problems: list[tuple[str, str]] = []

    def check(field: str, why: str | None) -> None:
        if why is not None:
            problems.append((field, why))

    check("id", flaw(id))
    if filename:
        check("filename", _too_long(filename, MAX_NAME) or unprintable(filename))
    filename = filename or name_of(id) or id
    if content_type:
        check("content_type", _too_long(content_type, MAX_TYPE) or _no_type(content_type))
    content_type = content_type or _guessed(filename)
    check("metadata", _flaw_of_metadata(metadata))
    if problems:
        raise Invalid(*problems)
    return Description(id, filename, content_type, metadata)


def changes(
    id: str,
    filename: str | None = None,
    content_type: str | None = None,
    metadata: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """What is to be said of a blob from now on, by column. None stays as it is, "" is chosen anew.

    Raises Invalid with every field that is not acceptable.
    """
    described = of(id, filename, content_type, metadata or {})
    found: dict[str, Any] = {}
    if filename is not None:
        found["filename"] = described.filename
    if content_type is not None:
        found["content_type"] = described.content_type
    if metadata is not None:
        found["blob_metadata"] = dict(described.metadata)
    return found


def media_type(content_type: str) -> str:
    """A content type without its parameters, in lower case: `text/plain`."""
    return content_type.partition(";")[0].strip().lower()


def type_wanted(text: str) -> str | None:
    """A media type to look for, in small letters; `video/` for all of a kind, also for `video/*`. None for
    anything else.
    """
    found = text.strip().lower().removesuffix("*")
    return found if _WANTED.fullmatch(found) else None


def is_of_type(content_type: str, wanted: str) -> bool:
    """Whether a content type, whatever its parameters, is the one that is wanted, or of that kind."""
    stored, found = media_type(content_type), type_wanted(wanted)
    return found is not None and (stored.startswith(found) if found.endswith("/") else stored == found)


def _too_long(text: str, most: int) -> str | None:
    return f"This has at most {most} characters." if len(text) > most else None


def _no_type(text: str) -> str | None:
    if text.isascii() and text.isprintable() and _TYPE.fullmatch(text):
        return None
    return "This is not a media type such as text/plain."


def _guessed(filename: str) -> str:
    # Not the name as it is: Python would take "data:text/html,x" for a URL that says its type.
    kind, packed_by = _TYPES.guess_type("_" + filename)
    if packed_by is not None:
        return PACKED.get(packed_by, DEFAULT_TYPE)
    return kind or DEFAULT_TYPE


def _flaw_of_metadata(metadata: Mapping[str, str]) -> str | None:
    texts = [*metadata.keys(), *metadata.values()]
    if sum(len(text.encode(errors="replace")) for text in texts) > MAX_METADATA:
        return f"Names and values together have at most {MAX_METADATA} bytes."
    return next(filter(None, map(unprintable, texts)), None)
