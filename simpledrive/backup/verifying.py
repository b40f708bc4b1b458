"""Whether the objects that a run needs are whole: by the folder alone, without any drive."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

from simpledrive.backup.folder import Folder
from simpledrive.backup.runs import BackupError, Content, Run
from simpledrive.backup.window import Window
from simpledrive.errors import IntegrityFault
from simpledrive.streams.ahead import drain
from simpledrive.streams.source import Source


@dataclass(frozen=True)
class Verified:
    """A content of a run; `why` is what is wrong with its object, or empty."""

    content: Content
    why: str = ""


def verify(folder: Folder, run: Run, workers: int) -> Generator[Verified, None, None]:
    """Reads every object that the run needs, in so many threads, and tells of each."""
    with Window[Verified](workers) as window:
        for content in run.contents():
            yield from window.submit(_verified, folder, content)
        yield from window.rest()


def _verified(folder: Folder, content: Content) -> Verified:
    try:
        drain(Source(content.size, content.sha256, lambda: folder.open(content)))
    except BackupError as error:
        return Verified(content, str(error))
    except IntegrityFault:
        return Verified(content, folder.altered(content.sha256))
    return Verified(content)
