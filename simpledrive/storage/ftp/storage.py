"""Bytes in the files of an FTP server: `BASE/objects/ab/KEY`, and `BASE/tmp/` for those in the making.

FTP has no word for "on the disk". When `put` returns, the server has acknowledged the bytes, has said that
it holds as many as were sent, and has given them their name; whether a power cut at the server takes them
back is up to the server. A truncated file is acknowledged like a whole one, so it is the size that counts
(docs/ftp.md). This module checks no digests, and speaks no FTP: session.py does.
"""

import posixpath
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime
from functools import partial

from simpledrive.errors import ObjectMissing, StorageError, StorageRefused, StorageUnavailable
from simpledrive.ids import uuid7
from simpledrive.storage import claims
from simpledrive.storage.base import KEY, MARKER, Storage, made_at
from simpledrive.storage.ftp.connections import Connections
from simpledrive.storage.ftp.faults import storage_errors
from simpledrive.storage.ftp.options import FtpOptions
from simpledrive.storage.ftp.reading import Range
from simpledrive.storage.ftp.session import Session
from simpledrive.storage.ftp.transfers import Sending
from simpledrive.storage.taken import Taken
from simpledrive.streams.ahead import blocks_of
from simpledrive.streams.source import Source

FOLDER = re.compile(r"[0-9a-f]{2}")
PART = re.compile(r"part\.[0-9a-f]{32}")

Undo = Callable[[Session], object]


