"""Files of a back-up are opened only if they are files: somebody may have put anything in their place."""

from __future__ import annotations

import errno
import os
import stat
from io import FileIO
from pathlib import Path


class NotRegular(OSError):
    """A folder, a pipe that would be waited for, a device that never ends."""

    def __init__(self) -> None:
        super().__init__(errno.EINVAL, "it is no regular file")


def open_regular(path: Path) -> FileIO:
    """The file, to be read from, unbuffered. Raises OSError; NotRegular at once for whatever is no file."""
    file = FileIO(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK))
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise NotRegular
    return file
