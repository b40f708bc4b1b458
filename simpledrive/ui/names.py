"""Names of files and folders as they are shown and as they arrive; what ids may be is in ids.py."""

import unicodedata
from dataclasses import dataclass

from simpledrive.ids import folder_of, name_of

TAIL = 14
WHOLE = 28


@dataclass(frozen=True)
class Crumb:
    """A folder on the way to another: the name it shows and the path it leads to."""

    name: str
    path: str


def split(name: str) -> tuple[str, str]:
    """A long name in two, so that it can be cut before its last characters, which tell files apart.

    The tail is empty for short names, and for those that read from right to left: two boxes side by side
    would put their halves in the wrong order.
    """
    at = len(name) - TAIL
    if len(name) <= WHOLE or any(unicodedata.bidirectional(c) in ("R", "AL") for c in name):
        return name, ""
    while at > 0 and _joins(name[at - 1], name[at]):
        at -= 1
    return name[:at], name[at:]


def _joins(before: str, character: str) -> bool:
    """Whether both are seen as one: accents, variation selectors, joined emoji."""
    joiner = "\u200d"
    return unicodedata.category(character).startswith("M") or joiner in (before, character)


def crumbs(folder: str) -> list[Crumb]:
    """The folders from the top down to this one ("" or ending with a slash), itself last."""
    found = []
    start = 0
    while (end := folder.find("/", start)) >= 0:
        found.append(Crumb(folder[start:end] or "/", folder[: end + 1]))
        start = end + 1
    return found


def way_to(id: str) -> list[Crumb]:
    """The folders from the top down to the one a blob of this id lies in."""
    return crumbs(folder_of(id))


def shown(id: str) -> str:
    """What a blob is called in a listing: its id behind the last slash, or all of it if that is nothing."""
    return name_of(id) or id


def folder(path: str) -> str:
    """The path of a folder as ids begin with it: "" or ending with a slash."""
    return path if not path or path.endswith("/") else path + "/"


def arriving(folder: str, filename: str) -> str:
    """The id for a file that a browser sends into a folder.

    A browser that sends a whole folder names each file by its path; that tree is kept. What could lead
    elsewhere (leading and doubled slashes, `.`, `..`) is dropped, and backslashes part folders too.
    """
    segments = filename.replace("\\", "/").split("/")
    return folder + "/".join(segment for segment in segments if segment not in ("", ".", ".."))
