"""The transactions that change what is recorded of a blob.

Each is an object with two methods for `Database.write`: one that does it, and may have to a second time, and
`happened`, which finds out whether it did when the connection broke around COMMIT. Storages are not called
from here: the bytes lie at their backend before, and stay there. What was done is noted in the audit log in
the same transaction.
"""

from simpledrive.records.change import Change, say
from simpledrive.records.recording import Recording, Wanted
from simpledrive.records.removal import Deletion, Erasure
from simpledrive.records.restoration import Restoration
from simpledrive.records.rows import allow, at_version, current, locked, not_found

__all__ = [
    "Change",
    "Deletion",
    "Erasure",
    "Recording",
    "Restoration",
    "Wanted",
    "allow",
    "at_version",
    "current",
    "locked",
    "not_found",
    "say",
]