class FtpStorage(Storage):
    """Keeps objects as files below one folder of a server, which is made when it is first written to."""

    kind = "ftp"
    Options = FtpOptions

    def __init__(self, name: str, options: FtpOptions) -> None:
        super().__init__(name, options)
        self._options = options
        self._connections = Connections(options.server())
        self._errors = partial(storage_errors, name, options.timeout)
        self._lease = claims.lease(options.timeout)
        self._taken = Taken(name)
        self._seen = False

    @property
    def where(self) -> str:
        host = f"[{self._options.host}]" if ":" in self._options.host else self._options.host
        way = "" if self._options.tls == "off" else " with TLS"
        return f"ftp://{host}:{self._options.port}/{self._options.base_dir}{way}"

    def put(self, key: str, source: Source) -> None:
        path, part = self._path("put", key), f"tmp/part.{uuid7().hex}"
        undo: list[Undo] = [partial(Session.remove, path=part)]
        with self._taken.taking(key) as unused, blocks_of(source) as next_block:
            with self._errors("put"):
                session, sending = self._connections.hold(partial(self._begin, part))
            try:
                self._fill(sending, next_block)
                with self._errors("put"):
                    self._check_size(session, part, source.size)
                    if not unused:
                        self._claim(session, path, undo)
                    session.rename(part, path, partial(self._make_folder, session, posixpath.dirname(path)))
                    if not unused:
                        claims.give_up(session, _claim_of(path))
            except BaseException as error:
                session.close()
                # A server that says nothing would be waited for a second time: `clean` is there for it.
                if not isinstance(error.__cause__, TimeoutError):
                    self._take_back(undo)
                raise
        self._connections.give_back(session)
        self._seen = True

    def open(self, key: str, start: int = 0, stop: int | None = None) -> Range:
        held = self._held("open", key)
        end = held if stop is None else min(stop, held)
        return Range(self.name, self._connections, self._errors, self._path("open", key), start, end, held)

    def size(self, key: str) -> int:
        return self._held("size", key)

    def delete(self, key: str) -> None:
        path = self._path("delete", key)
        with self._errors("delete"):
            self._connections.ask(partial(Session.remove, path=path))

    def keys(self, after: str | None = None) -> Iterator[str]:
        """A page is one of 256 folders, so that is what memory grows with: 1 MiB for a million objects."""
        first = after or ""
        for folder in self._names("keys", "objects", FOLDER):
            if folder >= first[:2]:
                for key in self._names("keys", f"objects/{folder}", KEY):
                    if key > first and key.startswith(folder):
                        yield key

    def clean(self, before: datetime) -> int:
        # How old they are is in their names, by our own clock. Not all servers tell a file's time.
        parts = [name for name in self._names("clean", "tmp", PART) if made_at(name) < before]
        left = self._names("clean", "tmp", claims.CLAIM)
        work: list[Undo] = [partial(Session.remove, path=f"tmp/{name}") for name in parts]
        work += [partial(claims.expire, claim=f"tmp/{name}", before=before) for name in left]
        with self._errors("clean"):
            return sum(bool(self._connections.ask(removal)) for removal in work)

    def close(self) -> None:
        self._connections.close()

    def _path(self, operation: str, key: str) -> str:
        """Where the object lies. Only keys of ours have a place, so none leads out of the folder."""
        if not KEY.fullmatch(key) and key != MARKER:
            raise StorageRefused(self.name, operation, "not a storage key")
        return f"objects/{key[:2]}/{key}"

    def _begin(self, part: str, session: Session) -> Sending:
        return session.store(part, partial(self._make_folder, session, "tmp"))

    def _fill(self, sending: Sending, next_block: Callable[[], bytes]) -> None:
        # What the source raises is not this storage's error, even if it is an OSError: hence the small steps.
        with sending:
            while data := next_block():
                with self._errors("put"):
                    sending.send(data)
            with self._errors("put"):
                sending.finish()

    def _check_size(self, session: Session, part: str, size: int) -> None:
        held = session.glance(part)
        if held is None:
            raise StorageUnavailable(self.name, "put", "it was removed while it was stored")
        if held != size:
            raise StorageUnavailable(self.name, "put", f"of {size} bytes the server holds {held}")

    def _claim(self, session: Session, path: str, undo: list[Undo]) -> None:
        """Returns when only this put may give the bytes their name, and nobody has it; raises if it is taken.

        Who has the claim may look whether the key is in use, and rename if it is not.
        """
        claim, look = _claim_of(path), partial(self._refuse_if_there, session, path)
        if not claims.wait_for(session, claim, self._lease, look):
            raise StorageUnavailable(self.name, "put", claims.told(claim, self._lease))
        undo.append(partial(claims.give_up, claim=claim))
        self._refuse_if_there(session, path)

    def _refuse_if_there(self, session: Session, path: str) -> None:
        if session.glance(path) is not None:
            raise StorageRefused(self.name, "put", "the key is in use")

    def _take_back(self, undo: list[Undo]) -> None:
        for step in reversed(undo):
            with suppress(StorageError), self._errors("put"):
                self._connections.ask(step)

    def _make_folder(self, session: Session, folder: str) -> None:
        """Makes a folder of ours, and those above it.

        The base folder and its `objects` are not made once an object was seen there, the marker above all. If
        they disappear, the server's disk was unmounted: nothing is to be written to the disk below.
        """
        if not self._seen:
            session.make_base()
            session.make_folder("objects")
        elif not session.has_folder("objects"):
            raise StorageUnavailable(self.name, "put", "its folder is gone: is the server's disk mounted?")
        session.make_folder(folder)

    def _held(self, operation: str, key: str) -> int:
        path = self._path(operation, key)
        with self._errors(operation):
            size = self._connections.ask(partial(Session.size, path=path))
        if size is None:
            raise ObjectMissing(self.name, operation, "there is no such object")
        self._seen = True
        return size

    def _names(self, operation: str, folder: str, shape: re.Pattern[str]) -> list[str]:
        """The names of that shape in a folder, in order; none in a folder that is not there."""
        with self._errors(operation):
            return sorted(
                filter(shape.fullmatch, self._connections.ask(partial(Session.names, folder=folder)))
            )


def _claim_of(path: str) -> str:
    return f"tmp/{posixpath.basename(path)}.claim"
