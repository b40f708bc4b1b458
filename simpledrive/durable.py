"""Files and folders that are still there after a power cut: what is written is also brought to the disk."""

import errno
import os
from contextlib import suppress
from pathlib import Path


def make_folder(folder: Path) -> None:
    """Makes a folder and all that are missing above it, each one's entry synced, for nobody else's eyes."""
    if not folder.is_dir():
        make_folder(folder.parent)
        with suppress(FileExistsError):
            folder.mkdir(0o700)
        sync(folder.parent)


def sync(path: Path) -> None:
    """Brings a file's bytes, or a folder's entries, to the disk."""
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    except OSError as error:
        # Some network file systems cannot sync a folder; they promise its entries by themselves.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP) or not path.is_dir():
            raise
    finally:
        os.close(file)


def write_all(file: int, data: bytes | bytearray) -> None:
    """Writes all of it, however little the system takes at a time."""
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]
