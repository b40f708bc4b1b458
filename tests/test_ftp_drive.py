"""A drive on an FTP server whose transfers break at any byte.

What each face says of faults is in test_drive_faults.py, for every kind alike.
"""

from collections.abc import Callable, Iterator

import pytest
from flask import Flask

from simpledrive.errors import IntegrityFault
from simpledrive.parts import Parts
from simpledrive.rights import SERVER
from tests.drives import PIECE, fetch, keep
from tests.ftp_faults import Break, Faults, FaultyFtp, What
from tests.ftp_servers import FtpServer
from tests.sources import content

DATA = content(8 << 20)
"""More than a connection has on its way at a time, all of which a reset may take along."""
LATE = len(DATA) - 1


@pytest.fixture
def proxy(pyftpdlib: FtpServer) -> Iterator[FaultyFtp]:
    with FaultyFtp(pyftpdlib.port) as proxy:
        yield proxy


@pytest.fixture
def app(make_app: Callable[..., Flask], pyftpdlib: FtpServer, proxy: FaultyFtp) -> Flask:
    """An app whose default backend is the server, behind the proxy."""
    config = pyftpdlib.config(port=proxy.port, timeout=0.5, base_dir=f"drive-{proxy.port}")
    return make_app(backends={"ftp": config}, storage_backend="ftp")


@pytest.mark.parametrize(
    ("what", "at"),
    [
        *[("corrupt", 5), ("corrupt", PIECE + 5), ("corrupt", LATE)],
        *[("stall", PIECE + 5), ("stall", LATE), ("close", PIECE + 5), ("close", LATE)],
        ("reset", LATE),  # earlier, nothing may have been read yet of what it takes along
    ],
)
def test_a_transfer_that_breaks_on_the_way_is_not_noticed(
    app: Flask, proxy: FaultyFtp, what: What, at: int
) -> None:
    parts: Parts = app.extensions["simpledrive"]
    keep(parts, "a", DATA)
    proxy.faults = Faults(download=Break(at, what))
    assert fetch(parts, "a") == DATA


@pytest.mark.parametrize(("start", "stop"), [(0, None), (3 * PIECE + 100, 3 * PIECE + 200)])
def test_a_piece_that_is_corrupted_each_time_is_never_passed_on(
    app: Flask, proxy: FaultyFtp, start: int, stop: int | None
) -> None:
    parts: Parts = app.extensions["simpledrive"]
    keep(parts, "a", DATA)
    proxy.faults = Faults(download=Break(150, "corrupt", times=9))
    portions = parts.drive.read(SERVER, parts.drive.describe(SERVER, "a"), start, stop)
    with pytest.raises(IntegrityFault):
        next(portions)
    keep(parts, "b", DATA, "local")
    assert fetch(parts, "a", start, stop) == DATA[start:stop]
