"""A disk that is really full, or not to be written to: a small tmpfs that only the server sees."""

import base64
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from tests.apps import BEARER
from tests.needs import PRIVATE_MOUNTS, need
from tests.servers import Server
from tests.sources import content

MIB = 1 << 20
MOUNT_AND_GO_ON = 'mount -t tmpfs -o size="$1" tmpfs "$2" && shift 2 && exec "$@"'


class Disk:
    """A tmpfs at `folder`, seen by the server alone; the test gets at it by the server's own view."""

    def __init__(self, server: Server, folder: Path) -> None:
        self.server, self.folder = server, folder

    @property
    def inside(self) -> Path:
        assert self.server.process is not None
        return Path(f"/proc/{self.server.process.pid}/root{self.folder}")

    def fill(self) -> None:
        """Leaves not a single byte."""
        with (self.inside / "filler").open("ab", buffering=0) as file:
            for block in (MIB, 4096, 1):
                try:
                    while True:
                        file.write(bytes(block))
                except OSError:
                    pass

    def free(self) -> None:
        (self.inside / "filler").unlink()

    def remount(self, how: str) -> None:
        assert self.server.process is not None
        command = ["nsenter", "--target", str(self.server.process.pid), "--mount"]
        if "--map-root-user" in PRIVATE_MOUNTS:
            command += ["--user", "--preserve-credentials"]
        subprocess.run([*command, "mount", "-o", f"remount,{how}", self.folder], check=True)


@pytest.fixture
def make_disk(tmp_path: Path) -> Iterator[Callable[..., Disk]]:
    """A server with a small disk at one of its folders."""
    need("tmpfs")
    made: list[Server] = []

    def make(name: str, size: str = "48m", **settings: object) -> Disk:
        folder = tmp_path / name
        folder.mkdir(parents=True)
        server = Server(tmp_path, **settings)
        server.behind = [*PRIVATE_MOUNTS, "sh", "-c", MOUNT_AND_GO_ON, "sh", size, folder]
        made.append(server)
        server.start()
        return Disk(server, folder)

    yield make
    for server in made:
        server.stop()


def put(server: Server, id: str, data: bytes, backend: str = "local") -> requests.Response:
    url = f"{server.url}/v1/content/{id}?storage_backend={backend}"
    return requests.put(url, data, headers=BEARER, timeout=60)


def get(server: Server, id: str) -> requests.Response:
    return requests.get(f"{server.url}/v1/content/{id}", headers=BEARER, timeout=60)


def post(server: Server, id: str, data: bytes) -> requests.Response:
    document = {"id": id, "data": base64.b64encode(data).decode()}
    return requests.post(f"{server.url}/v1/blobs", json=document, headers=BEARER, timeout=60)


def test_a_full_disk_refuses_and_loses_nothing_and_goes_on_by_itself(make_disk: Callable[..., Disk]) -> None:
    """Records, bytes and staging on one disk: the default."""
    disk = make_disk("instance")
    server = disk.server
    before = {f"{backend} {n}": content(300_000, n) for n in range(4) for backend in ("local", "database")}
    for id, data in before.items():
        assert put(server, id, data, id.split()[0]).status_code == 201
    disk.fill()

    refused = {}
    for n in range(3):
        for backend in ("local", "database"):
            refused[f"large {backend} {n}"] = put(
                server, f"large {backend} {n}", content(2 * MIB, n), backend
            )
            refused[f"small {backend} {n}"] = put(server, f"small {backend} {n}", content(5000, n), backend)
        refused[f"json {n}"] = post(server, f"json {n}", content(5000, 9 + n))
    for id, answer in refused.items():
        assert answer.status_code == 507, f"{id}: {answer.status_code} {answer.text}"
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.json()["type"] in (
            "/problems/staging-full",
            "/problems/storage-full",
            "/problems/database-full",
        )

    with ThreadPoolExecutor(16) as pool:
        for id, answer in zip(before, pool.map(lambda id: get(server, id), before), strict=True):
            assert (answer.status_code, answer.content == before[id]) == (200, True), (
                f"{id}: {answer.text[:300]}"
            )
    for id in refused:
        assert get(server, id).status_code == 404
    page = requests.get(f"{server.url}/v1/blobs", headers=BEARER, timeout=30).json()
    assert {item["id"] for item in page["items"]} == before.keys()

    disk.free()
    for n in range(3):
        assert put(server, f"after {n}", content(2 * MIB, n)).status_code == 201
        assert get(server, f"after {n}").content == content(2 * MIB, n)
    for id, data in before.items():
        assert get(server, id).content == data
    assert "Traceback" not in server.output()


def test_refused_uploads_leave_no_bytes_on_the_full_disk(
    make_disk: Callable[..., Disk], tmp_path: Path
) -> None:
    """Else a disk that is nearly full would be filled for good by the attempts."""
    disk = make_disk("blobs", "16m", LOCAL_STORAGE_PATH=tmp_path / "blobs")
    server = disk.server
    for n in range(4):
        answer = put(server, f"{n}", content(20 * MIB, n))
        assert answer.status_code == 507, answer.text
    left = [path for path in disk.inside.rglob("*") if path.is_file() and path.name != "simpledrive-marker"]
    assert left == []
    assert put(server, "fits", content(9 * MIB)).status_code == 201, "staged and linked, it is there once"
    assert get(server, "fits").content == content(9 * MIB)


def test_a_folder_that_may_not_be_written_to_is_told_so(
    make_disk: Callable[..., Disk], tmp_path: Path
) -> None:
    disk = make_disk("blobs", LOCAL_STORAGE_PATH=tmp_path / "blobs", STAGING_PATH=tmp_path / "staging")
    server = disk.server
    assert put(server, "before", content(MIB)).status_code == 201
    disk.remount("ro")
    for n, size in enumerate((10, MIB)):
        answer = put(server, f"{n}", content(size, 5))
        assert (answer.status_code, answer.json()["type"]) == (502, "/problems/storage-refused")
        assert str(disk.folder) not in answer.text
    assert get(server, "before").content == content(MIB)
    assert put(server, "elsewhere", content(MIB), "database").status_code == 201
    disk.remount("rw")
    assert put(server, "after", content(MIB, 7)).status_code == 201


def test_an_unwritable_folder_stops_the_start_with_a_sentence(
    make_disk: Callable[..., Disk], tmp_path: Path
) -> None:
    with pytest.raises(AssertionError):
        make_disk("blobs", "1m,ro", LOCAL_STORAGE_PATH=tmp_path / "blobs")
    output = (tmp_path / "server.log").read_text()
    assert "local: put: Read-only file system" in output
    assert "Traceback" not in output
