"""SIGKILL for every process while clients upload, and a new start: what was acknowledged is there."""

import hashlib
import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from flask import Flask

from simpledrive.parts import Parts
from simpledrive.rights import SERVER
from tests.apps import BEARER
from tests.drives import check, impatient, objects, replicas
from tests.servers import Server, wait_for
from tests.sources import content

SIZES = (10, 200_000, 700_000, 5 << 20)


class Clients:
    """Four that upload to a server and note what was acknowledged, until it does not answer any more."""

    def __init__(self, server: Server, turn: int, acknowledged: dict[str, str]) -> None:
        self._server, self._turn, self._acknowledged = server, turn, acknowledged
        self.count = 0
        self._pool = ThreadPoolExecutor(4)
        self._over = threading.Event()
        self._futures = [self._pool.submit(self._upload, number) for number in range(4)]

    def _upload(self, number: int) -> None:
        dice, count = random.Random(f"{self._turn} {number}"), 0
        while not self._over.is_set():
            count += 1
            data = content(dice.choice(SIZES), dice.randrange(20))
            id, backend = f"{self._turn}/{number}/{count}", dice.choice(["local", "database"])
            url = f"{self._server.url}/v1/content/{id}?storage_backend={backend}"
            try:
                answer = requests.put(url, data, headers=BEARER, timeout=30)
            except requests.RequestException:
                continue
            assert answer.status_code == 201, answer.text
            self._acknowledged[id] = hashlib.sha256(data).hexdigest()
            self.count += 1

    def end(self) -> None:
        self._over.set()
        self._pool.shutdown()
        for future in self._futures:
            future.result()


def rounds(count: int, make_server: Callable[..., Server], make_app: Callable[..., Flask]) -> None:
    acknowledged: dict[str, str] = {}
    server = make_server()
    for turn in range(count):
        clients = Clients(server, turn, acknowledged)
        wait_for(lambda: clients.count > 5 + turn % 7 * 4, "some uploads")  # noqa: B023
        server.kill()
        clients.end()
        server.start()
    for id, digest in acknowledged.items():
        answer = requests.get(f"{server.url}/v1/content/{id}", headers=BEARER, timeout=30)
        assert answer.status_code == 200, f"{id}: {answer.text}"
        assert hashlib.sha256(answer.content).hexdigest() == digest
    server.stop()

    parts: Parts = make_app().extensions["simpledrive"]
    check(parts)  # also what was stored and not acknowledged is whole
    page = parts.listing.page(SERVER, limit=100_000)
    assert {blob.id for blob in page.blobs} >= acknowledged.keys()
    swept = impatient(parts).sweep(orphans=True, force=True)
    assert swept.problems == []
    for backend in ("local", "database"):
        named = {row.storage_key for row in replicas(parts) if row.storage_backend == backend}
        assert objects(parts, backend) == named
    left = [
        path for path in parts.settings.local_storage_path.rglob("*.*") if path.suffix in (".part", ".copy")
    ]
    assert left == []
    check(parts)


def test_what_was_acknowledged_survives(
    make_server: Callable[..., Server], make_app: Callable[..., Flask]
) -> None:
    rounds(3, make_server, make_app)


@pytest.mark.soak
def test_what_was_acknowledged_survives_many_kills(
    make_server: Callable[..., Server], make_app: Callable[..., Flask]
) -> None:
    rounds(60, make_server, make_app)


def test_a_killed_upload_is_not_there(
    make_server: Callable[..., Server], make_app: Callable[..., Flask]
) -> None:
    """All but its last bytes have arrived: nothing of it is visible, and sweeping removes the rest."""
    server = make_server()
    sent, killed = threading.Event(), threading.Event()

    def body():
        yield content(20 << 20)
        sent.set()
        assert killed.wait(30)
        yield b"the end"

    with ThreadPoolExecutor(1) as pool:
        upload = pool.submit(requests.put, f"{server.url}/v1/content/a", body(), headers=BEARER, timeout=30)
        assert sent.wait(30)
        parts: Parts = make_app().extensions["simpledrive"]
        staging = parts.settings.staging_path
        wait_for(lambda: any(path.stat().st_size > 19 << 20 for path in staging.glob("*.part")), "the bytes")
        server.kill()
        killed.set()
        assert isinstance(upload.exception(), requests.RequestException)
    server.start()
    assert requests.get(f"{server.url}/v1/content/a", headers=BEARER, timeout=30).status_code == 404
    assert parts.upkeep.sweep().leftovers == 1
    assert list(staging.glob("*.part")) == []
