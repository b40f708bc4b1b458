"""Rules for the home of a new blob: by every door, and for what was there before them."""

import io
import json
from base64 import b64encode
from collections import Counter
from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from simpledrive import descriptions
from simpledrive.drive import NewBlob
from simpledrive.errors import Forbidden, Invalid
from simpledrive.moving.elsewhere import corrections
from simpledrive.moving.planning import matches
from simpledrive.moving.selection import Selection
from simpledrive.parts import Parts
from simpledrive.placement import Placement, Rule
from simpledrive.rights import SERVER, Caller
from simpledrive.streams.staging import Incoming
from tests.apps import BEARER, TOKEN, client_of
from tests.drives import check, digest_of, fetch, flip, keep, replace
from tests.sources import content
from tests.visitors import Visitor

RULES = [
    {"prefix": "legal/", "backend": "vault"},
    {"max_size": "64KiB", "backend": "database"},
    {"content_type": "video/*", "backend": "archive"},
]
SMALL, LARGE = content(64 << 10), content((64 << 10) + 1)


@pytest.fixture
def make_ruled(make_app: Callable[..., Flask], tmp_path: Any) -> Callable[..., Flask]:
    """Makes apps with two more disks, and rules."""

    def make(*rules: dict[str, Any], **settings: Any) -> Flask:
        disks = {name: {"kind": "local", "path": str(tmp_path / name)} for name in ("archive", "vault")}
        return make_app(backends=disks, rules=list(rules), **settings)

    return make


@pytest.fixture
def app(make_ruled: Callable[..., Flask]) -> Flask:
    return make_ruled(*RULES)


def store(parts: Parts, id: str, data: bytes, caller: Caller = SERVER, **said: Any) -> str:
    """The home of a blob that is stored by the drive itself."""
    new = NewBlob(id=id, **said)
    blob, _ = parts.drive.store(caller, Incoming(io.BytesIO(data)), new)
    assert fetch(parts, id) == data
    return blob.storage_backend


def home(parts: Parts, id: str) -> str:
    return parts.drive.describe(SERVER, id).storage_backend


# --- What a rule decides


def test_the_first_rule_that_fits_decides(parts: Parts) -> None:
    assert store(parts, "a", SMALL) == "database"
    assert store(parts, "b", LARGE) == "local", "no rule fits"
    assert store(parts, "c.mp4", LARGE) == "archive"
    assert store(parts, "d.mp4", SMALL) == "database", "the rule for sizes is before that for videos"
    assert store(parts, "legal/e.mp4", SMALL) == "vault"
    assert store(parts, "f", LARGE, content_type="Video/MP4 ; codecs=av1") == "archive"
    check(parts)


def test_what_the_caller_names_wins(parts: Parts) -> None:
    assert store(parts, "legal/a", SMALL, storage_backend="archive") == "archive"
    with pytest.raises(Invalid):
        store(parts, "b", SMALL, storage_backend="nowhere")


def test_a_key_that_may_not_place_bytes_there_gets_the_next_one_it_may(parts: Parts) -> None:
    def of(*backends: str) -> Caller:
        return Caller("a key", "1", SERVER.scopes, backends=backends)

    assert store(parts, "legal/a", SMALL, of("database", "vault")) == "vault"
    assert store(parts, "legal/b", SMALL, of("archive", "database")) == "database"
    assert store(parts, "legal/c", SMALL, of("archive", "local")) == "local", "the default, as it may"
    assert store(parts, "legal/d", SMALL, of("archive")) == "archive"
    with pytest.raises(Forbidden):
        store(parts, "legal/e", SMALL, of("archive"), storage_backend="vault")


def test_a_body_of_unknown_length_is_placed_by_the_size_that_it_has(app: Flask, parts: Parts) -> None:
    def sent(id: str, data: bytes) -> str:
        answer = app.test_client().put(
            f"/v1/content/{id}",
            input_stream=io.BytesIO(data),
            headers=BEARER | {"Transfer-Encoding": "chunked"},
            environ_overrides={"wsgi.input_terminated": True},
        )
        assert answer.status_code == 201, answer.text
        return answer.json["storage_backend"]

    assert sent("a", SMALL) == "database"
    assert sent("b", LARGE) == "local"


