"""Back-ups: records and bytes of a drive in a folder that outlives it, and the way back into an empty drive.

    README.txt          how to get at the bytes without any drive
    SHA256SUMS          what `sha256sum --check` reads: every run and every object that a run names
    runs/WHEN.jsonl     the records as they were at one moment (UTC), a line each
    objects/ab/DIGEST   bytes, each content once, however many records and runs name it
    tmp/, lock          of a run under way

Nothing in it is ever changed in place: an object or a run gets its name when it is whole and on the disk. So
a run that is killed leaves every earlier one as it was, and the next one copies only what is not there yet.

runs       the format of a run, written, and read with every line checked
regular    a file is opened only if it is one
folder     the folder: names, atomic writing, the lock
snapshot   what the records say at one moment
writing    a run: what is not there yet is copied, then the run gets its name
sums       SHA256SUMS
pruning    giving up old runs, and what only they needed
restoring  a run into an empty drive, gone on with after an interruption
providing  its bytes at a backend: found, adopted or put
recording  the transaction of it
verifying  whether the objects of a run are whole, without any drive
"""

from simpledrive.backup.folder import Folder
from simpledrive.backup.restoring import Restored, Restores
from simpledrive.backup.runs import BackupError, Record, Run
from simpledrive.backup.writing import Backups, Writing, Written

__all__ = ["BackupError", "Backups", "Folder", "Record", "Restored", "Restores", "Run", "Writing", "Written"]
