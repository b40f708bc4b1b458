"""Whether the objects that a run needs are whole: by the folder alone, without any drive."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from functools import partial

from simpledrive.backup.folder import Folder
from simpledrive.backup.runs import BackupError, Content, Run
from simpledrive.errors import IntegrityFault
from simpledrive.streams.ahead import drain
from simpledrive.streams.source import Source
from simpledrive.threads import side_by_side


@dataclass(frozen=True)
class Verified:
    """A content of a run; `why` is what is wrong with its object, or empty."""

    content: Content
    why: str = ""


def verify(folder: Folder, run: Run, workers: int) -> Generator[Verified, None, None]:
    """Reads every object that the run needs, in so many threads, and tells of each."""
    with closing(side_by_side(partial(_verified, folder), run.contents(), workers)) as batches:
        for done in batches:
            for _, verified in done:
                yield verified.result()


def _verified(folder: Folder, content: Content) -> Verified:
    try:
        drain(Source(content.size, content.sha256, lambda: folder.open(content)))
    except BackupError as error:
        return Verified(content, str(error))
    except IntegrityFault:
        return Verified(content, folder.altered(content.sha256))
    return Verified(content)
