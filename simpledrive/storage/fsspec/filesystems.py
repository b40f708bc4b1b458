"""The filesystem of this process: made when it is first asked, kept, and made anew when it broke.

fsspec keeps instances too, for all who ask with the same arguments; that is turned off, and so nobody else
closes ours. A process that was forked makes its own.
"""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from threading import Lock
from typing import TypeVar

from simpledrive.errors import ObjectMissing, StorageError, StorageUnavailable
from simpledrive.storage.fsspec.faults import Meaning, is_timeout, meaning
from simpledrive.storage.fsspec.filesystem import Filesystem
from simpledrive.storage.fsspec.options import FsspecOptions
from simpledrive.storage.repeating import persistently

T = TypeVar("T")

PAUSES = (0.2, 0.8)
"""Seconds before each repetition, at most."""
LOOKING = {"open", "size", "read"}
"""Operations for which a missing file is an answer."""


class Filesystems:
    """Gives the filesystem to whoever asks, and makes storage errors of what goes wrong with it."""

    def __init__(self, name: str, options: FsspecOptions) -> None:
        self._name, self._timeout = name, options.timeout
        self._make, self._arguments = options.implementation, options.arguments
        self._lock = Lock()
        self._made: Future[Filesystem] | None = None
        self._process = os.getpid()

    def ask(self, operation: str, question: Callable[[Filesystem], T]) -> T:
        """What `question` returns. If the connection breaks it is asked again, so it may be done twice."""

        def attempt() -> T:
            with self.using(operation) as filesystem:
                return question(filesystem)

        return persistently(attempt, self._passes, PAUSES)

    @contextmanager
    def using(self, operation: str, filesystem: Filesystem | None = None) -> Iterator[Filesystem]:
        """The filesystem, or the one that was given. Who finds it broken sees to it that the next is new."""
        try:
            filesystem = filesystem or self._current()
            yield filesystem
        except StorageError:
            raise
        except Exception as error:  # implementations raise whatever they like
            if filesystem is not None and filesystem.is_broken_by(error):
                self._drop(filesystem)
            kind, why = self._meaning(operation, error)
            raise kind(self._name, operation, why) from error

    def close(self) -> None:
        with self._lock:
            made, self._made = self._made, None
        if made is not None and made.done() and made.exception() is None:
            made.result().close()

    def _passes(self, error: Exception) -> bool:
        why = error.__cause__ if isinstance(error, StorageUnavailable) else None
        # A server that says nothing would be waited for again, for as long.
        return why is not None and not is_timeout(why) and self._make.is_passing(why)

    def _current(self) -> Filesystem:
        """Of threads that come at once one makes it, and the others share what comes of that."""
        mine: Future[Filesystem] | None = None
        with self._lock:
            if self._made is None or self._process != os.getpid():
                self._process, self._made = os.getpid(), Future()
                mine = self._made
            made = self._made
        if mine is not None:
            try:
                mine.set_result(self._make(self._arguments, self._timeout))
            except BaseException as error:  # noqa: BLE001 (raised below, here and in the threads that wait)
                with self._lock:
                    if self._made is mine:
                        self._made = None
                mine.set_exception(error)
        return made.result()

    def _drop(self, filesystem: Filesystem) -> None:
        with self._lock:
            made = self._made
            if made is None or not made.done() or made.exception() or made.result() is not filesystem:
                return
            self._made = None
        filesystem.close()

    def _meaning(self, operation: str, error: BaseException) -> Meaning:
        if is_timeout(error):
            return StorageUnavailable, f"the server says nothing for {self._timeout:g} s"
        kind, why = self._make.meaning(error) or meaning(error)
        if kind is ObjectMissing and operation not in LOOKING:
            return self._make.gone
        return kind, why
