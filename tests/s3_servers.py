"""S3 servers for tests: rclone's and moto, as child processes, our own strict one, in a thread; and yours.

docs/testing-s3.md says how to name a server of your own.
"""

import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
import requests

from simpledrive.storage import sigv4
from simpledrive.storage.base import MARKER
from simpledrive.storage.registry import build
from simpledrive.storage.s3 import storage
from simpledrive.storage.s3.options import S3Options
from tests.children import free_port, running
from tests.faulty_proxy import FaultyProxy
from tests.needs import need, program
from tests.strict_s3 import StrictS3

PATIENCE = 30


@dataclass
class S3Server:
    """A server in which each test has a bucket of its own."""

    url: str
    credentials: sigv4.Credentials
    region: str = "us-east-1"
    _numbers: Iterator[int] = field(default_factory=lambda: count(1))

    def config(self, **more: str) -> dict[str, str]:
        """The configuration of a backend in a new bucket."""
        name = f"drive-{next(self._numbers)}"
        headers = sigv4.authorize(
            "PUT",
            f"/{name}",
            "",
            {"Host": urlsplit(self.url).netloc},
            sigv4.EMPTY_SHA256,
            self.credentials,
            sigv4.Scope(self.region),
            datetime.now(UTC),
        )
        requests.put(f"{self.url}/{name}", headers=headers, timeout=PATIENCE).raise_for_status()
        return {
            "kind": "s3",
            "endpoint_url": self.url,
            "region": self.region,
            "bucket_name": name,
            "access_key_id": self.credentials.access_key_id,
            "secret_access_key": self.credentials.secret_access_key,
        } | more


@dataclass
class OwnS3:
    """A bucket of your own, in which each test has a prefix. All is removed afterwards."""

    options: dict[str, str]
    _prefix: str = field(default_factory=lambda: f"simpledrive-test-{uuid4().hex}")
    _configs: list[dict[str, str]] = field(default_factory=list)

    def config(self, prefix: str = "", **more: str) -> dict[str, str]:
        prefix = f"{self._prefix}/{len(self._configs)}/{prefix}"
        self._configs.append({"kind": "s3", **self.options, "prefix": prefix, **more})
        return self._configs[-1]

    def clear(self) -> None:
        for config in self._configs:
            storage = build("own", config)
            for key in [*storage.keys(), MARKER]:
                storage.delete(key)
            storage.clean(datetime.now(UTC) + timedelta(days=1))
            storage.close()


OWN = {
    option: os.environ[f"TEST_S3_{option.upper()}"]
    for option in S3Options.model_fields
    if f"TEST_S3_{option.upper()}" in os.environ
}


@pytest.fixture(scope="session")
def rclone_s3() -> Iterator[S3Server]:
    """`rclone serve s3`: right about signatures, careless about digests and conditions."""
    need("rclone")
    port, rclone = free_port(), program("rclone")
    assert rclone is not None
    with tempfile.TemporaryDirectory() as folder:
        command = [rclone, "serve", "s3", "--config", "/dev/null", "--addr", f"127.0.0.1:{port}"]
        command += ["--auth-key", "rcloneaccess,rclone-secret-key", f"{folder}"]
        with tempfile.NamedTemporaryFile() as log, running(command, port, Path(log.name)):
            yield S3Server(f"http://127.0.0.1:{port}", sigv4.Credentials("rcloneaccess", "rclone-secret-key"))


@pytest.fixture(scope="session")
def moto_s3() -> Iterator[S3Server]:
    """moto's server: right about conditions and lists, takes any signature."""
    need("moto")
    port, moto = free_port(), program("moto_server")
    assert moto is not None
    command = [moto, "-H", "127.0.0.1", "-p", str(port)]
    with tempfile.NamedTemporaryFile() as log, running(command, port, Path(log.name)):
        yield S3Server(f"http://127.0.0.1:{port}", sigv4.Credentials("motoaccess", "moto-secret-key"))


@pytest.fixture
def strict_s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[StrictS3]:
    """Our own server, which takes nothing amiss; fresh and empty, and alone with who marks it."""
    monkeypatch.setattr(storage, "AT_THE_SAME_MOMENT", 0)
    with StrictS3() as server:
        yield server


@pytest.fixture
def s3_proxy(strict_s3: StrictS3) -> Iterator[FaultyProxy]:
    """What stands between a storage and the strict server."""
    with FaultyProxy(strict_s3.port) as proxy:
        yield proxy


@pytest.fixture(scope="session")
def own_s3() -> Iterator[OwnS3]:
    """The bucket that TEST_S3_BUCKET_NAME and its like name."""
    server = OwnS3(OWN)
    yield server
    server.clear()
