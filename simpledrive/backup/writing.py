"""A run: what is selected is looked up, its bytes are copied unless they are there, the run is published."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Literal
from uuid import UUID

from simpledrive.backends import Backends
from simpledrive.backup import pruning, sums
from simpledrive.backup.folder import Folder
from simpledrive.backup.runs import BackupError, Content, End, Header, Record, Run, Writer
from simpledrive.backup.snapshot import write_snapshot
from simpledrive.errors import BlobNotFound, DriveError, IntegrityFault, StorageError, StorageUnavailable
from simpledrive.models import now
from simpledrive.moving.flow import Flow
from simpledrive.moving.running import HOPELESS, PAUSES
from simpledrive.moving.selection import Selection
from simpledrive.reading import Reading
from simpledrive.rights import Caller
from simpledrive.sql import Database
from simpledrive.streams.source import Closing, Source
from simpledrive.threads import side_by_side

log = logging.getLogger(__name__)

State = Literal["copied", "there", "gone", "unread"]


@dataclass(frozen=True)
class Kept:
    """What became of a content: copied now, there before, gone with its records meanwhile, or unreadable."""

    content: Content
    state: State
    why: str = ""


@dataclass(frozen=True)
class Written:
    """A run that has ended. `problems` are of the folder's, not of this run's."""

    name: str
    end: End
    pruned: pruning.Pruned
    problems: list[str]


class Backups:
    """Writes runs. Wants the scope admin, everywhere."""

    def __init__(self, database: Database, backends: Backends, reading: Reading) -> None:
        self._database, self._backends, self._reading = database, backends, reading

    @contextmanager
    def begin(self, caller: Caller, path: Path, selection: Selection) -> Iterator[Writing]:
        """A run into that folder: what is selected at this moment.

        Raises Forbidden, and BackupError for a folder that holds another drive's runs, or cannot be used.
        """
        caller.require_everywhere("admin")
        folder, drive, moment = Folder(path), UUID(self._backends.identity()), now()
        with folder.locked():
            _refuse_another_drive(folder, drive)
            header = Header(drive=drive, created_at=moment, selection=selection.as_json())
            with folder.part() as (part, file):
                with folder.errors():
                    selected = write_snapshot(self._database, file, header, selection)
                    file.flush()
                yield Writing(self._reading, folder, Run(part), selected)


class Writing:
    """A run under way: `copied`, to its end, and then `publish`. `selected` is what there is to do."""

    def __init__(self, reading: Reading, folder: Folder, snapshot: Run, selected: End) -> None:
        self._reading, self._folder, self._snapshot, self.selected = reading, folder, snapshot, selected
        self._missing: dict[str, Kept] = {}
        self._is_copied = False
        self._failures: Counter[str] = Counter()

    def copied(self, workers: int, flow: Flow) -> Generator[Kept, None, None]:
        """Copies what is not there, in so many threads, and tells of each content.

        One that cannot be read never stops the rest. Raises BackupError when the folder cannot take any more.
        """
        work = partial(self._copy, flow=flow)
        with closing(side_by_side(work, self._contents(), workers, flow.stop)) as batches:
            for done in batches:
                for _, copied in done:
                    kept = copied.result()
                    if kept.state in ("gone", "unread"):
                        self._missing[kept.content.sha256] = kept
                    yield kept
        self._is_copied = True

    def publish(self, unread: Callable[[Record], object], keep: int | None = None) -> Written:
        """Gives the run its name, and tells of each record whose bytes are not in it.

        Only the latest `keep` runs of the same selection stay then. Raises BackupError, also if `copied` did
        not come to its end: then there is no run.
        """
        if not self._is_copied:
            raise BackupError("Not everything was copied: there is no run yet.")
        folder, header = self._folder, self._snapshot.header()
        folder.settle()
        path = folder.new_run(header.created_at)
        with folder.part() as (part, file):
            with folder.errors():
                writer = Writer(file, header)
                for record in self._judged():
                    writer.add(record)
                    if record.unread is not None:
                        unread(record)
                end = writer.end()
            folder.publish(part, file, path)
        problems = sums.add(folder)
        pruned = pruning.Pruned()
        if keep is not None:
            try:
                pruned = pruning.prune(folder, header.selection, keep)
            except BackupError as error:
                problems.append(f"Nothing was given up: {error}")
        return Written(path.stem, end, pruned, problems)

    def _contents(self) -> Iterator[tuple[Content, str]]:
        """Each content with the home of one of its records."""
        for content, records in groupby(self._snapshot.records(), key=attrgetter("content")):
            yield content, next(records).storage_backend

    def _judged(self) -> Iterator[Record]:
        """The records as they go into the run: without those that are gone, and marked if not readable."""
        for record in self._snapshot.records():
            kept = self._missing.get(record.sha256)
            if kept is None:
                yield record
            elif kept.state == "unread":
                yield record.model_copy(update={"unread": kept.why})

    def _copy(self, wanted: tuple[Content, str], *, flow: Flow) -> Kept:
        """In a thread. Who fails at one home again and again is not asked for what else lies there."""
        content, home = wanted
        if self._folder.holds(content):
            return Kept(content, "there")
        if self._failures[home] >= HOPELESS:
            return Kept(content, "unread", f"{home}: {HOPELESS} contents failed there one after the other")
        try:
            self._keep(content, home, flow)
        except BlobNotFound:
            return Kept(content, "gone")
        except IntegrityFault:
            return Kept(content, "unread", "its bytes are gone or altered at every backend")
        except StorageError as error:
            self._failures[home] += 1
            return Kept(content, "unread", str(error))
        except DriveError:
            raise  # of the folder or the records: nothing else would go better
        except Exception:
            log.exception("a fault while backing up %s", content.sha256)
            return Kept(content, "unread", "a fault of the drive, which its log tells")
        self._failures[home] = 0
        return Kept(content, "copied")

    def _keep(self, content: Content, home: str, flow: Flow) -> None:
        sha256, size = content
        source = Source(size, sha256, lambda: flow.keep(_Portions(self._reading.read(sha256, home, 0, size))))
        for pause in PAUSES:
            try:
                return self._folder.keep(source)
            except StorageUnavailable as error:
                log.warning("trying again: %s", error)
                flow.wait(pause)
        return self._folder.keep(source)


class _Portions(Closing):
    """A reader of what comes in portions."""

    def __init__(self, portions: Generator[bytes, None, None]) -> None:
        self._portions, self._rest = portions, b""

    def read(self, size: int, /) -> bytes:
        data = self._rest or next(self._portions, b"")
        self._rest = data[size:]
        return data[:size]

    def close(self) -> None:
        self._portions.close()


def _refuse_another_drive(folder: Folder, drive: UUID) -> None:
    if not folder.runs():
        return
    if (other := folder.drive()) is None:
        raise BackupError("None of the runs in the folder can be read: nobody knows of which drive they are.")
    if other != drive:
        raise BackupError(f"The folder holds back-ups of another drive, {other}. Name another folder.")
