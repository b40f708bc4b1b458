"""What servers answer, read without trusting it, and the one document that they get."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote_plus
from xml.sax.saxutils import escape

from defusedxml import ElementTree

LENGTH = re.compile(r"[0-9]{1,18}")
CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-[0-9]{1,18}/([0-9]{1,18})")
MOST_MARKS = 50_000
"""Begins, ends and attributes of elements: each takes the parser some hundred bytes, and its time."""
NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"


class Unreadable(Exception):
    """The answer lacks what was to be expected of it. Says what."""


@dataclass(frozen=True)
class Answer:
    """A whole answer to a request. Header names in any spelling."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Document:
    """An element of an answer. Namespaces, which servers set or forget, do not count."""

    def __init__(self, element: Any) -> None:
        self._element = element
        self.name = str(element.tag).rpartition("}")[2]

    def all(self, name: str) -> Iterator["Document"]:
        return (child for child in map(Document, self._element) if child.name == name)

    def text(self, name: str) -> str:
        """The text of the first child of that name; empty without one."""
        return next((child.content for child in self.all(name)), "")

    @property
    def content(self) -> str:
        return (self._element.text or "").strip()


def read(content: bytes) -> Document:
    """The root of a document. Raises Unreadable for anything else, entities included."""
    if content.count(b"<") + content.count(b"=") > MOST_MARKS:
        raise Unreadable("the answer has more elements than are read")
    # A server that takes its time may send white space first, to keep the connection open. Text is parsed and
    # not bytes, so that no document names an encoding in which other bytes are marks than those counted.
    try:
        return Document(ElementTree.fromstring(content.decode("utf-8-sig").strip()))
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise Unreadable("the answer is not readable XML") from error


def is_error(content: bytes) -> bool:
    """Whether an answer says that something went wrong, whatever its status says."""
    if b"<Error" not in content.lstrip()[:1024]:
        return False
    try:
        return read(content).name == "Error"
    except Unreadable:
        return False


@dataclass(frozen=True)
class Page:
    """One answer to ListObjectsV2: names in the bucket, and how to get the next page."""

    paths: Sequence[str]
    next_token: str | None


def page_of_keys(answer: Answer) -> Page:
    root = _expect(answer, "ListBucketResult")
    decode = _decoder(root)
    paths = [decode(item.text("Key")) for item in root.all("Contents")]
    token = root.text("NextContinuationToken")
    if root.text("IsTruncated") != "true":
        return Page(paths, None)
    if not token:
        raise Unreadable("the list goes on, but the server does not say where")
    return Page(paths, token)


@dataclass(frozen=True)
class UnfinishedUpload:
    """An upload in parts that was begun and neither completed nor aborted."""

    path: str
    id: str
    began: datetime


@dataclass(frozen=True)
class PageOfUploads:
    """One answer to ListMultipartUploads; `next_path` and `next_id` are where the next page begins."""

    uploads: Sequence[UnfinishedUpload]
    next_path: str | None
    next_id: str


def page_of_uploads(answer: Answer) -> PageOfUploads:
    root = _expect(answer, "ListMultipartUploadsResult")
    decode = _decoder(root)
    uploads = [
        UnfinishedUpload(decode(item.text("Key")), item.text("UploadId"), _moment(item.text("Initiated")))
        for item in root.all("Upload")
    ]
    if root.text("IsTruncated") != "true":
        return PageOfUploads(uploads, None, "")
    return PageOfUploads(uploads, decode(root.text("NextKeyMarker")), root.text("NextUploadIdMarker"))


def upload_id(answer: Answer) -> str:
    found = read(answer.body).text("UploadId")  # below a root that servers name as they like
    if not found:
        raise Unreadable("the server began an upload without an id")
    return found


def etag(answer: Answer) -> str:
    if found := answer.headers.get("ETag"):
        return found
    raise Unreadable("the server stored a part and does not say its ETag")


def completed(answer: Answer) -> None:
    """Returns if the answer says that an object was made of its parts."""
    _expect(answer, "CompleteMultipartUploadResult")


def length(headers: Mapping[str, str]) -> int:
    text = headers.get("Content-Length", "")
    if not LENGTH.fullmatch(text):
        raise Unreadable("the server does not say how large the object is")
    return int(text)


def extent(status: int, headers: Mapping[str, str]) -> tuple[int, int]:
    """Where the bytes that a server sends begin in the object, and how large that is.

    By what it says of the range, whatever the status: some servers answer 200 for 206.
    """
    if (said := headers.get("Content-Range")) is None and status == 200:
        return 0, length(headers)
    if not (found := CONTENT_RANGE.fullmatch((said or "").strip())):
        raise Unreadable("the server does not say which bytes it sends")
    return int(found[1]), int(found[2])


def completion(etags: Sequence[str]) -> bytes:
    """The request that makes an object of its parts, numbered from 1."""
    parts = "".join(
        f"<Part><PartNumber>{number}</PartNumber><ETag>{escape(etag)}</ETag></Part>"
        for number, etag in enumerate(etags, 1)
    )
    document = f'<CompleteMultipartUpload xmlns="{NAMESPACE}">{parts}</CompleteMultipartUpload>'
    return document.encode()


def _expect(answer: Answer, name: str) -> Document:
    root = read(answer.body)
    if root.name != name:
        raise Unreadable(f"the answer is no {name}")
    return root


def _decoder(root: Document) -> Callable[[str], str]:
    """What makes names of the answer's: they are encoded as in a URL only if the server says so."""
    return unquote_plus if root.text("EncodingType") == "url" else str


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise Unreadable("a time in the answer is not readable") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
