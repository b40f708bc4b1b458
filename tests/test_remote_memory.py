"""Memory stays flat with a bucket or an FTP server behind the drive too."""

import hashlib
from collections.abc import Callable

import pytest
import requests

from tests.apps import BEARER
from tests.ftp_servers import FtpServer
from tests.needs import need
from tests.s3_servers import S3Server
from tests.servers import Server
from tests.sources import endless_source
from tests.test_memory import MIB, MOST, SIZES, Peak, put


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("server", ["rclone_s3", "pyftpdlib", "proftpd"])
def test_storing_at_and_fetching_from_another_server_take_little_memory(
    request: pytest.FixtureRequest, make_server: Callable[..., Server], server: str, size: int
) -> None:
    need("procfs")
    place: S3Server | FtpServer = request.getfixturevalue(server)
    config = place.config(timeout="60")
    kind = config.pop("kind")
    drive = make_server(**{f"{kind}_{name}".upper(): value for name, value in config.items()})
    put(drive, kind, 1)
    answer = requests.delete(f"{drive.url}/v1/blobs/large", headers=BEARER, timeout=30)
    assert answer.status_code == 204
    peak = Peak(drive)

    put(drive, kind, size)
    stored = peak.rise() / MIB
    digest = hashlib.sha256()
    with requests.get(f"{drive.url}/v1/content/large", headers=BEARER, stream=True, timeout=600) as answer:
        for portion in answer.iter_content(MIB):
            digest.update(portion)
    assert digest.hexdigest() == endless_source(size).sha256
    fetched = peak.rise() / MIB
    print(f"{server} {size // MIB} MiB: +{stored:.0f} MiB stored, +{fetched:.0f} MiB fetched")
    assert stored < MOST / MIB
    assert fetched < MOST / MIB
