"""All four kinds of storage side by side in one drive: what lies on one can lie on any other."""

import base64
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import pytest
import requests
from click.testing import Result
from flask import Flask

from simpledrive import config, create_app
from simpledrive.keys import NewKey
from simpledrive.parts import Parts
from simpledrive.rights import SERVER
from tests.apps import TOKEN
from tests.drives import PIECE, check, digest_of, impatient, objects, replicas
from tests.ftp_servers import FtpServer
from tests.servers import Server, settings_of
from tests.sources import content
from tests.strict_s3 import LEAST_PART, StrictS3
from tests.test_memory import csrf_token

KINDS = ("local", "database", "s3", "ftp")
PAIRS = [pytest.param(*pair, id=" to ".join(pair)) for pair in permutations(KINDS, 2)]
PIECES = 3 * PIECE + 17
PARTS = LEAST_PART + 4321
"""More than the bucket takes at once: it is stored there in two parts."""

on_each = pytest.mark.parametrize("kind", KINDS)
between_any_two = pytest.mark.parametrize(("source", "target"), PAIRS)


@dataclass(frozen=True)
class FourDrive:
    """A drive that runs, and an app with the same settings beside it: for commands, and to look behind."""

    server: Server
    app: Flask
    bucket: StrictS3
    session: requests.Session
    key: str
    owner: str
    """The id of `key`, which may do everything."""

    @property
    def parts(self) -> Parts:
        return self.app.extensions["simpledrive"]

    def ask(self, method: str, path: str, status: int = 200, **options: Any) -> requests.Response:
        """What is answered, which has to be of that status."""
        headers = {"Authorization": f"Bearer {self.key}"} | options.pop("headers", {})
        answer = self.session.request(method, self.server.url + path, headers=headers, timeout=30, **options)
        assert answer.status_code == status, answer.text
        return answer

    def get(self, path: str, **options: Any) -> requests.Response:
        return self.ask("GET", path, **options)

    def put(self, id: str, data: bytes, backend: str, **options: Any) -> None:
        self.ask("PUT", f"/v1/content/{id}?storage_backend={backend}", 201, data=data, **options)

    def replace(self, id: str, data: bytes, backend: str) -> None:
        path = f"/v1/content/{id}?storage_backend={backend}"
        self.ask("PUT", path, data=data, headers={"If-Match": "*"})

    def listed(self, query: str = "") -> dict[str, dict[str, Any]]:
        """The records of all blobs, by id."""
        return {record["id"]: record for record in self.get(f"/v1/blobs{query}").json()["items"]}

    def aside(self, id: str) -> list[dict[str, Any]]:
        return self.get(f"/v1/versions/{id}").json()["items"]

    def held(self) -> dict[str, int]:
        """How many objects lie at each backend."""
        return {kind: len(objects(self.parts, kind)) for kind in KINDS}

    def command(self, *arguments: str) -> Result:
        return self.app.test_cli_runner().invoke(args=["drive", *arguments])


@pytest.fixture(scope="session")
def four_drive(tmp_path_factory: pytest.TempPathFactory, pyftpdlib: FtpServer) -> Iterator[FourDrive]:
    folder = tmp_path_factory.mktemp("four")
    with StrictS3() as bucket:
        in_parts = bucket.config(multipart_size=str(LEAST_PART), part_size=str(LEAST_PART))
        settings = settings_of({"s3": in_parts, "ftp": pyftpdlib.config()})
        server = Server(folder, SWEEP_INTERVAL=0, SWEEP_GRACE=0, PROBE_INTERVAL=0, **settings).start()
        try:
            app = create_app(config.load(server.environ, folder=folder))
            parts: Parts = app.extensions["simpledrive"]
            row, key = parts.keys.issue(SERVER, NewKey("somebody"))
            with requests.Session() as session:
                yield FourDrive(server, app, bucket, session, key, row.id)
            parts.backends.close()
            parts.database.engine.dispose()
        finally:
            server.stop()


@pytest.fixture
def drive(four_drive: FourDrive) -> Iterator[FourDrive]:
    """The drive, with nothing in it. In the end it is whole, and when all is deleted no object is left."""
    yield four_drive
    check(four_drive.parts)
    for id in [*four_drive.listed(), *(row["id"] for row in four_drive.get("/v1/trash").json()["items"])]:
        four_drive.ask("DELETE", f"/v1/blobs/{id}?permanent=true", 204)
    assert impatient(four_drive.parts).sweep().problems == []
    assert replicas(four_drive.parts) == []
    assert four_drive.held() == dict.fromkeys(KINDS, 0)


@pytest.fixture
def browser(drive: FourDrive) -> Iterator[Callable[..., requests.Response]]:
    """Somebody signed in: sends a form and follows it, or gets a page."""
    with requests.Session() as session:

        def visit(path: str, form: dict[str, str] | None = None, **options: Any) -> requests.Response:
            url = drive.server.url + path
            if form is None:
                return session.get(url, timeout=30)
            token = csrf_token(session.get(drive.server.url + "/drive/sign-in", timeout=30))
            return session.post(url, {"csrf_token": token} | form, timeout=30, **options)

        assert visit("/drive/sign-in", {"key": TOKEN}).ok
        yield visit


