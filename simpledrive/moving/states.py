"""The states of a migration: what may be asked for in which, what it is then, and what work makes of it."""

from __future__ import annotations

from typing import Literal

from simpledrive.errors import Busy, WrongState
from simpledrive.models import MigrationState

Act = Literal["begin", "pause", "resume", "roll-back", "finalize"]

ASKED: dict[Act, dict[MigrationState, MigrationState]] = {
    "begin": {"planning": "planning", "running": "planning", "paused": "planning", "ended": "planning"},
    "pause": {"planning": "paused", "running": "paused", "paused": "paused"},
    "resume": {"planning": "planning", "running": "running", "paused": "planning"},
    "roll-back": {
        "planning": "rolling_back",
        "running": "rolling_back",
        "paused": "rolling_back",
        "ended": "rolling_back",
        "rolling_back": "rolling_back",
        "rolled_back": "rolling_back",
    },
    "finalize": {"ended": "finalizing", "finalizing": "finalizing", "finalized": "finalized"},
}
"""By act and state, the state after it. What is not here cannot be asked for.

`begin` is the same asked for again; of what has `ended` only if some of it failed.
"""

DONE: dict[MigrationState, MigrationState] = {
    "planning": "running",
    "running": "ended",
    "rolling_back": "rolled_back",
    "finalizing": "finalized",
}
"""What commands and workers bring about. What must not run as it was planned is paused instead."""

States = tuple[MigrationState, ...]

OPEN: States = ("planning", "running", "paused")
"""What is copied may still be switched to: whatever is under way when it is paused comes to its end."""


class Overtaken(Busy):
    """The migration is in another state by now: what was to be written down is not."""


def after(act: Act, state: MigrationState) -> MigrationState:
    """The state after an act. Raises WrongState."""
    if (following := ASKED[act].get(state)) is None:
        raise WrongState(f"It is {state.replace('_', ' ')}.")
    return following
