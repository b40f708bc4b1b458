"""A drive with backends of each kind that work, and others that are each in a trouble of their own."""

from collections.abc import Callable
from pathlib import Path

import pytest
from flask import Flask

from simpledrive import probes
from simpledrive.errors import StorageFull
from simpledrive.storage import registry
from simpledrive.storage.base import MARKER
from simpledrive.storage.s3 import client as s3_client
from simpledrive.streams.source import Source
from tests.broken_storages import MemoryStorage
from tests.ftp_servers import PASSWORD, FtpServer
from tests.sources import source_of
from tests.strict_s3 import StrictS3

WELL = {"local": "local", "database": "database", "bucket": "s3", "nas": "ftp"}
"""What can be used, and its kind."""

TROUBLES = {
    "down": ("marker", "connection refused"),
    "stranger": ("marker", "the login is refused (530): a wrong user or password"),
    "foreign": ("marker", "its marker is that of another drive or backend"),
    "full": ("write", "no space is left"),
}
"""What cannot: at which step it fails, and what is said of it."""

STEPS = ["marker", "write", "read", "compare", "list", "delete"]

WRONG = "hunter2-hunter2"
SECRETS = (WRONG, PASSWORD, "strict-secret-key")


class FullStorage(MemoryStorage):
    """Has room for the marker, and no more."""

    def put(self, key: str, source: Source) -> None:
        if key != MARKER:
            raise StorageFull(self.name, "put", "no space is left")
        super().put(key, source)


def backends(folder: Path, bucket: StrictS3, nas: FtpServer) -> dict[str, dict[str, str]]:
    """The configuration of all but `local`, `database` and `full`, which is no kind of the drive's."""
    registry.build("foreign", {"kind": "local", "path": folder}).put(MARKER, source_of(b"another drive's"))
    return {
        "bucket": bucket.config(prefix="some/where"),
        "nas": nas.config(),
        "down": bucket.config(endpoint_url="http://127.0.0.1:1", secret_access_key=WRONG),
        "stranger": nas.config(password=WRONG),
        "foreign": {"kind": "local", "path": str(folder)},
    }


@pytest.fixture
def troubled(
    make_app: Callable[..., Flask],
    strict_s3: StrictS3,
    pyftpdlib: FtpServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Flask:
    """An app with all of them."""
    monkeypatch.setattr(probes, "WAIT", 20.0)
    monkeypatch.setattr(s3_client, "PAUSES", (0.001,) * 4)
    monkeypatch.setitem(registry.KINDS, "full", FullStorage)
    configured = backends(tmp_path / "foreign", strict_s3, pyftpdlib)
    return make_app(backends=configured | {"full": {"kind": "full", "password": WRONG}})