def test_a_replacement_is_placed_by_what_it_is(parts: Parts) -> None:
    keep(parts, "a", LARGE)
    replace(parts, "a", SMALL)
    assert home(parts, "a") == "database"
    parts.drive.restore(SERVER, "a", 1)
    assert home(parts, "a") == "local"


# --- By every door


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    client = app.test_client()
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {TOKEN}"
    return client


def test_json_and_raw_bytes(client: FlaskClient, parts: Parts) -> None:
    for id, data, place in (("legal/a", SMALL, "vault"), ("b", SMALL, "database"), ("c", LARGE, "local")):
        answer = client.post("/v1/blobs", json={"id": id, "data": b64encode(data).decode()})
        assert answer.json["storage_backend"] == place
        raw = client.put(f"/v1/content/{id}.raw", data=data)
        assert raw.json["storage_backend"] == place
    video = client.put("/v1/content/video", data=LARGE, content_type="video/webm")
    assert video.json["storage_backend"] == "archive"
    named = client.put("/v1/content/named?storage_backend=local", data=SMALL)
    assert named.json["storage_backend"] == "local"


def test_a_form_of_the_browser(app: Flask, parts: Parts) -> None:
    visitor = Visitor(app)
    visitor.sign_in()
    visitor.get("/drive/files/")
    assert visitor.upload((SMALL, "small"), (LARGE, "film.mp4"), folder="").status_code == 303
    assert (home(parts, "small"), home(parts, "film.mp4")) == ("database", "archive")


def test_file_share_and_putplace(client: FlaskClient, parts: Parts) -> None:
    shared = client.post("/files", data={"file": (io.BytesIO(SMALL), "a.txt")})
    assert home(parts, shared.json["id"]) == "database"
    announced = {
        "filepath": "/srv/film.mp4",
        "hostname": "host",
        "ip_address": "127.0.0.1",
        "sha256": digest_of(LARGE),
        "file_size": len(LARGE),
        "file_mode": 0,
        "file_uid": 0,
        "file_gid": 0,
        "file_mtime": 0.0,
        "file_atime": 0.0,
        "file_ctime": 0.0,
    }
    url = client.post("/put_file", json=announced).json["upload_url"]
    query = {"hostname": "host", "filepath": "/srv/film.mp4"}
    sent = client.post(url, query_string=query, data={"file": (io.BytesIO(LARGE), "film.mp4")})
    assert sent.status_code == 200
    assert home(parts, "host/srv/film.mp4") == "archive"


def test_a_known_digest_is_taken_where_the_rule_says_and_asked_for_where_it_is_not(
    client: FlaskClient, parts: Parts
) -> None:
    def known(id: str, data: bytes) -> Any:
        return client.post("/v1/blobs", json={"id": id, "sha256": digest_of(data), "size": len(data)})

    keep(parts, "a", SMALL)
    assert known("b", SMALL).json["storage_backend"] == "database"
    assert known("legal/c", SMALL).status_code == 202, "those bytes are not in the vault"
    keep(parts, "legal/c", SMALL)
    assert known("legal/d", SMALL).json["storage_backend"] == "vault"
    keep(parts, "e", LARGE, "archive")
    assert known("f", LARGE).json["storage_backend"] == "archive", "no rule fits: it is where it is"
    check(parts)


def test_a_confined_key_is_placed_too(app: Flask, parts: Parts) -> None:
    client = client_of(app, scopes=["read", "write"], prefix="legal/", backends=["database"])
    answer = client.put("/v1/content/legal/a", data=LARGE)
    assert answer.json["storage_backend"] == "database"


# --- Applying rules to what is there


