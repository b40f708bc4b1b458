"""Moving blobs between backends while people read and write, every byte compared.

A move adds a replica at the target, reads it back in full, compares digests, and only then switches the homes
in one transaction; the old replica is kept for a while, to go back to, and swept after that. It may be
interrupted anywhere and gone on with: what is done is done, and nothing is ever half moved.

selection    which records are to be moved
elsewhere    those that lie elsewhere than the rules say
states       what may be asked of a migration in which state, and what follows
migrations   the records of it all: asking for what is to happen; rows: one of them
work         bringing it about; jobs: by workers, of their own accord
planning     what is to move at this moment
leasing      which worker is at work on what
running      one worker's part: copy, compare, switch
copying      a copy that was read back; flow: how fast
switching    the transaction of a move
tally        how far a migration has come
returning    going back, and no longer being able to
one          one blob, because somebody asked for it
"""

from simpledrive.moving.jobs import MigrationJobs
from simpledrive.moving.migrations import Migrations
from simpledrive.moving.one import Mover
from simpledrive.moving.running import Outcome
from simpledrive.moving.selection import Selection
from simpledrive.moving.work import MigrationWork

__all__ = ["MigrationJobs", "MigrationWork", "Migrations", "Mover", "Outcome", "Selection"]
