"""A drive whose far backend fails: the right bytes or a clear error, through each face, and no half blob.

What storages make of the same faults, byte by byte, is in test_s3_faults.py and test_ftp_storage.py.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from html import unescape

import pytest
from click.testing import Result
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from simpledrive.errors import DriveError
from simpledrive.parts import Parts
from simpledrive.rights import SERVER
from tests.apps import BEARER, TOKEN
from tests.drives import PIECE, check, digest_of, fetch, keep
from tests.faulty_backends import EARLY, LATE, FaultyBackend
from tests.problems import assert_problem
from tests.sources import content
from tests.visitors import Visitor

SIZE = 400_000
"""Two pieces; the test client keeps no more than 500 KiB of a form in memory, and closes no file beyond."""
DATA, OTHER = content(SIZE), content(SIZE, 1)
IMPATIENT, PATIENT = "0.25", "20"
"""How long the drive waits for a backend that says nothing: not long where that is what is tested."""
TYPES = {500: "integrity-fault", 502: "storage-refused", 503: "storage-unavailable", 507: "storage-full"}

assert EARLY < PIECE < LATE < SIZE


@dataclass(frozen=True)
class Faces:
    """A drive with a far backend, through each of its faces. `said` is all that anybody was told."""

    app: Flask
    api: FlaskClient
    visitor: Visitor
    said: list[str]

    @property
    def parts(self) -> Parts:
        return self.app.extensions["simpledrive"]

    def put(self, id: str, data: bytes) -> TestResponse:
        return self.api.put(f"/v1/content/{id}?storage_backend=far", data=data)

    def move(self, id: str, target: str) -> TestResponse:
        return self.api.patch(f"/v1/blobs/{id}", json={"storage_backend": target})

    def migrate(self, source: str, target: str) -> Result:
        result = self.app.test_cli_runner().invoke(args=["drive", "migrate-backend", source, target])
        self.said.append(result.output)
        return result

    def tells_of_move(self, migrated: Result, data: bytes, status: int) -> None:
        """A migration tries again what may pass, and says so; else what failed: these bytes, or the place."""
        if migrated.exit_code == 0:
            assert "trying again: far: " in migrated.output
        else:
            bytes_failed, place_failed = (
                f"Not moved: {digest_of(data)} (1 records): far: ",
                "Could not run: far: ",
            )
            assert {1: bytes_failed, 2: place_failed}[migrated.exit_code] in migrated.stderr
            assert status != 500 or migrated.exit_code == 1

    def tells(self, answer: TestResponse, status: int) -> None:
        """It is the problem that this status stands for."""
        document = assert_problem(answer, status, TYPES[status])
        self.said.append(str(document))
        assert status == 500 or "The backend far could not do it: " in str(document["detail"])
        assert ("Retry-After" in answer.headers) == (status == 503)

    def shows(self, page: TestResponse, status: int) -> None:
        """The same in a sentence on a page."""
        text = unescape(page.text)
        self.said.append(text)
        assert page.status_code == status, text
        assert ("The backend far could not do it: " if status != 500 else "gone or altered") in text
        assert ("Retry-After" in page.headers) == (status == 503)


@pytest.fixture
def faces(
    request: pytest.FixtureRequest,
    make_app: Callable[..., Flask],
    far: FaultyBackend,
    caplog: pytest.LogCaptureFixture,
) -> Iterator[Faces]:
    """The drive, which has seen its far backend. In the end nobody was told a secret, nor was the log."""
    caplog.set_level(logging.DEBUG)
    fault = request.node.callspec.params.get("fault", "")
    app = make_app(backends={"far": far.config(timeout=IMPATIENT if "stall" in fault else PATIENT)})
    api = app.test_client()
    api.environ_base["HTTP_AUTHORIZATION"] = BEARER["Authorization"]
    visitor = Visitor(app)
    visitor.sign_in()
    visitor.get("/drive/files/")
    faces = Faces(app, api, visitor, [])
    keep(faces.parts, "a.txt", DATA, "far")
    yield faces
    far.calm()
    check(faces.parts)
    for secret in (*far.secrets, TOKEN):
        assert secret not in caplog.text
        assert not any(secret in text for text in faces.said)


STORING = {
    "refused": {"s3": 503, "ftp": 503},
    "idle connections are closed": {"s3": 201, "ftp": 201},
    "busy three times": {"s3": 201, "ftp": 201},
    "busy": {"s3": 503, "ftp": 503},
    "an upload is reset": {"s3": 201, "ftp": 503},  # FTP begins no upload twice
    "each upload is reset": {"s3": 503, "ftp": 503},
    "uploads stall": {"s3": 503, "ftp": 503},
    "uploads are truncated and acknowledged": {"s3": 503, "ftp": 503},
    "the reply is lost": {"s3": 201, "ftp": 503},
    "uploads are not allowed": {"s3": 502, "ftp": 502},
    "full": {"s3": 507, "ftp": 507},
}


@pytest.mark.parametrize("fault", STORING)
def test_storing_goes_well_or_is_told_and_leaves_no_blob(
    faces: Faces, far: FaultyBackend, fault: str
) -> None:
    status = STORING[fault][far.kind]
    contents = {id: content(SIZE, seed) for seed, id in enumerate(("raw", "page", "moved", "migrated"), 1)}
    for id in ("moved", "migrated"):
        keep(faces.parts, id, contents[id], "local")

    with meanwhile(far, fault):
        stored = faces.put("raw", contents["raw"])
    with meanwhile(far, fault):
        page = faces.visitor.upload((contents["page"], "page"), folder="", storage_backend="far")
    with meanwhile(far, fault):
        moved = faces.move("moved", "far")
    with meanwhile(far, fault):
        migrated = faces.migrate("local", "far")

    if status == 201:
        assert (stored.status_code, page.status_code, moved.status_code) == (201, 303, 200)
        assert migrated.exit_code == 0, migrated.output
    else:
        faces.tells(stored, status)
        faces.shows(page, status)
        faces.tells(moved, status)
        faces.tells_of_move(migrated, contents["migrated"], status)
        for id in ("raw", "page"):
            assert faces.api.get(f"/v1/blobs/{id}").status_code == 404
            assert faces.put(id, contents[id]).status_code == 201
        assert faces.migrate("local", "far").exit_code == 0, "the same command goes on"
    for id, data in contents.items():
        assert faces.parts.drive.describe(SERVER, id).storage_backend == "far"
        assert fetch(faces.parts, id) == data


READING = {
    # what comes of the whole, of a range in the second piece or a preview, and of moving
    "refused": ("503", "503", 503),
    "idle connections are closed": ("right", "right", 200),
    "busy three times": ("right", "right", 200),
    "busy": ("503", "503", 503),
    "a download is reset": ("right", "right", 200),
    "each download is reset": ("503", "503", 503),
    "downloads stall": ("503", "503", 503),
    "a download breaks off for good": ("cut", "right", 503),
    "a download is corrupted": ("right", "right", 200),
    "each download is corrupted": ("500", "500", 500),
}
# A bucket's storage goes on by itself. FTP's leaves that to the drive, which does if a piece has come; and a
# reset takes along what is on its way.
READING_FTP = READING | {"a download is reset": ("right or 503", "right or 503", 503)}


@pytest.mark.parametrize("fault", READING)
def test_reading_gives_the_right_bytes_or_an_error_and_never_wrong_ones(
    faces: Faces, far: FaultyBackend, fault: str
) -> None:
    whole, part, status = (READING if far.kind == "s3" else READING_FTP)[fault]
    some = {"Range": f"bytes={PIECE + 5}-{PIECE + 104}"}
    wholes: list[Callable[[], TestResponse]] = [
        lambda: faces.api.get("/v1/content/a.txt"),
        lambda: faces.api.get("/v1/blobs/a.txt"),
        lambda: faces.visitor.get("/drive/content/a.txt"),
    ]
    parts: list[Callable[[], TestResponse]] = [
        lambda: faces.api.get("/v1/content/a.txt", headers=some),
        lambda: faces.visitor.get("/drive/content/a.txt", headers=some),
    ]
    for ask in wholes:
        right = ask().data
        with meanwhile(far, fault):
            assert outcome(faces, ask(), right) in whole.split(" or ")
    for ask in parts:
        right = ask().data
        with meanwhile(far, fault, certain="right" not in part):
            assert outcome(faces, ask(), right) in part.split(" or ")

    with meanwhile(far, fault, certain="right" not in part):
        page = faces.visitor.get("/drive/blob/a.txt")
    previewed = "It cannot be shown now" not in page.text
    assert previewed == ("right" in part) or "or" in part
    if "503" in part and not previewed:
        assert "The backend far could not do it: " in unescape(page.text)
    faces.said.append(page.text)

    keep(faces.parts, "b", OTHER, "far")
    with meanwhile(far, fault):
        moved = faces.move("b", "local")
    if status == 200:
        assert moved.status_code == 200
    else:
        faces.tells(moved, status)
    faces.api.delete("/v1/blobs/b?permanent=true")
    with meanwhile(far, fault):
        migrated = faces.migrate("far", "local")
    if status == 200:
        assert migrated.exit_code == 0, migrated.output
    else:
        faces.tells_of_move(migrated, DATA, status)
    assert faces.migrate("far", "local").exit_code == 0
    assert faces.parts.drive.describe(SERVER, "a.txt").storage_backend == "local"
    assert fetch(faces.parts, "a.txt") == DATA


def outcome(faces: Faces, answer: TestResponse, right: bytes) -> str:
    """`right`, the status of an error that says what happened, or `cut`: who counts knows that it broke."""
    if answer.status_code >= 400:
        show = faces.tells if answer.mimetype == "application/problem+json" else faces.shows
        show(answer, answer.status_code)
        return str(answer.status_code)
    got = b""
    try:
        for portion in answer.iter_encoded():
            got += portion
    except DriveError:
        assert right.startswith(got)
        assert len(got) < len(right)
        return "cut"
    assert got == right
    return "right"


@contextmanager
def meanwhile(far: FaultyBackend, fault: str, *, certain: bool = True) -> Iterator[None]:
    """The fault happens within the block, certainly or perhaps, and is over behind it."""
    far.begin(fault)
    yield
    assert far.has_happened or not certain, "the fault did not happen"
    far.calm()


@pytest.mark.parametrize("fault", ["refused", "busy"])
def test_a_command_that_cannot_run_at_all_says_why(
    faces: Faces, far: FaultyBackend, make_app: Callable[..., Flask], fault: str
) -> None:
    """A process of its own has not seen the backend before."""
    app = make_app(backends={"far": far.config()})
    far.begin(fault)
    for pair in (("far", "local"), ("local", "far")):
        with meanwhile(far, fault):
            result = app.test_cli_runner().invoke(args=["drive", "migrate-backend", *pair])
        faces.said.append(result.output)
        assert result.exit_code == 2
        assert "Could not run: far: open: " in result.stderr
    with meanwhile(far, fault):
        swept = app.test_cli_runner().invoke(args=["drive", "sweep"])
    faces.said.append(swept.output)
    assert swept.exit_code == 1
    assert "far: open: " in swept.stderr
