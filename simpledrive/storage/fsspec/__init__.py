"""Bytes where the library fsspec leads: SFTP, WebDAV, Google Cloud Storage, Azure (docs/backends.md).

storage          the promise of storage.base, in questions to a filesystem
reading          an object's bytes on their way here
options          what can be configured
filesystems      a process's filesystem: made, kept, and asked a second time
implementations  which implementations of fsspec there are for the drive
filesystem       what is asked of each, and below it each: local, sftp, webdav; gcs and azure, both objects
faults           what becomes of an implementation's errors
"""

from simpledrive.storage.fsspec.storage import FsspecStorage

__all__ = ["FsspecStorage"]
