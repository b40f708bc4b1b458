"""One replica, read in full and judged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from simpledrive.backends import Backends
from simpledrive.errors import DriveError, IntegrityFault, ObjectMissing, StorageError, StorageUnavailable
from simpledrive.models import Replica
from simpledrive.moving.flow import Flow, Stopped
from simpledrive.streams.pieces import Summing
from simpledrive.streams.source import BLOCK, Source

State = Literal["right", "wrong", "missing", "unread", "gone", "repaired"]
"""`unread`: nothing is known of its bytes, as its backend does not give them. `gone`: swept, written anew
or marked bad while it was read: whoever did so knows more."""

NOT_THERE = "It is not there."

PAUSES = (0.5, 2.0)
"""Seconds before what failed by something that may pass is tried again."""


@dataclass(frozen=True)
class Verdict:
    """What a replica was found to be, and why if it is not right.

    `sums` are those of its pieces as they were read; only of one that was marked bad.
    """

    replica: Replica
    state: State
    why: str = ""
    sums: bytes | None = None


class Checker:
    """Reads replicas and says what they are. Records nothing."""

    def __init__(self, backends: Backends) -> None:
        self._backends = backends

    def check(self, replica: Replica, flow: Flow) -> Verdict:
        """Reads all of it. Raises Stopped.

        Wrong is what was wrong twice: bytes may also change on their way. Wrong or missing is only what lies
        at a backend whose marker is there and this drive's.
        """
        pauses = iter(PAUSES)
        was_wrong = False
        while True:
            try:
                return Verdict(replica, "right", sums=self._read(replica, flow))
            except IntegrityFault as error:
                if was_wrong:
                    return self.judged(replica, "wrong", str(error))
                was_wrong = True
            except ObjectMissing:
                return self.judged(replica, "missing", NOT_THERE)
            except Stopped:
                raise
            except DriveError as error:
                pause = next(pauses, None) if isinstance(error, StorageUnavailable) else None
                if pause is None:
                    return Verdict(replica, "unread", str(error))
                flow.wait(pause)

    def judged(self, replica: Replica, state: State, why: str) -> Verdict:
        """That, unless the whole place is another one, or out of reach."""
        try:
            self._backends.check(replica.storage_backend)
        except StorageError as error:
            return Verdict(replica, "unread", str(error))
        return Verdict(replica, state, why)

    def _read(self, replica: Replica, flow: Flow) -> bytes | None:
        storage = self._backends.use(replica.storage_backend)
        source = Source(replica.size, replica.sha256, lambda: flow.keep(storage.open(replica.storage_key)))
        summing = None if replica.bad_at is None else Summing()
        with source.open() as reader:
            while data := reader.read(BLOCK):
                if summing is not None:
                    summing.update(data)
        return None if summing is None else summing.pieces().sums
