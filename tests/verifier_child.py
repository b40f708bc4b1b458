"""Verifies and repairs in a process of its own, which kills itself at one step of that."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from simpledrive import create_app
from simpledrive.integrity import verifying
from simpledrive.integrity.repairing import Repairs
from simpledrive.moving.copying import Copies
from simpledrive.storage.measured import MeasuredStorage
from simpledrive.streams.source import VerifyingReader
from tests.apps import settings_for
from tests.damage import verify
from tests.mover_child import die_at

STEPS: dict[str, tuple[Any, str, bool]] = {
    "a byte was read": (VerifyingReader, "read", True),
    "what is right is noted, not yet committed": (verifying, "note_right", True),
    "something is found bad, not yet marked": (Repairs, "settle", False),
    "it is marked bad": (Repairs, "repair", False),
    "the copy is put": (MeasuredStorage, "put", True),
    "the copy is read back": (Copies, "_read_back", True),
    "the copy is swapped in, not yet committed": (Repairs, "_swap", True),
    "the copy is swapped in, the bad one not removed": (MeasuredStorage, "delete", False),
}
"""Each step: whose method it is at which the process dies, and whether that is when it has returned."""


def main() -> None:
    folder, step = sys.argv[1:]
    app = create_app(settings_for(Path(folder)))
    die_at(*STEPS[step], 2)
    verify(app.extensions["simpledrive"], "local", repair=True, threads=2)


if __name__ == "__main__":
    main()
