"""A drive whose blobs are in a bucket: what people see when the network or the server does wrong."""

import base64
from collections.abc import Callable
from itertools import permutations

import pytest
from flask import Flask
from flask.testing import FlaskClient

from simpledrive.errors import IntegrityFault
from simpledrive.parts import Parts
from simpledrive.rights import SERVER
from simpledrive.storage.s3 import client as s3_client
from tests.apps import BEARER
from tests.drives import PIECE, check, fetch, keep, replicas
from tests.faulty_proxy import Corrupted, Fault, FaultyProxy, Reset, Stalled
from tests.problems import assert_problem
from tests.sources import content
from tests.strict_s3 import StrictS3
from tests.strict_signature import Refused

DATA = content(3 * (1 << 20) + 5)
LATE = (1 << 20) + PIECE + 17
"""A byte in the sixth piece."""


@pytest.fixture
def app(
    make_app: Callable[..., Flask],
    strict_s3: StrictS3,
    s3_proxy: FaultyProxy,
    monkeypatch: pytest.MonkeyPatch,
) -> Flask:
    """An app whose default backend is the bucket, behind the proxy."""
    monkeypatch.setattr(s3_client, "FIRST_PAUSE", 0.01)
    account = strict_s3.account
    return make_app(
        storage_backend="s3",
        s3_endpoint_url=f"http://127.0.0.1:{s3_proxy.port}",
        s3_bucket_name=strict_s3.bucket,
        s3_access_key_id=account.access_key,
        s3_secret_access_key=account.secret_key,
        s3_region=account.region,
        s3_prefix="drive",
        s3_timeout=1,
    )


@pytest.fixture
def api(app: Flask) -> FlaskClient:
    client = app.test_client()
    client.environ_base["HTTP_AUTHORIZATION"] = BEARER["Authorization"]
    return client


def store(api: FlaskClient, id: str, data: bytes) -> object:
    return api.post("/v1/blobs", json={"id": id, "data": base64.b64encode(data).decode()})


def test_a_blob_is_stored_and_read(api: FlaskClient, strict_s3: StrictS3, parts: Parts) -> None:
    answer = store(api, "a/b.txt", DATA)
    assert answer.status_code == 201
    assert answer.json["storage_backend"] == "s3"
    assert api.get("/v1/content/a/b.txt").data == DATA
    some = api.get("/v1/content/a/b.txt", headers={"Range": f"bytes={LATE}-{LATE + 9}"})
    assert (some.status_code, some.data) == (206, DATA[LATE : LATE + 10])
    assert len(strict_s3.objects) == 2, "the marker and the blob"
    assert all(key.startswith("drive/") for key in strict_s3.objects)
    check(parts)


@pytest.mark.parametrize("start", [0, LATE - 5])
def test_a_piece_that_was_altered_on_its_way_is_asked_for_again(
    parts: Parts, s3_proxy: FaultyProxy, start: int
) -> None:
    keep(parts, "a", DATA)
    s3_proxy.expect(Corrupted(when=b"GET /", down=LATE - start))
    assert fetch(parts, "a", start, LATE + 5) == DATA[start : LATE + 5]
    assert s3_proxy.happened == 1
    assert replicas(parts)[0].bad_at is None


@pytest.mark.parametrize("start", [0, LATE - 5])
def test_a_piece_that_was_altered_in_the_bucket_is_never_passed_on(
    parts: Parts, strict_s3: StrictS3, start: int
) -> None:
    blob = keep(parts, "a", DATA)
    (file,) = [held.file for key, held in strict_s3.objects.items() if blob.sha256 in key]
    altered = bytearray(DATA)
    altered[LATE] ^= 1
    file.write_bytes(altered)
    got = b""
    try:
        for portion in parts.drive.read(SERVER, parts.drive.describe(SERVER, "a"), start, LATE + 5):
            got += portion
    except IntegrityFault:
        assert len(got) < LATE + 5 - start
    else:
        pytest.fail("the transfer ended as if it were complete")
    assert DATA[start:].startswith(got)
    assert fetch(parts, "a", LATE + PIECE) == DATA[LATE + PIECE :]


def test_a_reply_that_was_lost_is_no_error(api: FlaskClient, s3_proxy: FaultyProxy, parts: Parts) -> None:
    store(api, "first", b"so that the marker is there")
    s3_proxy.expect(Reset(when=b"PUT /", down=0))
    assert store(api, "a", DATA).status_code == 201
    assert s3_proxy.happened == 1
    assert fetch(parts, "a") == DATA
    check(parts)


@pytest.mark.parametrize("fault", [Reset(when=b"PUT /", up=500_000), Stalled(when=b"PUT /", up=500_000)])
def test_a_server_that_cannot_be_reached_is_503_and_no_blob(
    api: FlaskClient, s3_proxy: FaultyProxy, fault: Fault, parts: Parts
) -> None:
    store(api, "first", b"so that the marker is there")
    s3_proxy.expect(*[fault] * s3_client.ATTEMPTS)
    answer = store(api, "a", DATA)
    document = assert_problem(answer, 503, "storage-unavailable")
    assert int(answer.headers["Retry-After"]) > 0
    assert "secret" not in str(document)
    assert api.get("/v1/blobs/a").status_code == 404
    check(parts)


@pytest.mark.parametrize(
    ("refused", "status", "kind"),
    [
        (Refused(403, "AccessDenied", "Access Denied"), 502, "storage-refused"),
        (Refused(403, "QuotaExceeded", "The quota is used up."), 507, "storage-full"),
    ],
)
def test_a_server_that_refuses_is_told_apart_and_leaves_no_blob(
    api: FlaskClient, strict_s3: StrictS3, refused: Refused, status: int, kind: str, parts: Parts
) -> None:
    store(api, "first", b"so that the marker is there")
    strict_s3.next.extend([lambda asked: None, lambda asked: refused])
    assert_problem(store(api, "a", DATA), status, kind)
    assert api.get("/v1/blobs/a").status_code == 404
    check(parts)


def test_blobs_move_between_a_bucket_and_every_other_kind(parts: Parts) -> None:
    for source, target in permutations(("s3", "local", "database"), 2):
        id, data = f"{source} to {target}", content(3 << 20, seed=len(source + target))
        keep(parts, id, data, source)
        moves = list(parts.migration.run(source, target))
        assert [move.why for move in moves] == [None] * len(moves)
        assert fetch(parts, id) == data
        assert parts.drive.describe(SERVER, id).storage_backend == target
    check(parts)