def test_what_is_elsewhere_moves_where_the_first_rule_that_fits_says(
    make_ruled: Callable[..., Flask],
) -> None:
    before: Parts = make_ruled().extensions["simpledrive"]
    films = {"small.mp4": SMALL, "large.mp4": LARGE, "legal/film.mp4": LARGE}
    for id, data in films.items():
        keep(before, id, data)
    keep(before, "fits no rule", LARGE)
    keep(before, "there already", SMALL, "database")
    keep(before, "elsewhere", SMALL[:9], "vault")
    keep(before, "legal/versions", SMALL[:10])
    replace(before, "legal/versions", SMALL[:11], "archive")

    app = make_ruled(*RULES)
    parts: Parts = app.extensions["simpledrive"]
    cli = app.test_cli_runner()
    planned = cli.invoke(args=["drive", "apply-rules", "--dry-run"])
    assert planned.exit_code == 0, planned.output
    assert planned.output.splitlines() == [
        f"Rule 1: 1 records of {11} bytes from archive to vault",
        f"Rule 1: 2 records of {10 + len(LARGE)} bytes from local to vault",
        f"Rule 2: 1 records of {len(SMALL)} bytes from local to database",
        f"Rule 2: 1 records of {9} bytes from vault to database",
        f"Rule 3: 1 records of {len(LARGE)} bytes from local to archive",
    ]
    assert home(parts, "small.mp4") == "local"
    assert parts.migrations.page(SERVER, None, 10)[0] == []

    done = cli.invoke(args=["drive", "apply-rules", "--json"])
    assert done.exit_code == 0, done.output
    assert all(json.loads(line) for line in done.output.splitlines())
    assert {id: home(parts, id) for id in films} == {
        "small.mp4": "database",
        "large.mp4": "archive",
        "legal/film.mp4": "vault",
    }
    assert home(parts, "fits no rule") == "local"
    assert home(parts, "elsewhere") == home(parts, "there already") == "database"
    (earlier,) = parts.history.versions(SERVER, "legal/versions").items
    assert home(parts, "legal/versions") == earlier.version.storage_backend == "vault"
    for id, data in films.items():
        assert fetch(parts, id) == data
    assert len(parts.migrations.page(SERVER, None, 10)[0]) == 5
    check(parts)
    again = cli.invoke(args=["drive", "apply-rules"])
    assert (again.exit_code, again.output) == (0, "")


def test_each_record_is_selected_by_the_rule_that_would_place_it_and_by_no_other(any_parts: Parts) -> None:
    """What is asked of the records says the same as what is asked of a new blob, in whatever order."""
    rules = (
        Rule("b1", prefix="p/", min_size=2),
        Rule("b2", content_type="text/plain", max_size=3),
        Rule("b3", content_type="Image/*", min_size=4),
        Rule("b4", prefix="p/", content_type="image/png"),
        Rule("b5", min_size=3, max_size=3),
        Rule("b6", prefix="p"),
    )
    types = ("text/plain", "text/plain ; x=y", "text/plainer", "IMAGE/png;a=b", "image/x", "a/b")
    for number, (prefix, kind, size) in enumerate(product(("", "p", "p/", "q/"), types, (1, 3, 4))):
        new = NewBlob(id=f"{prefix}{number}", content_type=kind)
        any_parts.drive.store(SERVER, Incoming(io.BytesIO(b"x" * size)), new)
    placement = Placement(any_parts.backends, rules)
    expected: dict[str, str] = {}
    for blob in any_parts.listing.page(SERVER, limit=1000).blobs:
        described = descriptions.of(blob.id, blob.filename, blob.content_type, {})
        if (place := placement.decided(SERVER, None, described, blob.size)) is not None:
            expected[blob.id] = place
    assert set(Counter(expected.values())) == {rule.backend for rule in rules}, "each is tried"
    found: dict[str, str] = {}
    for correction in corrections(rules, any_parts.backends):
        if correction.source == "local":
            said = Selection.from_json(json.loads(json.dumps(correction.selection.as_json())))
            assert said == correction.selection
            for batch in matches(any_parts.database, "local", said):
                for match in batch:
                    assert match.id not in found, "two rules select it"
                    found[match.id] = correction.target
    assert found == expected


def test_what_could_not_be_moved_is_told_by_the_exit_code(make_ruled: Callable[..., Flask]) -> None:
    app = make_ruled({"max_size": 10, "backend": "archive"})
    parts: Parts = app.extensions["simpledrive"]
    keep(parts, "a", b"bytes", "local")
    keep(parts, "b", b"more", "local")
    flip(parts, b"more", "local", 0)
    result = app.test_cli_runner().invoke(args=["drive", "apply-rules"])
    assert result.exit_code == 1
    assert (home(parts, "a"), home(parts, "b")) == ("archive", "local")