# --- Each beside the others


def test_the_drive_knows_all_four_and_counts_what_lies_on_each(drive: FourDrive) -> None:
    for number, kind in enumerate(KINDS, 1):
        for copy in range(number):
            drive.put(f"{kind}/{copy}", content(1000 * number, copy), kind)
    told = drive.get("/v1/backends", headers={"Authorization": f"Bearer {TOKEN}"}).json()["items"]
    assert {one["name"]: (one["kind"], one["reachable"], one["blobs"], one["bytes"]) for one in told} == {
        kind: (kind, True, number, 1000 * number**2) for number, kind in enumerate(KINDS, 1)
    }
    assert drive.held() == {kind: number for number, kind in enumerate(KINDS, 1)}


@on_each
def test_every_way_in_stores_where_it_was_told_to(
    drive: FourDrive, browser: Callable[..., requests.Response], kind: str
) -> None:
    contents = {way: content(PIECES, len(way)) for way in ("json", "raw", "page.txt")}
    document = {"id": "json", "data": base64.b64encode(contents["json"]).decode(), "storage_backend": kind}
    assert drive.ask("POST", "/v1/blobs", 201, json=document).json()["storage_backend"] == kind
    drive.put("raw", contents["raw"], kind)
    form = {"folder": "", "storage_backend": kind}
    page = browser("/drive/upload", form, files={"file": ("page.txt", contents["page.txt"])})
    assert f"Stored page.txt on {kind}." in page.text

    assert drive.held() == dict.fromkeys(KINDS, 0) | {kind: 3}
    records = drive.listed(f"?storage_backend={kind}")
    assert set(records) == set(contents) == set(drive.listed())
    for way, data in contents.items():
        assert records[way]["sha256"] == digest_of(data)
        assert drive.get(f"/v1/content/{way}").content == data


def test_pages_say_of_each_blob_where_it_lives(
    drive: FourDrive, browser: Callable[..., requests.Response]
) -> None:
    for kind in KINDS:
        drive.put(f"mixed/on {kind}.txt", f"kept on {kind}".encode(), kind)
    folder = browser("/drive/files/mixed/").text
    for kind in KINDS:
        assert f"Home {kind}, no copy" in folder
        blob = browser(f"/drive/blob/mixed/on {kind}.txt").text
        assert f"home {kind}, no copy" in blob
        assert f"kept on {kind}" in blob, "the preview"
        assert browser(f"/drive/content/mixed/on {kind}.txt").text == f"kept on {kind}"
    assert "Files in it live on local, database, s3, ftp" in browser("/drive/files/").text


@on_each
def test_every_way_out_gives_the_bytes_that_came(drive: FourDrive, kind: str) -> None:
    for size in (0, 1, PIECES, PARTS):
        id, data = f"of {size}", content(size)
        drive.put(id, data, kind)
        whole = drive.get(f"/v1/content/{id}")
        assert whole.content == data
        assert base64.b64decode(drive.get(f"/v1/blobs/{id}").json()["data"]) == data
        tag = {"If-None-Match": whole.headers["ETag"]}
        assert drive.ask("GET", f"/v1/content/{id}", 304, headers=tag).content == b""
        for first, last in ((0, 0), (PIECE - 1, PIECE), (5, size - 2), (size - 1, size + 9)):
            asked = {"Range": f"bytes={first}-{last}"}
            if 0 <= first <= last and first < size:
                some = drive.ask("GET", f"/v1/content/{id}", 206, headers=asked)
                assert some.content == data[first : last + 1]
                assert some.headers["Content-Range"] == f"bytes {first}-{min(last, size - 1)}/{size}"
        if size:
            assert (
                drive.ask("GET", f"/v1/content/{id}", 206, headers={"Range": "bytes=-1"}).content == data[-1:]
            )
        drive.ask("GET", f"/v1/content/{id}", 416, headers={"Range": f"bytes={size}-"})


@on_each
def test_a_blob_is_replaced_from_any_kind_and_every_version_stays_where_it_was(
    drive: FourDrive, kind: str
) -> None:
    others = [other for other in KINDS if other != kind]
    drive.put("a", content(PIECES), kind)
    for other in others:
        drive.replace("a", content(PIECES, len(other)), other)
    assert [version["storage_backend"] for version in drive.aside("a")] == [*reversed(others[:-1]), kind]
    assert drive.get("/v1/content/a?version=1").content == content(PIECES)
    assert drive.get("/v1/content/a").content == content(PIECES, len(others[-1]))
    drive.ask("PATCH", "/v1/blobs/a", json={"version": 1})
    assert drive.listed()["a"]["storage_backend"] == kind
    assert drive.get("/v1/content/a").content == content(PIECES)


