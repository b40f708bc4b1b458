"""The tables, and what the database itself guarantees.

`blob_metadata` and `blob_history` reference `replicas (sha256, storage_backend)`: no record without a replica
is a foreign key, not a habit. All writing goes through `Database.write` (sql.py), one short transaction
each, and touches replicas in the order (sha256, storage_backend). Requests never delete a replica.

stored      the drive, blobs, their history, the replicas with their bytes, and what verifying has found
migrations  what was to move, and what became of it
mirrors     which copies are missing at mirrors
access      keys, sessions, reservations, replays, the audit log
machines    what PutPlace's contract knows of machines
base        what all of them share
"""

from simpledrive.models.access import ApiKey, AuditEntry, EndedSession, Replay, Reservation
from simpledrive.models.base import BYTEWISE, Base, Leased, Moment, UTCDateTime, db, now
from simpledrive.models.machines import MachineFile
from simpledrive.models.migrations import ItemState, Migration, MigrationItem, MigrationState
from simpledrive.models.mirrors import MirrorSearch, WantedCopy
from simpledrive.models.stored import (
    NAMED_LIKE_A_UUID,
    BackendUsage,
    Blob,
    BlobHistory,
    Condition,
    DriveRow,
    Replica,
    Verification,
)

__all__ = [
    "BYTEWISE",
    "NAMED_LIKE_A_UUID",
    "ApiKey",
    "AuditEntry",
    "BackendUsage",
    "Base",
    "Blob",
    "BlobHistory",
    "Condition",
    "DriveRow",
    "EndedSession",
    "ItemState",
    "Leased",
    "MachineFile",
    "Migration",
    "MigrationItem",
    "MigrationState",
    "MirrorSearch",
    "Moment",
    "Replay",
    "Replica",
    "Reservation",
    "UTCDateTime",
    "Verification",
    "WantedCopy",
    "db",
    "now",
]
