"""Whole machines in the drive: files that their hosts announce, each content kept once (CONTRACTS, part 3).

A file of a machine is what was last announced of it, and, as soon as its bytes are there, the blob with the
id HOSTNAME/FILEPATH. What it says of mode, owner and times is in the blob's metadata too, so that it is seen
wherever the blob is. Whether there are bytes is asked of the drive each time, and written down nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import TypeVar

from sqlalchemy import select
from sqlalchemy.orm import Session

from simpledrive.drive import Drive, NewBlob
from simpledrive.errors import BlobNotFound, Busy, DigestMismatch, Invalid, PreconditionFailed
from simpledrive.ids import flaw, unprintable, uuid7
from simpledrive.keyset import within
from simpledrive.models import Blob, Condition, MachineFile, now
from simpledrive.records import current
from simpledrive.rights import Caller
from simpledrive.sql import ATTEMPTS, Database, insert
from simpledrive.streams.staging import Staged

MAX_NAME = 255
"""Characters of a host's name, and of its address."""

F = TypeVar("F", bound=Blob | None)


@dataclass(frozen=True)
class Announcement:
    """What a host says of one of its files. Numbers as `stat` has them, times in seconds since 1970."""

    filepath: str
    hostname: str
    ip_address: str
    sha256: str
    file_size: int
    file_mode: int
    file_uid: int
    file_gid: int
    file_mtime: float
    file_atime: float
    file_ctime: float


@dataclass(frozen=True)
class Known:
    """A file that was announced, and the blob with its bytes; None if the caller may read none."""

    file: MachineFile
    blob: Blob | None


class Machines:
    """The files that machines have announced, as far as a caller may know. All calls raise Forbidden."""

    def __init__(self, database: Database, drive: Drive) -> None:
        self._database, self._drive = database, drive

    def announce(self, caller: Caller, said: Announcement) -> Known:
        """Writes down what is said of a file, and gives it its blob if the caller may read its bytes already.

        Without a blob in the answer the bytes have to be sent (`keep`); until then an earlier content stays.
        Said again, nothing changes. Raises Invalid with every field that is not acceptable, what
        Drive.store_known raises, Busy.
        """
        id, problems = _blob_id(said.hostname, said.filepath)
        if (why := _flaw_of_name(said.ip_address)) is not None:
            problems.append(("ip_address", why))
        if problems:
            raise Invalid(*problems)
        caller.require("write", id)
        file = self._noted(id, said)

        def store(new: NewBlob, lacking: Condition) -> Blob | None:
            known = self._drive.store_known(caller, said.sha256, said.file_size, new, lacking)
            return None if known is None else known[0]

        return _known(caller, file, self._filled(caller, file, store))

    def expected(self, caller: Caller, sha256: str, hostname: str, filepath: str) -> MachineFile:
        """The file that was announced with these three. Raises BlobNotFound."""
        id, problems = _blob_id(hostname, filepath)
        if problems:
            caller.require("write")
            raise _not_found()
        caller.require("write", id)
        file = self._database.read(lambda session: _file(session, id))
        if file is None or file.sha256 != sha256:
            raise _not_found()
        return file

    def keep(self, caller: Caller, file: MachineFile, body: Staged, once: str | None = None) -> Blob:
        """Stores the bytes of a file; that they are there already is fine. `body` is closed by its maker.

        Raises DigestMismatch for other bytes than announced, what Drive.store raises, Busy.
        """
        if body.sha256 != file.sha256:
            raise DigestMismatch(f"These bytes have the sha256 {body.sha256}.")

        def store(new: NewBlob, lacking: Condition) -> Blob:
            return self._drive.store(caller, body, replace(new, once=once), lacking)[0]

        return self._filled(caller, file, store)

    def first(self, caller: Caller, sha256: str) -> Known:
        """The file that was announced first of those with this digest. Raises BlobNotFound."""
        caller.require("read")
        query = select(MachineFile).where(MachineFile.sha256 == sha256)
        query = within(query, caller.prefix, MachineFile.blob_id).order_by(MachineFile.id).limit(1)

        def look(session: Session) -> Known | None:
            file = session.scalars(query).one_or_none()
            return None if file is None else _known(caller, file, current(session, file.blob_id))

        known = self._database.read(look)
        if known is None:
            raise _not_found()
        return known

    def _noted(self, id: str, said: Announcement) -> MachineFile:
        """The file's row, as it is now said to be. Written only when that is news."""
        values = asdict(said)
        file = self._database.read(lambda session: _file(session, id))
        if file is not None and all(getattr(file, name) == value for name, value in values.items()):
            return file
        row = values | {"id": str(uuid7()), "blob_id": id, "created_at": now()}

        def work(session: Session) -> MachineFile:
            statement = insert(session, MachineFile).values(row)
            session.execute(statement.on_conflict_do_update(index_elements=["blob_id"], set_=values))
            # Not by RETURNING: SQLite would answer 1.0 as 1.
            return session.scalars(select(MachineFile).where(MachineFile.blob_id == id)).one()

        return self._database.write(work)

    def _filled(
        self, caller: Caller, file: MachineFile, store: Callable[[NewBlob, Condition], F]
    ) -> F | Blob:
        """The file's blob, with its bytes and with what is said of them; `store` makes it where it is not."""

        def lacking(blob: Blob | None) -> bool:
            return not filled(blob)

        def filled(blob: Blob | None) -> bool:
            return blob is not None and blob.sha256 == file.sha256

        metadata = _metadata(file)
        for _ in range(ATTEMPTS):
            blob = self._database.read(lambda session: current(session, file.blob_id))
            # Another request about the same file may be faster: then there is something else to do.
            with suppress(PreconditionFailed, BlobNotFound):
                if blob is None or lacking(blob):
                    return store(NewBlob(id=file.blob_id, metadata=metadata), lacking)
                if metadata.items() <= blob.blob_metadata.items():
                    return blob
                return self._drive.change(caller, file.blob_id, metadata=metadata, only=filled)
        raise Busy("This file is being announced or stored too often at this moment.")


