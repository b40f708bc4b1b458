"""What kind of file a blob is, as a word and an icon: by its type, by its name where that says nothing."""

from dataclasses import dataclass

from simpledrive.descriptions import media_type


@dataclass(frozen=True)
class Kind:
    """A word for people, and the icon in static/icons.svg."""

    word: str
    icon: str


IMAGE = Kind("Image", "image")
VIDEO = Kind("Video", "video")
AUDIO = Kind("Audio", "audio")
PDF = Kind("PDF", "pdf")
TEXT = Kind("Text", "text")
DATA = Kind("Data", "text")
SHEET = Kind("Sheet", "sheet")
TABLE = Kind("Data", "sheet")
ARCHIVE = Kind("Archive", "archive")
MODEL = Kind("Model", "model")
POINTS = Kind("Points", "model")
FILE = Kind("File", "file")

BY_TYPE = {
    "application/pdf": PDF,
    "text/csv": TABLE,
    "text/tab-separated-values": TABLE,
    "application/json": DATA,
    "application/xml": DATA,
    "text/xml": DATA,
    "application/yaml": DATA,
    "application/toml": DATA,
    "application/sql": DATA,
    "text/javascript": TEXT,
    "application/javascript": TEXT,
    "application/x-sh": TEXT,
    "application/x-python": TEXT,
    "application/rtf": TEXT,
    "application/msword": TEXT,
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": TEXT,
    "application/vnd.oasis.opendocument.text": TEXT,
    "application/vnd.ms-excel": SHEET,
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": SHEET,
    "application/vnd.oasis.opendocument.spreadsheet": SHEET,
    "application/zip": ARCHIVE,
    "application/gzip": ARCHIVE,
    "application/x-tar": ARCHIVE,
    "application/x-bzip2": ARCHIVE,
    "application/x-7z-compressed": ARCHIVE,
    "application/zstd": ARCHIVE,
}
BY_FAMILY = {"image": IMAGE, "video": VIDEO, "audio": AUDIO, "text": TEXT, "model": MODEL}
BY_ENDING = {
    "ifc": MODEL,
    "stl": MODEL,
    "obj": MODEL,
    "step": MODEL,
    "dwg": MODEL,
    "las": POINTS,
    "laz": POINTS,
    "e57": POINTS,
    "zip": ARCHIVE,
    "gz": ARCHIVE,
    "tgz": ARCHIVE,
    "xz": ARCHIVE,
    "zst": ARCHIVE,
    "7z": ARCHIVE,
    "md": TEXT,
    "log": TEXT,
    "toml": DATA,
    "yaml": DATA,
    "yml": DATA,
    "parquet": TABLE,
    "m4a": AUDIO,
    "mkv": VIDEO,
    "heic": IMAGE,
}

READABLE = frozenset(kind_type for kind_type, kind in BY_TYPE.items() if kind in (DATA, TABLE)) | {
    "text/javascript",
    "application/javascript",
    "application/x-sh",
    "application/x-python",
}
"""Types beside text/* whose bytes are text."""


def kind(content_type: str, name: str) -> Kind:
    """The kind of a blob with this media type and name."""
    plain = media_type(content_type)
    found = BY_TYPE.get(plain) or BY_FAMILY.get(plain.partition("/")[0])
    return found or BY_ENDING.get(name.rpartition(".")[2].lower(), FILE)


def readable(content_type: str) -> bool:
    """Whether the bytes are text that may be shown as such: escaped, never rendered."""
    plain = media_type(content_type)
    return plain.startswith("text/") or plain in READABLE or plain.endswith(("+json", "+xml"))
