"""Knowing that the bytes are right, and mending what is not.

Verifying reads replicas in full and compares digests; what it finds is recorded at once, so it may be
interrupted anywhere and begin again with what was read longest ago. A replica is only ever written from
another one that was just read and right, under a fresh key, and swapped in by one transaction. Where a
backend does not answer, or is not this drive's, nothing is known of its bytes: nothing is marked or removed.

due           which replicas are to be read, in which order
checking      one of them read
recording     what was found, in the database
repairing     one that is bad written again
verifying     many, side by side (threads)
scrubbing     all of them, little by little, for ever
soundness     what is known of each backend
fsck          records, objects and counters compared: comparing, accounts; findings
pages         how rows are looked at, however many there are
"""

from simpledrive.integrity.fsck import Fsck
from simpledrive.integrity.scrubbing import Scrubber
from simpledrive.integrity.soundness import Soundness
from simpledrive.integrity.verifying import Verifier

__all__ = ["Fsck", "Scrubber", "Soundness", "Verifier"]
