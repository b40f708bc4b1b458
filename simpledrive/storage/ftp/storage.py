"""Bytes in the files of an FTP server: `BASE/objects/ab/KEY`, and `BASE/tmp/` for those in the making.

FTP has no word for "on the disk". When `put` returns, the server has acknowledged the bytes, has said that
it holds as many as were sent, and has given them their name; whether a power cut at the server takes them
back is up to the server. A truncated file is acknowledged like a whole one, so it is the size that counts
(docs/ftp.md). This module checks no digests, and speaks no FTP: session.py does.
"""

import posixpath
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial

from simpledrive.errors import StorageUnavailable
from simpledrive.storage.folders import FolderStorage, Question, T, removal
from simpledrive.storage.ftp.connections import Connections
from simpledrive.storage.ftp.faults import storage_errors
from simpledrive.storage.ftp.options import FtpOptions
from simpledrive.storage.ftp.reading import Range
from simpledrive.storage.ftp.session import Session
from simpledrive.storage.ftp.transfers import Sending
from simpledrive.streams.ahead import blocks_of
from simpledrive.streams.source import Source


class FtpStorage(FolderStorage[Session]):
    """The folder is made when it is first written to. Paths are relative to it."""

    kind = "ftp"
    Options = FtpOptions

    def __init__(self, name: str, options: FtpOptions) -> None:
        super().__init__(name, options, options.timeout)
        self._options = options
        self._connections = Connections(options.server())
        self._errors = partial(storage_errors, name, options.timeout)

    @property
    def where(self) -> str:
        host = f"[{self._options.host}]" if ":" in self._options.host else self._options.host
        way = "" if self._options.tls == "off" else " with TLS"
        return f"ftp://{host}:{self._options.port}/{self._options.base_dir}{way}"

    def put(self, key: str, source: Source) -> None:
        path, part = self._path("put", key), self._new_part()
        undo: list[Question[Session, object]] = [removal(part)]
        with self._taken.taking(key) as unused, blocks_of(source) as next_block:
            with self._errors("put"):
                session, sending = self._connections.hold(partial(self._begin, part))
            make_folder = partial(self._make_folder, session, posixpath.dirname(path))

            def look() -> None:
                self._refuse_if_there(session.glance(path))

            try:
                self._fill(sending, next_block)
                with self._errors("put"):
                    self._check_size(session.glance(part), source.size)
                    with nullcontext() if unused else self._claimed(session, path, look, undo):
                        session.rename(part, path, make_folder)
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

    def close(self) -> None:
        self._connections.close()

    def _ask(self, operation: str, question: Question[Session, T]) -> T:
        with self._errors(operation):
            return self._connections.ask(question)

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
