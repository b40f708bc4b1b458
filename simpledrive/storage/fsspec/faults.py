"""What an error of fsspec, or of a library below it, comes to. No text of theirs is passed on.

Their texts hold URLs, paths and what a server said; so only codes and sentences of our own leave here.
"""

import errno
import os
import ssl
from collections.abc import Iterator

from simpledrive.errors import (
    ObjectMissing,
    StorageError,
    StorageFull,
    StorageRefused,
    StorageUnavailable,
)

Meaning = tuple[type[StorageError], str]

MISSING: Meaning = (ObjectMissing, "there is no such object")
TAKEN: Meaning = (StorageRefused, "the key is in use")

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
REFUSED = {errno.EACCES, errno.EPERM, errno.EROFS}
FULL_STATUS = {413, 507}
PASSING_STATUS = {408, 409, 423, 425, 429}


def meaning(error: BaseException) -> Meaning:
    """What an error means that no implementation knows better."""
    for cause in causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return StorageRefused, f"the server's certificate is not trusted: {cause.verify_message}"
    if isinstance(error, FileNotFoundError):
        return MISSING
    if isinstance(error, FileExistsError):
        return TAKEN
    if isinstance(error, OSError) and error.errno:
        why = os.strerror(error.errno)
        if error.errno in FULL:
            return StorageFull, why
        return (StorageRefused if error.errno in REFUSED else StorageUnavailable), why
    if isinstance(error, PermissionError):
        return StorageRefused, "the server refuses"
    return StorageUnavailable, type(error).__name__


def by_status(status: int) -> Meaning:
    """What an HTTP status means that is none of success."""
    if status == 404:
        return MISSING
    if status == 412:
        return TAKEN
    if status == 401:
        return StorageRefused, "the login is refused (401)"
    if status in FULL_STATUS:
        return StorageFull, f"no room ({status})"
    if status in PASSING_STATUS or status >= 500:
        return StorageUnavailable, f"not now ({status})"
    return StorageRefused, f"the server refuses ({status})"


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error, and what it came of."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def is_timeout(error: BaseException) -> bool:
    """Whether somebody was waited for in vain."""
    return any(isinstance(cause, TimeoutError) for cause in causes(error))
