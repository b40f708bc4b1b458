"""An S3 server that takes nothing it could take amiss, in a thread. One bucket, its bytes in files.

It refuses what other test servers let pass: a signature or a digest that is wrong, a header that is missing
or not signed, chunked transfer, a path or query that is not encoded as signed, parts that are too small,
conditions. Paths are taken literally: `a/../b` is a key of its own.
"""

import base64
import hashlib
import os
import ssl
import tempfile
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from urllib.parse import quote, unquote
from xml.sax.saxutils import escape

from tests.strict_signature import Account, Asked, Refused, check

LEAST_PART = 5 << 20
STEP = 64 << 10
NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"


@dataclass
class Object:
    file: Path
    size: int
    etag: str
    headers: dict[str, str] = field(default_factory=dict)
    kept: bool = False


@dataclass(frozen=True)
class Canned:
    """An answer that is no server's."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Upload:
    key: str
    began: datetime
    headers: dict[str, str]
    parts: dict[int, Object] = field(default_factory=dict)


class StrictS3:
    """The server. It runs from `with` to the end of its block, mounted `below` a path.

    `clock` is how far its clock is ahead; `next` holds what it answers instead of the next requests, one
    each; `seen` is every request that it got, in order; `loses` is how many bytes at the end of each object
    it forgets though it acknowledges them; `page` is the most that it lists at once; `conditions` is whether
    it knows `If-None-Match: *`: None ignores it, False refuses it.
    """

    def __init__(
        self,
        *,
        bucket: str = "drive",
        account: Account | None = None,
        virtual: bool = False,
        below: str = "",
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.bucket, self.virtual, self.below = bucket, virtual, below
        self.account = account or Account("strictaccess", "strict-secret-key", "eu-test-1")
        self.clock, self.page, self.loses = timedelta(), 1000, 0
        self.conditions: bool | None = False
        self.next: deque[Callable[[Asked], Refused | Canned | None]] = deque()
        self.seen: list[Asked] = []
        self.objects: dict[str, Object] = {}
        self.uploads: dict[str, Upload] = {}
        self.lock = threading.Lock()
        self._folder = tempfile.TemporaryDirectory()
        self._numbers = count(1)
        self._http = _Server(("127.0.0.1", 0), _Handler)
        self._http.strict = self
        if tls is not None:
            self._http.socket = tls.wrap_socket(self._http.socket, server_side=True)
        self.port: int = self._http.server_port
        scheme = "http" if tls is None else "https"
        self.url = f"{scheme}://{'localhost' if virtual or tls else '127.0.0.1'}:{self.port}{below}"

    def __enter__(self) -> "StrictS3":
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,))
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()
        self._folder.cleanup()

    def config(self, **more: str) -> dict[str, str]:
        """The configuration of a backend that may use this server."""
        account = self.account
        config = {
            "kind": "s3",
            "endpoint_url": self.url,
            "bucket_name": self.bucket,
            "access_key_id": account.access_key,
            "secret_access_key": account.secret_key,
            "region": account.region,
        }
        if account.token is not None:
            config["session_token"] = account.token
        return config | more

    def now(self) -> datetime:
        return datetime.now(UTC) + self.clock

    def file(self) -> Path:
        return Path(self._folder.name, str(next(self._numbers)))


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    strict: StrictS3

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away is no fault of the server's."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 60
    server: _Server

    def log_message(self, *args: object) -> None:
        pass

    def _do(self) -> None:
        strict = self.server.strict
        path, _, query = self.path.partition("?")
        asked = Asked(
            self.command, path, query, {name.lower(): value for name, value in self.headers.items()}
        )
        strict.seen.append(asked)
        body: Object | None = None
        try:
            if strict.next and (instead := strict.next.popleft()(asked)):
                self._take(None)
                if isinstance(instead, Refused):
                    raise instead
                return self._say(instead)
            self._check_form(asked)
            payload = check(asked, strict.account, strict.now())
            body = self._take(payload)
            self._answer(asked, dict(asked.pairs()), self._key(asked), body)
        except Refused as refused:
            self._refuse(refused)
        finally:
            if body is not None and not body.kept:
                body.file.unlink()

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _do  # noqa: N815 (http.server's names)

    def _check_form(self, asked: Asked) -> None:
        headers = asked.headers
        why = None
        needs_length = asked.method in ("PUT", "POST")
        if "transfer-encoding" in headers or (needs_length and "content-length" not in headers):
            why = Refused(411, "MissingContentLength", "You must provide the Content-Length HTTP header.")
        elif {"if-none-match", "if-match"} & headers.keys() and self.server.strict.conditions is False:
            why = Refused(
                501, "NotImplemented", "A header you provided implies functionality that is not here."
            )
        elif quote(unquote(asked.path), safe="/-._~") != asked.path:
            why = Refused(400, "InvalidURI", "The path is not encoded as it is signed.")
        elif len(self.headers) != len(headers):
            why = Refused(400, "InvalidRequest", "A header came twice.")
        if why is not None:
            self.close_connection = True
            raise why

    def _take(self, payload: str | None) -> Object | None:
        """The body in a file. Without `payload` it is read and forgotten."""
        left = int(self.headers.get("Content-Length", "0"))
        file, sha256, md5, size = self.server.strict.file(), hashlib.sha256(), hashlib.md5(), left
        with file.open("wb") as out:
            while left:
                data = self.rfile.read(min(STEP, left))
                if not data:
                    file.unlink()
                    raise ConnectionError("the client went away")
                left -= len(data)
                if payload is not None:
                    out.write(data)
                    sha256.update(data)
                    md5.update(data)
        if payload is None:
            file.unlink()
            return None
        if payload not in (sha256.hexdigest(), "UNSIGNED-PAYLOAD"):
            file.unlink()
            raise Refused(400, "XAmzContentSHA256Mismatch", "The provided digest is not that of the body.")
        if self.server.strict.loses and self.command == "PUT":
            size -= self.server.strict.loses
            os.truncate(file, size)
            return Object(file, size, '"lost"')
        return Object(file, size, f'"{md5.hexdigest()}"')

    def _key(self, asked: Asked) -> str | None:
        """The object that is asked for; None for the bucket."""
        strict = self.server.strict
        below, separator, name = unquote(asked.path).partition(f"{strict.below}/")
        if below or not separator:
            raise Refused(404, "NotFound", "No service is mounted there.")
        if strict.virtual:
            if asked.headers["host"] != f"{strict.bucket}.localhost:{strict.port}":
                raise Refused(404, "NoSuchBucket", "The specified bucket does not exist")
            return name or None
        bucket, _, key = name.partition("/")
        if bucket != strict.bucket:
            raise Refused(404, "NoSuchBucket", "The specified bucket does not exist", BucketName=bucket)
        return key or None

    def _answer(self, asked: Asked, query: dict[str, str], key: str | None, body: Object | None) -> None:
        query = {name: value for name, value in query.items() if not name.startswith("X-Amz-")}
        names = frozenset(query)
        assert body is not None
        if key is None:
            if asked.method == "GET" and "list-type" in names:
                return self._list(query)
            if asked.method == "GET" and "uploads" in names:
                return self._list_uploads(query)
            raise Refused(501, "NotImplemented")
        if names == {"uploads"} and asked.method == "POST":
            return self._begin(key, asked)
        if names == {"uploadId"} and asked.method in ("POST", "DELETE"):
            return self._end(key, query["uploadId"], asked.method, body)
        if names == {"uploadId", "partNumber"} and asked.method == "PUT":
            return self._store_part(key, query["uploadId"], int(query["partNumber"]), body)
        if names:
            raise Refused(400, "InvalidArgument", f"unexpected {sorted(names)}")
        if asked.method == "PUT":
            body.headers, body.kept = _kept(asked), True
            with self.server.strict.lock:
                condition = asked.headers.get("if-none-match") if self.server.strict.conditions else None
                if condition == "*" and key in self.server.strict.objects:
                    body.kept = False
                    raise Refused(412, "PreconditionFailed", "A precondition you specified did not hold.")
                self.server.strict.objects[key] = body
            return self._send(200, ETag=body.etag)
        if asked.method == "DELETE":
            with self.server.strict.lock:
                gone = self.server.strict.objects.pop(key, None)
            if gone:
                gone.file.unlink()
            return self._send(204)
        return self._read(key, asked)

    def _read(self, key: str, asked: Asked) -> None:
        held = self.server.strict.objects.get(key)
        if held is None:
            raise Refused(404, "NoSuchKey", "The specified key does not exist.")
        start, stop, status, said = 0, held.size, 200, {}
        if "range" in asked.headers:
            first, _, last = asked.headers["range"].removeprefix("bytes=").partition("-")
            start, stop = int(first), min(held.size, int(last) + 1 if last else held.size)
            if start >= held.size or start >= stop:
                raise Refused(416, "InvalidRange", "The requested range is not satisfiable")
            status, said = 206, {"Content-Range": f"bytes {start}-{stop - 1}/{held.size}"}
        try:
            with held.file.open("rb") as file:
                self._head(status, stop - start, {"ETag": held.etag, "Accept-Ranges": "bytes", **said})
                file.seek(start)
                while asked.method == "GET" and start < stop:
                    data = file.read(min(STEP, stop - start))
                    self.wfile.write(data)
                    start += len(data)
        except FileNotFoundError:
            raise Refused(404, "NoSuchKey", "The specified key does not exist.") from None

    def _list(self, query: dict[str, str]) -> None:
        assert query["list-type"] == "2"
        strict, prefix = self.server.strict, query.get("prefix", "")
        after = query.get("start-after", "")
        if "continuation-token" in query:
            after = base64.b64decode(query["continuation-token"]).decode()
        with strict.lock:
            keys = sorted(key for key in strict.objects if key.startswith(prefix) and key > after)
        size = min(strict.page, int(query.get("max-keys", "1000")))
        page, more = keys[:size], len(keys) > size
        items = "".join(
            f"<Contents><Key>{escape(quote(key, safe='/'))}</Key></Contents>" for key in page
        )  # a server encodes what `encoding-type=url` asks it to
        token = base64.b64encode(page[-1].encode()).decode() if more else ""
        self._xml(
            "ListBucketResult",
            f"<EncodingType>url</EncodingType><IsTruncated>{str(more).lower()}</IsTruncated>{items}"
            + (f"<NextContinuationToken>{token}</NextContinuationToken>" if more else ""),
        )

    def _list_uploads(self, query: dict[str, str]) -> None:
        strict, marker = self.server.strict, (query.get("key-marker", ""), query.get("upload-id-marker", ""))
        with strict.lock:
            found = sorted((upload.key, id, upload.began) for id, upload in strict.uploads.items())
        found = [one for one in found if one[0].startswith(query.get("prefix", "")) and one[:2] > marker]
        page, more = found[: strict.page], len(found) > strict.page
        items = "".join(
            f"<Upload><Key>{escape(key)}</Key><UploadId>{id}</UploadId>"
            f"<Initiated>{began:%Y-%m-%dT%H:%M:%S.000Z}</Initiated></Upload>"
            for key, id, began in page
        )
        end = f"<NextKeyMarker>{page[-1][0]}</NextKeyMarker>" if more else ""
        end += f"<NextUploadIdMarker>{page[-1][1]}</NextUploadIdMarker>" if more else ""
        truncated = f"<IsTruncated>{str(more).lower()}</IsTruncated>"
        self._xml("ListMultipartUploadsResult", truncated + items + end)

    def _begin(self, key: str, asked: Asked) -> None:
        strict, id = self.server.strict, f"upload-{next(self.server.strict._numbers):06}"
        with strict.lock:
            strict.uploads[id] = Upload(key, strict.now(), _kept(asked))
        self._xml("InitiateMultipartUploadResult", f"<UploadId>{id}</UploadId>")

    def _upload(self, key: str, id: str) -> Upload:
        upload = self.server.strict.uploads.get(id)
        if upload is None or upload.key != key:
            raise Refused(404, "NoSuchUpload", "The specified upload does not exist.")
        return upload

    def _store_part(self, key: str, id: str, number: int, body: Object) -> None:
        with self.server.strict.lock:
            parts = self._upload(key, id).parts
            if number in parts:
                parts[number].file.unlink()
            parts[number], body.kept = body, True
        self._send(200, ETag=body.etag)

    def _end(self, key: str, id: str, method: str, body: Object) -> None:
        strict = self.server.strict
        with strict.lock:
            upload = self._upload(key, id)
            if method == "POST":
                joined = self._joined(upload, body.file.read_text())
                strict.objects[key] = joined
            for part in strict.uploads.pop(id).parts.values():
                part.file.unlink()
        if method == "DELETE":
            return self._send(204)
        return self._xml("CompleteMultipartUploadResult", f"<ETag>{escape(strict.objects[key].etag)}</ETag>")

    def _joined(self, upload: Upload, document: str) -> Object:
        numbers = range(1, len(upload.parts) + 1)
        expected = "".join(
            f"<Part><PartNumber>{number}</PartNumber><ETag>{escape(upload.parts[number].etag)}</ETag></Part>"
            for number in numbers
            if number in upload.parts
        )
        if document != f'<CompleteMultipartUpload xmlns="{NAMESPACE}">{expected}</CompleteMultipartUpload>':
            raise Refused(400, "InvalidPart", "One or more of the specified parts could not be found.")
        if any(upload.parts[number].size < LEAST_PART for number in numbers[:-1]):
            raise Refused(400, "EntityTooSmall", "Your proposed upload is smaller than the minimum size.")
        file, size = self.server.strict.file(), 0
        with file.open("wb") as out:
            for number in numbers:
                with upload.parts[number].file.open("rb") as part:
                    while data := part.read(STEP):
                        size += out.write(data)
        return Object(file, size, f'"{"0" * 32}-{len(numbers)}"', upload.headers)

    def _refuse(self, refused: Refused) -> None:
        elements = {
            "Code": refused.code,
            "Message": refused.message,
            "RequestId": "STRICT1",
            **refused.elements,
        }
        text = "".join(f"<{name}>{escape(value)}</{name}>" for name, value in elements.items() if value)
        self._xml("Error", text, refused.status)

    def _xml(self, root: str, content: str, status: int = 200) -> None:
        space = "" if root == "Error" else f' xmlns="{NAMESPACE}"'
        text = f'<?xml version="1.0" encoding="UTF-8"?>\n<{root}{space}>{content}</{root}>'.encode()
        self._head(status, len(text), {"Content-Type": "application/xml"})
        if self.command != "HEAD":
            self.wfile.write(text)

    def _say(self, canned: Canned) -> None:
        self._head(canned.status, len(canned.body), canned.headers)
        if self.command != "HEAD":
            self.wfile.write(canned.body)

    def _send(self, status: int, **headers: str) -> None:
        self._head(status, 0, headers)

    def _head(self, status: int, length: int, headers: dict[str, str]) -> None:
        self.send_response_only(status)
        date = format_datetime(self.server.strict.now(), usegmt=True)
        for name, value in {"Date": date, "x-amz-request-id": "STRICT1", **headers}.items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(length))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()


def _kept(asked: Asked) -> dict[str, str]:
    """What a request that makes an object says of how it is to be kept."""
    about = ("x-amz-storage-class", "x-amz-server-side-encryption")
    return {name: value for name, value in asked.headers.items() if name.startswith(about)}