def _known(caller: Caller, file: MachineFile, blob: Blob | None) -> Known:
    readable = blob is not None and blob.sha256 == file.sha256 and "read" in caller.scopes
    return Known(file, blob if readable else None)


def _file(session: Session, blob_id: str) -> MachineFile | None:
    return session.scalars(select(MachineFile).where(MachineFile.blob_id == blob_id)).one_or_none()


def _blob_id(hostname: str, filepath: str) -> tuple[str, list[tuple[str, str]]]:
    """The id of a file's blob, and what is wrong with it, by field. A leading slash is dropped, one."""
    path = filepath.removeprefix("/")
    id = f"{hostname}/{path}"
    if (why := _flaw_of_name(hostname)) is not None:
        return id, [("hostname", why)]
    if "/" in hostname or flaw(hostname) is not None:
        return id, [("hostname", "This is not the name of a host.")]
    if not path:
        return id, [("filepath", "A path has at least one character beside its leading slash.")]
    why = flaw(id)
    return id, [] if why is None else [("filepath", why)]


def _flaw_of_name(text: str) -> str | None:
    if len(text) > MAX_NAME:
        return f"This has at most {MAX_NAME} characters."
    return unprintable(text)


def _metadata(file: MachineFile) -> dict[str, str]:
    """What is said of a file beside its bytes and its name.

    Without the time of the last access: reading a file would change what is recorded of it.
    """
    return {
        "mode": f"{file.file_mode:o}",
        "uid": str(file.file_uid),
        "gid": str(file.file_gid),
        "mtime": repr(file.file_mtime),
        "ctime": repr(file.file_ctime),
    }


def _not_found() -> BlobNotFound:
    return BlobNotFound("No file with this digest was announced, as far as this key may know.")
