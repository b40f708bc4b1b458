"""What blobs are called: which ids are accepted, their folders, and the ids we make ourselves.

An id is 1 to 1024 characters of any Unicode text, slashes included, and is compared byte for byte: nothing
is normalised, folded or trimmed. This module knows nothing of requests or records.
"""

import os
import time
import unicodedata
import uuid
from datetime import UTC, datetime

MAX_ID = 1024


def uuid7() -> uuid.UUID:
    """A UUID that sorts by its time of creation (RFC 9562, version 7, milliseconds, 74 random bits)."""
    milliseconds = time.time_ns() // 1_000_000
    value = milliseconds << 80 | int.from_bytes(os.urandom(10))
    value = value & ~(0xF << 76) | 7 << 76
    value = value & ~(0x3 << 62) | 2 << 62
    return uuid.UUID(int=value)


def made_at(id: uuid.UUID) -> datetime:
    """When a UUIDv7 was made."""
    return datetime.fromtimestamp((id.int >> 80) / 1000, UTC)


def made_below(prefix: str) -> str:
    """An id for a blob that came without one: a UUIDv7, below the prefix of whoever brings it."""
    return prefix + str(uuid7())


def flaw(id: str) -> str | None:
    """What is wrong with an id, as a sentence, or None if it is accepted (CONTRACTS, part 1)."""
    if not id:
        return "An id has at least one character."
    if len(id) > MAX_ID:
        return f"An id has at most {MAX_ID} characters, this one has {len(id)}."
    if (why := unprintable(id)) is not None:
        return why
    if any(segment in (".", "..") for segment in id.split("/")):
        return "An id has no segment '.' or '..': clients fold them away before sending."
    return None


def unprintable(text: str) -> str | None:
    """What in a text cannot be kept or shown: control characters and unpaired surrogates."""
    for character in text:
        category = unicodedata.category(character)
        if category == "Cc":
            return f"The control character U+{ord(character):04X} is not accepted."
        if category == "Cs":
            return "An unpaired surrogate is not a character."
    return None


def folder_of(id: str) -> str:
    """The id up to and with its last slash; "" at the top. `a/b.txt` lies in `a/`, `/b` in `/`."""
    return id[: id.rfind("/") + 1]


def name_of(id: str) -> str:
    """The id behind its last slash; "" for an id that ends with one."""
    return id[id.rfind("/") + 1 :]


def after_prefix(prefix: str) -> str | None:
    """The smallest text that sorts after everything that begins with `prefix`; None if there is none.

    By code points, which is also the byte order of UTF-8 and the order of the database.
    """
    for at in range(len(prefix) - 1, -1, -1):
        code = ord(prefix[at]) + 1
        if 0xD800 <= code <= 0xDFFF:
            code = 0xE000
        if code <= 0x10FFFF:
            return prefix[:at] + chr(code)
    return None