@on_each
def test_a_blob_is_deleted_restored_and_gone_for_good(drive: FourDrive, kind: str) -> None:
    drive.put("a", content(PARTS), kind)
    drive.ask("DELETE", "/v1/blobs/a", 204)
    drive.ask("GET", "/v1/content/a", 404)
    drive.command("sweep")
    assert drive.held()[kind] == 1, "the trash keeps its bytes"
    drive.ask("PATCH", "/v1/blobs/a", json={"version": 1})
    assert drive.get("/v1/content/a").content == content(PARTS)
    drive.ask("DELETE", "/v1/blobs/a?permanent=true", 204)
    drive.command("sweep")
    assert drive.held()[kind] == 0


# --- From any to any other


@between_any_two
def test_everything_moves_from_any_kind_to_any_other(drive: FourDrive, source: str, target: str) -> None:
    contents = {f"move/of {size}": content(size) for size in (0, 1, PIECES, PARTS)}
    for id, data in contents.items():
        drive.put(id, data, source, headers={"Content-Type": "text/x-moved"})
        drive.ask(
            "PATCH", f"/v1/blobs/{id}", json={"metadata": {"from": source}, "filename": f"{source}.txt"}
        )
    drive.put("move/same bytes", contents["move/of 1"], source)
    drive.put("move/deleted", content(70_000), source)
    drive.ask("DELETE", "/v1/blobs/move/deleted", 204)
    drive.replace(f"move/of {PIECES}", content(70_001), source)
    others = [kind for kind in KINDS if kind not in (source, target)]
    for other in others:
        drive.put(f"stay/{other}", b"stays", other)
    before, asked = seen(drive), len(drive.bucket.seen)

    result = drive.command("migrate-backend", source, target, "--grace", "0s")
    assert result.exit_code == 0, result.output
    size = sum(map(len, contents.values())) + 1 + 70_000 + 70_001
    assert f"7 of 7 records moved, {size} bytes." in result.output

    assert seen(drive) == moved(before, source, target)
    assert {blob.owner for blob in drive.parts.listing.page(SERVER).blobs} == {drive.owner}
    for id, data in (contents | {f"move/of {PIECES}": content(70_001)}).items():
        assert drive.get(f"/v1/content/{id}").content == data
    assert drive.get(f"/v1/content/move/of {PIECES}?version=2").content == content(PIECES)
    assert drive.get("/v1/content/move/deleted?version=1").content == content(70_000)
    if "s3" in (source, target):
        in_parts = any("partNumber=2" in request.query for request in drive.bucket.seen[asked:])
        assert in_parts == (target == "s3")

    swept = drive.command("sweep")
    assert swept.exit_code == 0, swept.output
    assert drive.held() == dict.fromkeys(others, 1) | {source: 0, target: 6}
    assert drive.get(f"/v1/content/move/of {PARTS}").content == contents[f"move/of {PARTS}"]


@between_any_two
def test_one_blob_moves_alone_from_any_kind_to_any_other(drive: FourDrive, source: str, target: str) -> None:
    for size in (0, PARTS):
        drive.put(f"of {size}", content(size), source)
        drive.put(f"like that of {size}", content(size), source)
        before = drive.listed()
        answer = drive.ask("PATCH", f"/v1/blobs/of {size}", json={"storage_backend": target})
        assert answer.json() == before[f"of {size}"] | {"storage_backend": target}
        assert drive.listed() == before | {f"of {size}": answer.json()}
        for id in (f"of {size}", f"like that of {size}"):
            assert drive.get(f"/v1/content/{id}").content == content(size)
    assert drive.held() == dict.fromkeys(KINDS, 0) | {source: 2, target: 2}


def test_the_command_moves_in_a_process_of_its_own_while_the_drive_serves(drive: FourDrive) -> None:
    for number in range(3):
        drive.put(f"{number}", content(PIECES, number), "ftp")
    result = drive.server.run("drive", "migrate-backend", "ftp", "s3")
    assert (result.returncode, result.stderr) == (0, "")
    assert "3 of 3 records moved" in result.stdout
    assert {record["storage_backend"] for record in drive.listed().values()} == {"s3"}
    for number in range(3):
        assert drive.get(f"/v1/content/{number}").content == content(PIECES, number)


def seen(drive: FourDrive) -> dict[str, Any]:
    """All that the drive says of what it has: records, earlier versions and the trash."""
    records = drive.listed()
    versions = {id: drive.aside(id) for id in records}
    return {"records": records, "versions": versions, "trash": drive.get("/v1/trash").json()["items"]}


def moved(told: Any, source: str, target: str) -> Any:
    """The same with another home, and nothing else."""
    if isinstance(told, dict):
        here = {"storage_backend": target} if told.get("storage_backend") == source else {}
        return {name: moved(value, source, target) for name, value in told.items()} | here
    if isinstance(told, list):
        return [moved(one, source, target) for one in told]
    return told
