"""The bytes of a back-up at a backend: found there, taken over, or put; in any case read in full before."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from simpledrive.backends import Backends
from simpledrive.backup.folder import Folder
from simpledrive.backup.runs import BackupError, Content
from simpledrive.errors import BadRequest, IntegrityFault, ObjectMissing, StorageUnavailable
from simpledrive.moving.flow import Flow
from simpledrive.moving.running import PAUSES
from simpledrive.replicas import Provided, Replicas
from simpledrive.streams.ahead import drain
from simpledrive.streams.pieces import Summing
from simpledrive.streams.source import BLOCK, Source
from simpledrive.streams.staging import Incoming, Staging

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Found:
    """Bytes that lie at their backend. `is_read`: every one was read there just now, and is right.

    `is_adopted`: as an object that another drive has put.
    """

    provided: Provided
    is_read: bool = True
    is_adopted: bool = False


class Provider:
    """Provides contents of a back-up at backends of the drive. Safe from several threads."""

    def __init__(self, backends: Backends, replicas: Replicas, staging: Staging, folder: Folder) -> None:
        self._backends, self._replicas = backends, replicas
        self._staging, self._folder = staging, folder

    def provide(self, content: Content, backend: str, adopted: str | None) -> Found:
        """These bytes at that backend; as the object with the key `adopted`, if that has them.

        Raises BackupError if they are not in the folder, IntegrityFault if they read back wrong, StagingFull,
        StorageError. Then nothing is left.
        """
        known = self._replicas.found(content.sha256, backend)
        if known is not None:
            return Found(known, is_read=False)
        if adopted is not None and (there := self._adopted(content, backend, adopted)) is not None:
            return Found(there, is_adopted=True)
        for pause in PAUSES:
            try:
                return self._stored(content, backend)
            except StorageUnavailable as error:
                log.warning("trying again: %s", error)
                Flow().wait(pause)
        return self._stored(content, backend)

    def _adopted(self, content: Content, backend: str, key: str) -> Provided | None:
        storage, sums = self._backends.use(backend), Summing()
        try:
            with Source(content.size, content.sha256, lambda: storage.open(key)).open() as reader:
                while data := reader.read(BLOCK):
                    sums.update(data)
        except (IntegrityFault, ObjectMissing) as error:
            log.warning("not adopted, and restored instead: %s", error)
            return None
        return Provided(content.sha256, backend, key, sums.pieces(), fresh=False)

    def _stored(self, content: Content, backend: str) -> Found:
        reader = self._folder.open(content)
        try:
            body = Incoming(reader, content.size, {"sha256": bytes.fromhex(content.sha256)})
            with self._staging.receive(body) as staged:
                known = self._replicas.find(staged.sha256, backend)
                provided = self._replicas.provide(staged.source, staged.pieces, backend, known)
        except BadRequest as error:
            raise BackupError(self._folder.altered(content.sha256)) from error
        finally:
            reader.close()
        try:
            self._read_back(provided)
        except BaseException:
            self._replicas.forget(provided)
            raise
        return Found(provided)

    def _read_back(self, provided: Provided) -> None:
        storage = self._backends.use(provided.backend)
        opener = lambda: storage.open(provided.key)  # noqa: E731
        try:
            drain(Source(provided.pieces.size, provided.sha256, opener))
        except (IntegrityFault, ObjectMissing) as error:
            raise IntegrityFault(f"{provided.backend}: what was just put there reads back wrong") from error
