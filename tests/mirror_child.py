"""Catches up with a mirror in a process of its own, which kills itself at one step of making a copy."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from simpledrive import create_app
from simpledrive.mirroring import catching_up
from simpledrive.mirroring.search import Search
from simpledrive.mirroring.waiting import Waiting
from simpledrive.moving.copying import Copies
from simpledrive.replicas import Replicas
from simpledrive.storage.measured import MeasuredStorage
from simpledrive.streams.source import VerifyingReader
from tests.apps import settings_for
from tests.mirrored import catch_up
from tests.mover_child import die_at

STEPS: dict[str, tuple[Any, str, bool]] = {
    "a search has begun": (Search, "_begin", True),
    "what lacks is half written down": (Search, "_settle", True),
    "something is leased": (Waiting, "take", True),
    "a byte of the home was read": (VerifyingReader, "read", True),
    "the bytes are about to be put": (MeasuredStorage, "put", False),
    "the bytes are put": (MeasuredStorage, "put", True),
    "the copy is read back": (Copies, "_read_back", True),
    "the copy's row is written": (Replicas, "record_new", True),
    "the copy is no longer wanted, not yet committed": (catching_up, "want_no_more", True),
}
"""Each step: whose method it is at which the process dies, and whether that is when it has returned."""


def main() -> None:
    folder, step, times, settings = sys.argv[1:]
    app = create_app(settings_for(Path(folder), **json.loads(settings)))
    die_at(*STEPS[step], int(times))
    catch_up(app.extensions["simpledrive"])


if __name__ == "__main__":
    main()
