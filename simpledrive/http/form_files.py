"""Files of forms, on their way into staging, and how large each may be."""

from __future__ import annotations

from dataclasses import dataclass

from simpledrive.errors import DriveError, TooLarge
from simpledrive.http.current import caller, parts
from simpledrive.streams.staging import Arrival, Staged


@dataclass(frozen=True)
class FileLimit:
    """The most bytes that one file of a form may have, and what is raised for one that has more."""

    most: int
    error: DriveError


def file_limit(most: int | None = None, too_large: str = "") -> FileLimit | None:
    """What limits a file that this caller sends now: his room in the drive, or `most` where that is less."""
    room = parts().drive.room(caller())
    if most is not None and (room is None or most <= room):
        return FileLimit(most, TooLarge(too_large))
    return None if room is None else FileLimit(room, parts().drive.refusal(caller(), room))


class FormFile:
    """One file of a form, on its way into staging: what Werkzeug writes to and what the view takes.

    A file that cannot be received (TooLarge, StagingFull) fails alone: the rest of it is passed over, the
    form goes on, and `finish` raises what went wrong.
    """

    def __init__(self, arrival: Arrival, too_large: DriveError | None) -> None:
        self._arrival, self._too_large = arrival, too_large
        self._error: DriveError | None = None

    def write(self, data: bytes) -> int:
        if self._error is None:
            try:
                self._arrival.write(data)
            except DriveError as error:
                self._error = self._too_large if isinstance(error, TooLarge) else error
                self._arrival.close()
        return len(data)

    def finish(self) -> Staged:
        """The whole file. The caller closes it."""
        if self._error is not None:
            raise self._error
        return self._arrival.finish()

    def seek(self, offset: int, whence: int = 0) -> int:
        return 0  # Werkzeug rewinds when a file is complete; Staged is opened from the start anyway

    def close(self) -> None:
        self._arrival.close()
