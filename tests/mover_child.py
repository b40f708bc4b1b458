"""Works at a migration in a process of its own, which kills itself at one step of moving a blob."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable
from functools import wraps
from itertools import count
from pathlib import Path
from typing import Any

from simpledrive import create_app
from simpledrive.moving import running, work
from simpledrive.moving.copying import Copies
from simpledrive.moving.leasing import Leases
from simpledrive.moving.planning import Planning
from simpledrive.moving.returning import Return
from simpledrive.moving.switching import Switch
from simpledrive.parts import Parts
from simpledrive.replicas import Replicas
from simpledrive.storage.measured import MeasuredStorage
from simpledrive.streams.source import VerifyingReader
from simpledrive.upkeep import Upkeep
from tests.apps import settings_for
from tests.drives import impatient
from tests.moves import begin, roll_back, run

Step = tuple[Any, str, bool]
"""Whose method it is at which the process dies, and whether that is when it has returned."""

MOVING: dict[str, Step] = {
    "the plan is half written": (Planning, "_add", True),
    "the plan is written, and is not yet what is to move": (Planning, "_accept", True),
    "half of the plan is to move": (Planning, "_take_on", True),
    "the plan is complete, not yet committed": (Planning, "_start", True),
    "something is leased": (Leases, "take", True),
    "a byte of the source was read": (VerifyingReader, "read", True),
    "the bytes are about to be put": (MeasuredStorage, "put", False),
    "the bytes are put": (MeasuredStorage, "put", True),
    "the copy is read back": (Copies, "_read_back", True),
    "the copy's row is written": (Replicas, "record_new", True),
    "the homes are switched, not yet committed": (Switch, "switch", True),
    "the homes are switched": (running, "Outcome", False),
    "all are switched, the end is not noted": (work, "_end", False),
}
GOING_BACK: dict[str, Step] = {
    "it is looked whether the old copy is there": (Return, "_reason", True),
    "the homes are switched back, not yet committed": (Return, "_switch", True),
    "all are back, the end is not noted": (work, "_done", False),
}
SWEEPING: dict[str, Step] = {
    "the old copy's row is gone, not yet committed": (Upkeep, "_let_go", True),
    "the old copy's row is gone": (MeasuredStorage, "delete", False),
    "the old copy is gone": (MeasuredStorage, "delete", True),
}


def move(parts: Parts, target: str) -> None:
    told: Counter[str] = Counter()
    for outcome in run(parts, begin(parts, target=target)):
        told[outcome.state] += outcome.records
    print(json.dumps(told))


def go_back(parts: Parts, migration: str) -> None:
    roll_back(parts, migration)


def sweep(parts: Parts, _: str) -> None:
    impatient(parts).sweep()


ACTS: dict[str, tuple[Callable[[Parts, str], None], dict[str, Step]]] = {
    "move": (move, MOVING),
    "go back": (go_back, GOING_BACK),
    "sweep": (sweep, SWEEPING),
}
"""What can be done, and the steps of it."""


def die_at(owner: Any, name: str, after: bool, times: int) -> None:
    """Has this process killed by the method's call number `times`."""
    method: Callable[..., Any] = getattr(owner, name)
    calls = count(1)

    @wraps(method)
    def deadly(*arguments: Any, **named: Any) -> Any:
        is_the_one = next(calls) == times
        if is_the_one and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        result = method(*arguments, **named)
        if is_the_one:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, deadly)


def main() -> None:
    folder, act, step, times, argument, settings = sys.argv[1:]
    app = create_app(settings_for(Path(folder), **json.loads(settings)))
    do, steps = ACTS[act]
    if step:
        die_at(*steps[step], int(times))
    running.AHEAD = 1  # so that each step comes several times
    do(app.extensions["simpledrive"], argument)


if __name__ == "__main__":
    main()
