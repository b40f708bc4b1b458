"""webdav:// and webdavs:// — a collection of a WebDAV server, by webdav4, which leans on httpx.

Of webdav4's files none is used: one for writing copies everything to a temporary file first, one for reading
fetches the whole to read a part, and asks again for ever where a server stalls.
"""

import re
import ssl
from typing import Any
from urllib.parse import SplitResult, unquote

import httpx
from webdav4.client import (
    Client,
    ClientError,
    HTTPError,
    InsufficientStorage,
    ResourceAlreadyExists,
    ResourceNotFound,
)
from webdav4.fsspec import WebdavFileSystem

from simpledrive.errors import StorageFull
from simpledrive.storage.fsspec.faults import MISSING, TAKEN, Meaning, by_status, causes
from simpledrive.storage.fsspec.filesystem import Arguments, Filesystem, check_names
from simpledrive.streams.source import BLOCK, Reader

SCHEMES = {"webdav": "http", "webdavs": "https"}
SKIPPED_AT_ONCE = 256 << 10
KEPT_CONNECTIONS = 16
NOT_NOW = {429, 500, 502, 503, 504}


class WebDav(Filesystem):
    """Connections are httpx's, which keeps some and gives each request one of its own."""

    files = frozenset({"verify", "cert"})

    @classmethod
    def arguments(cls, address: SplitResult, given: Arguments, timeout: float) -> Arguments:
        own = {"username", "password"}
        check_names({name: given[name] for name in given.keys() - own}, Client, httpx.Client)
        if not address.hostname:
            raise ValueError("the URL wants a host: webdavs://cloud.example.org/remote.php/dav/files/drive")
        user = given.get("username", unquote(address.username) if address.username else None)
        if (user is None) != ("password" not in given):
            raise ValueError("of username and password one is missing")
        arguments = {name: value for name, value in given.items() if name not in own}
        arguments["verify"] = _trust(arguments.get("verify", True))
        if user is not None:
            arguments["auth"] = (user, given["password"])
        host = f"[{address.hostname}]" if ":" in address.hostname else address.hostname
        port = f":{address.port}" if address.port else ""
        return {
            "base_url": f"{SCHEMES[address.scheme]}://{host}{port}/",
            "retry": False,  # that is done in one place, which is not there
            "trust_env": False,
            "timeout": timeout,
            "limits": httpx.Limits(max_keepalive_connections=KEPT_CONNECTIONS),
        } | arguments

    @staticmethod
    def connect(arguments: Arguments) -> Any:
        return WebdavFileSystem(**arguments, skip_instance_cache=True)

    @staticmethod
    def base(address: SplitResult) -> str:
        return unquote(address.path).strip("/")

    @staticmethod
    def meaning(error: BaseException) -> Meaning | None:
        match error:
            case ResourceNotFound():
                return MISSING
            case ResourceAlreadyExists():
                return TAKEN
            case InsufficientStorage():
                return StorageFull, "no room (507)"
        for cause in causes(error):
            if isinstance(cause, HTTPError):
                return by_status(cause.status_code)
        return None

    @classmethod
    def is_passing(cls, error: BaseException) -> bool:
        return any(
            isinstance(cause, httpx.NetworkError | httpx.RemoteProtocolError)
            or (isinstance(cause, HTTPError) and cause.status_code in NOT_NOW)
            for cause in causes(error)
        )

    def close(self) -> None:
        self.fs.client.http.close()

    def remove_folder(self, folder: str) -> bool:
        # Without looking first whether it is empty, which ours are.
        return self.remove(folder)

    def write(self, path: str, reader: Reader, size: int) -> None:
        self.fs.client.upload_fileobj(reader, path, overwrite=True, chunk_size=BLOCK, size=size)

    def rename(self, old: str, new: str) -> None:
        self.fs.client.move(old, new, overwrite=False)

    def open(self, path: str, start: int, stop: int) -> Reader:
        client = self.fs.client
        # Compressed on the way, they would be other bytes than were asked for.
        headers = {"Range": f"bytes={start}-{stop - 1}", "Accept-Encoding": "identity"}
        request = client.http.build_request("GET", client.join_url(path), headers=headers)
        return _Body(client.http.send(request, stream=True), path, start)


class _Body:
    """What the server sends of an object from byte `start` on.

    A server that does not know ranges sends the object from its beginning, which is then skipped.
    """

    def __init__(self, response: httpx.Response, path: str, start: int) -> None:
        self._response = response
        self._chunks, self._rest = response.iter_raw(), memoryview(b"")
        try:
            if response.status_code == 404:
                raise ResourceNotFound(path)
            if response.status_code not in (200, 206):
                raise HTTPError(response)
            left = start - _first(response)
            if left < 0:
                raise ClientError("another range than was asked for")
            while left and (skipped := self.read(min(left, SKIPPED_AT_ONCE))):
                left -= len(skipped)
        except BaseException:
            response.close()
            raise

    def read(self, size: int, /) -> bytes:
        data = bytearray()
        while len(data) < size:
            if not self._rest:
                self._rest = memoryview(next(self._chunks, b""))
                if not self._rest:
                    break
            taken = self._rest[: size - len(data)]
            self._rest = self._rest[len(taken) :]
            data += taken
        return bytes(data)

    def close(self) -> None:
        self._response.close()


def _first(response: httpx.Response) -> int:
    """The number of the first byte that the answer holds."""
    if response.status_code == 200:
        return 0
    found = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    if not found:
        raise ClientError("a part, and not which")
    return int(found[1])


def _trust(verify: object) -> object:
    """A file of certificates as httpx wants it; true or false as they are."""
    if not isinstance(verify, str):
        return verify
    try:
        return ssl.create_default_context(cafile=verify)
    except OSError:
        raise ValueError("verify names a file that holds no certificates in PEM form") from None
