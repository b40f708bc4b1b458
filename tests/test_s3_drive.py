"""A drive whose blobs are in a bucket: where they lie there, and what becomes of altered bytes.

Faults of the network and the server are in test_drive_faults.py, for every kind alike.
"""

import base64
from collections.abc import Callable

import pytest
from flask import Flask
from flask.testing import FlaskClient

from simpledrive.errors import IntegrityFault
from simpledrive.parts import Parts
from simpledrive.rights import SERVER
from simpledrive.storage.s3 import client as s3_client
from tests.apps import BEARER
from tests.drives import PIECE, check, fetch, keep, replicas
from tests.faulty_proxy import Corrupted, FaultyProxy
from tests.sources import content
from tests.strict_s3 import StrictS3

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
    monkeypatch.setattr(s3_client, "PAUSES", (0.01,) * 4)
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
