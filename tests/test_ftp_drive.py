"""A drive on an FTP server with faults: what the three faces say, and what is left afterwards."""

import logging
from collections.abc import Callable, Iterator
from copy import deepcopy

import pytest
from flask import Flask

from simpledrive.errors import IntegrityFault
from simpledrive.parts import Parts
from simpledrive.rights import SERVER
from tests.apps import BEARER
from tests.drives import PIECE, check, fetch, keep, objects, replicas
from tests.ftp_faults import Break, Faults, FaultyFtp, What
from tests.ftp_servers import PASSWORD, FtpServer
from tests.problems import assert_problem
from tests.sources import content
from tests.visitors import Visitor

DATA = content(24 << 20)
"""More than the buffers of the system hold."""
FORM = 400_000
"""The test client keeps no more than 500 KiB of a form in memory, and forgets to close the file beyond."""
TIMEOUT = 1


@pytest.fixture
def proxy(pyftpdlib: FtpServer) -> Iterator[FaultyFtp]:
    with FaultyFtp(pyftpdlib.port) as proxy:
        yield proxy


@pytest.fixture
def app(make_app: Callable[..., Flask], pyftpdlib: FtpServer, proxy: FaultyFtp) -> Flask:
    config = pyftpdlib.config(port=proxy.port, timeout=TIMEOUT, base_dir=f"drive-{proxy.port}")
    settings = {f"ftp_{option}": value for option, value in config.items() if option != "kind"}
    return make_app(**settings, storage_backend="ftp")


REFUSALS = {
    "503 and when to come again": (Faults(answers={"STOR": "451 A disk error."}), 503, "storage-unavailable"),
    "503 for a connection that breaks": (Faults(upload=Break(9, "reset")), 503, "storage-unavailable"),
    "503 for a server that stalls": (Faults(upload=Break(9, "stall")), 503, "storage-unavailable"),
    "503 for a reply that is lost": (Faults(lost={"STOR": "reset"}), 503, "storage-unavailable"),
    "503 for a truncated file": (Faults(upload=Break(9, "close")), 503, "storage-unavailable"),
    "502 for a refusal": (Faults(answers={"STOR": "553 You may not."}), 502, "storage-refused"),
    "507 for a full disk": (Faults(answers={"STOR": "552 Quota."}), 507, "storage-full"),
}


@pytest.mark.parametrize(("faults", "status", "kind"), REFUSALS.values(), ids=REFUSALS)
def test_a_put_that_fails_is_told_and_leaves_no_blob(
    app: Flask,
    visitor: Visitor,
    proxy: FaultyFtp,
    faults: Faults,
    status: int,
    kind: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    client, parts = app.test_client(), app.extensions["simpledrive"]
    keep(parts, "before", b"before")

    proxy.faults = deepcopy(faults)
    answer = client.put("/v1/content/a", data=DATA, headers=BEARER)
    document = assert_problem(answer, status, kind)
    assert "The backend ftp could not do it" in str(document["detail"])
    assert ("Retry-After" in answer.headers) == (status == 503)
    proxy.faults = deepcopy(faults)
    page = visitor.upload((DATA[:FORM], "b"), folder="")
    assert page.status_code == status
    assert "ftp" in page.text

    proxy.faults = Faults()
    assert client.get("/v1/blobs/a", headers=BEARER).status_code == 404
    assert len(replicas(parts)) == 1
    assert len(objects(parts, "ftp")) == 1
    said = str(document) + page.text + caplog.text
    assert PASSWORD not in said
    keep(parts, "a", DATA)
    assert fetch(parts, "a") == DATA
    check(parts)


def test_a_server_that_is_down_is_503_at_every_face(app: Flask, visitor: Visitor, proxy: FaultyFtp) -> None:
    parts: Parts = app.extensions["simpledrive"]
    keep(parts, "a", b"abc")
    parts.backends.close()
    proxy.faults = Faults(turned_away=1000)
    client = app.test_client()
    for request in ("/v1/content/a", "/v1/blobs/a"):
        answer = client.get(request, headers=BEARER)
        assert_problem(answer, 503, "storage-unavailable")
        assert "Retry-After" in answer.headers
    assert visitor.upload((b"x", "b"), folder="").status_code == 503
    result = app.test_cli_runner().invoke(args=["drive", "sweep"])
    assert result.exit_code == 1
    assert "ftp: open: not now (421)" in result.output
    assert PASSWORD not in result.output


LATE = len(DATA) - 1


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


@pytest.mark.parametrize("what", ["reset", "stall", "close"])
def test_a_transfer_that_breaks_at_once_is_503(app: Flask, proxy: FaultyFtp, what: What) -> None:
    keep(app.extensions["simpledrive"], "a", DATA)
    client = app.test_client()
    for headers in (BEARER, BEARER | {"Range": f"bytes={PIECE + 100}-{PIECE + 199}"}):
        proxy.faults = Faults(download=Break(0, what))
        assert_problem(client.get("/v1/content/a", headers=headers), 503, "storage-unavailable")
        assert client.get("/v1/content/a", headers=headers).data in (DATA, DATA[PIECE + 100 : PIECE + 200])


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


@pytest.mark.parametrize("other", ["local", "database"])
def test_blobs_move_to_an_ftp_server_and_back(app: Flask, other: str) -> None:
    parts: Parts = app.extensions["simpledrive"]
    for id, data in {"empty": b"", "small": b"abc", "large": DATA}.items():
        keep(parts, id, data, other)
    runner = app.test_cli_runner()
    for source, target in ((other, "ftp"), ("ftp", other)):
        result = runner.invoke(args=["drive", "migrate-backend", source, target])
        assert result.exit_code == 0, result.output
        homes = {parts.drive.describe(SERVER, id).storage_backend for id in ("empty", "small", "large")}
        assert homes == {target}
        assert fetch(parts, "large") == DATA
        assert fetch(parts, "empty") == b""
    check(parts)
