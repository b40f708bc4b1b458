"""People go on while two processes move everything: no read fails, nothing is lost, nothing is doubled."""

import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import requests
from sqlalchemy import select

from simpledrive import config, create_app
from simpledrive.models import Blob
from simpledrive.moving.flow import Flow
from simpledrive.parts import Parts
from simpledrive.rights import SERVER
from tests.apps import BEARER
from tests.damage import fsck
from tests.drives import check, digest_of, impatient, objects, replicas
from tests.ftp_servers import FtpServer
from tests.s3_servers import S3Server
from tests.servers import ROOT, Server, settings_of
from tests.sources import content

KEPT = {f"kept/{seed}": content(1_000_000 if seed < 2 else 50_000, seed) for seed in range(40)}
CHANGED = 8
WRITES = 40
"""Of each kind while one migration runs: what is stored at the source is moved, too, and would never end."""


class Crowd:
    """Callers, each in a thread: whatever they are answered has to be right at that moment.

    New blobs go to `backend`. `done` counts what each has done, `stored` has what each id holds in the end,
    `sent` the digests of all that was ever sent to an id.
    """

    def __init__(self, url: str) -> None:
        self.url, self.backend = url, "local"
        self.done: Counter[str] = Counter()
        self.stored: dict[str, bytes] = {}
        self.sent: dict[str, set[str]] = {}
        self.left: Counter[str] = Counter()
        self.readers = (self.read, self.read_a_range, self.read_what_changes)
        self.writers = (self.replace, self.upload, self.upload_and_delete)

    def write_at(self, backend: str) -> None:
        """From now on, so many times."""
        self.backend = backend
        self.left.update({work.__name__: WRITES for work in self.writers})

    def ask(
        self, session: requests.Session, method: str, id: str, status: int, **more: Any
    ) -> requests.Response:
        query = f"?storage_backend={self.backend}" if method == "PUT" else ""
        path = f"/v1/blobs/{id}" if method == "DELETE" else f"/v1/content/{id}{query}"
        headers = BEARER | more.pop("headers", {})
        answer = session.request(method, self.url + path, headers=headers, timeout=60, **more)
        assert answer.status_code == status, (method, id, answer.status_code, answer.text[:500])
        return answer

    def put(self, session: requests.Session, id: str, data: bytes, *, replaces: bool = False) -> None:
        self.sent.setdefault(id, set()).add(digest_of(data))
        how = {"headers": {"If-Match": "*"}} if replaces else {}
        self.ask(session, "PUT", id, 200 if replaces else 201, data=data, **how)
        self.stored[id] = data

    def read(self, session: requests.Session, turn: int) -> None:
        id = [*KEPT][turn % len(KEPT)]
        assert self.ask(session, "GET", id, 200).content == KEPT[id]

    def read_a_range(self, session: requests.Session, turn: int) -> None:
        id = [*KEPT][turn % len(KEPT)]
        first, last = turn * 7919 % 40_000, 40_000 + turn * 104_729 % 10_000
        asked = {"Range": f"bytes={first}-{last}"}
        assert self.ask(session, "GET", id, 206, headers=asked).content == KEPT[id][first : last + 1]

    def read_what_changes(self, session: requests.Session, turn: int) -> None:
        id = f"changed/{turn % CHANGED}"
        answer = self.ask(session, "GET", id, 200)
        assert answer.headers["ETag"] == f'"{digest_of(answer.content)}"'
        assert digest_of(answer.content) in self.sent[id]

    def replace(self, session: requests.Session, turn: int) -> None:
        self.put(session, f"changed/{turn % CHANGED}", content(20_000, 1000 + turn), replaces=True)

    def upload(self, session: requests.Session, turn: int) -> None:
        # Every other one has bytes that are being moved.
        data = content(30_000, 5000 + turn) if turn % 2 else [*KEPT.values()][turn % len(KEPT)]
        self.put(session, f"new/{turn}", data)

    def upload_and_delete(self, session: requests.Session, turn: int) -> None:
        id, data = f"brief/{turn}", content(10_000, 9000 + turn // 2)
        self.put(session, id, data)
        assert self.ask(session, "GET", id, 200).content == data
        how = {"params": {"permanent": "true"}} if turn % 2 else {}
        self.ask(session, "DELETE", id, 204, **how)
        del self.stored[id]
        self.ask(session, "GET", id, 404)

    @contextmanager
    def busy(self) -> Iterator[None]:
        """All of them go on until the end of the block, or until one of them is answered wrongly."""
        over, works = threading.Event(), self.readers + self.writers

        def keep_on(work: Callable[[requests.Session, int], None]) -> None:
            with requests.Session() as session:
                turns = count()
                while not over.is_set():
                    if work in self.writers and not self.left[work.__name__]:
                        over.wait(0.02)
                        continue
                    try:
                        work(session, next(turns))
                    except BaseException:
                        over.set()
                        raise
                    self.done[work.__name__] += 1
                    self.left[work.__name__] -= 1

        with ThreadPoolExecutor(len(works)) as pool:
            going = [pool.submit(keep_on, work) for work in works]
            try:
                yield
            finally:
                over.set()
            for one in going:
                one.result()


def move_by_two_processes(server: Server, source: str, target: str) -> None:
    """So slowly that people get to do much meanwhile."""
    command = [sys.executable, "-m", "flask", "--app", "wsgi", "drive", "migrate-backend", source, target]
    movers = [
        subprocess.Popen(
            [*command, "--bandwidth", "2M", "--json"],
            cwd=ROOT,
            env=server.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for _ in range(2)
    ]
    told = [mover.communicate(timeout=120)[0] for mover in movers]
    for mover, output in zip(movers, told, strict=True):
        assert mover.returncode == 0, output
        assert '"state": "moved"' in output, "both have moved some"


@pytest.fixture
def drive(
    make_server: Callable[..., Server],
    any_database: dict[str, Any],
    rclone_s3: S3Server,
    pyftpdlib: FtpServer,
    tmp_path: Path,
) -> Iterator[tuple[Server, Parts]]:
    """A server with a disk, a bucket and an FTP server, and the same drive's parts to look behind it."""
    records = {"DATABASE_URL": any_database["database_url"]} if any_database else {}
    far = settings_of({"bucket": rclone_s3.config(), "nas": pyftpdlib.config()})
    server = make_server(WORKERS=2, SWEEP_INTERVAL=1, **records, **far)
    app = create_app(config.load(server.environ, folder=tmp_path))
    parts: Parts = app.extensions["simpledrive"]
    yield server, parts
    parts.backends.close()
    parts.database.engine.dispose()


def test_nobody_notices_that_everything_moves_and_moves_on(drive: tuple[Server, Parts]) -> None:
    server, parts = drive
    crowd = Crowd(server.url)
    with requests.Session() as session:
        for id, data in KEPT.items():
            crowd.put(session, id, data)
        for number in range(CHANGED):
            crowd.put(session, f"changed/{number}", content(20_000, 900 + number))
    with crowd.busy():
        for source, target in (("local", "bucket"), ("bucket", "nas")):
            crowd.write_at(source)
            before = crowd.done.copy()
            move_by_two_processes(server, source, target)
            meanwhile = crowd.done - before
            assert min(meanwhile[work.__name__] for work in crowd.readers + crowd.writers) > 5, meanwhile
    server.stop()
    nothing_is_lost_or_doubled(parts, crowd.stored)


def nothing_is_lost_or_doubled(parts: Parts, stored: dict[str, bytes]) -> None:
    """Everything that was acknowledged is there, once, and nothing else is."""
    check(parts)
    blobs = {
        blob.id: blob for blob in parts.database.read(lambda session: session.scalars(select(Blob)).all())
    }
    assert {id: blob.sha256 for id, blob in blobs.items()} == {
        id: digest_of(data) for id, data in stored.items()
    }
    assert {blobs[id].storage_backend for id in KEPT} == {"nas"}
    migrations, _ = parts.migrations.page(SERVER, None, 10)
    assert [(one.state, one.failed, one.pending) for one in migrations] == [("ended", 0, 0)] * 2
    for migration in migrations:
        parts.migration_work.let_go(parts.migrations.finalize(SERVER, migration.id), Flow())
    assert impatient(parts).sweep(orphans=True, force=True).problems == []
    assert fsck(parts) == []
    rows = replicas(parts)
    assert {(row.sha256, row.storage_backend) for row in rows} == {
        (blob.sha256, blob.storage_backend) for blob in blobs.values()
    }
    for backend in parts.backends:
        assert objects(parts, backend) == {row.storage_key for row in rows if row.storage_backend == backend}
