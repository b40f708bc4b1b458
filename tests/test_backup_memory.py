"""Memory stays flat, however many records a run has: the peak of a process that backs up, or brings back."""

import os
import re
import traceback
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import insert, select

from simpledrive import create_app
from simpledrive.models import Blob
from simpledrive.parts import Parts
from simpledrive.rights import SERVER
from simpledrive.usage import count
from tests.backups import MakeDrive, back_up, bring_back
from tests.drives import keep
from tests.needs import need
from tests.sources import content

MIB = 1 << 20
MOST = 20 * MIB
RECORDS = 60_000
CONTENTS = 200


def rise(parts: Parts, work: Callable[[Parts], object]) -> int:
    """How much memory a process of its own takes to do this to the same drive, beyond what it began with."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            own: Parts = create_app(parts.settings).extensions["simpledrive"]
            keep(own, "warm", b"once through everything")
            own.drive.delete(SERVER, "warm", permanent=True)
            Path("/proc/self/clear_refs").write_text("5")  # sets VmHWM back to what is in use now
            before = highest()
            work(own)
            os.write(writer, str(highest() - before).encode())
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader) as said:
        risen = said.read()
    os.waitpid(child, 0)
    return int(risen)


def highest() -> int:
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) * 1024


def fill(parts: Parts) -> None:
    for seed in range(CONTENTS):
        keep(parts, f"{seed}", content(10, seed))
    templates = parts.database.read(
        lambda session: [row.described() for row in session.scalars(select(Blob))]
    )
    for start in range(0, RECORDS, 5000):
        rows = [
            templates[number % CONTENTS] | {"pk": uuid4(), "id": f"a file with a name, number {number:08}"}
            for number in range(start, start + 5000)
        ]

        def add(session, rows=rows) -> None:
            session.execute(insert(Blob), rows)
            count(session, "local", blobs=len(rows))

        parts.database.write(add)


@pytest.mark.soak
def test_sixty_thousand_records_go_there_and_back(parts: Parts, folder: Path, make_drive: MakeDrive) -> None:
    need("procfs")
    fill(parts)
    assert rise(parts, lambda own: back_up(own, folder, keep=1)) < MOST
    assert rise(parts, lambda own: back_up(own, folder, keep=1)) < MOST
    other = make_drive("other")
    assert rise(other, lambda own: bring_back(own, folder)) < MOST
    assert len(other.listing.page(SERVER, limit=2 * RECORDS).blobs) == RECORDS + CONTENTS
