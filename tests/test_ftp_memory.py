"""Memory stays flat with an FTP server behind the drive too, with TLS and without."""

import hashlib
from collections.abc import Callable

import pytest
import requests

from tests.apps import BEARER
from tests.ftp_servers import FtpServer
from tests.needs import need
from tests.servers import Server
from tests.sources import endless_source
from tests.test_memory import MIB, MOST, SIZES, Peak, put


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("ftp", ["pyftpdlib", "proftpd"])
def test_storing_at_and_fetching_from_an_ftp_server_take_little_memory(
    request: pytest.FixtureRequest, make_server: Callable[..., Server], ftp: str, size: int
) -> None:
    need("procfs")
    options: FtpServer = request.getfixturevalue(ftp)
    config = options.config(timeout=60)
    server = make_server(**{f"FTP_{name.upper()}": value for name, value in config.items() if name != "kind"})
    put(server, "ftp", 1)
    answer = requests.delete(f"{server.url}/v1/blobs/large", headers=BEARER, timeout=30)
    assert answer.status_code == 204
    peak = Peak(server)

    put(server, "ftp", size)
    stored = peak.rise() / MIB
    digest = hashlib.sha256()
    with requests.get(f"{server.url}/v1/content/large", headers=BEARER, stream=True, timeout=600) as answer:
        for portion in answer.iter_content(MIB):
            digest.update(portion)
    assert digest.hexdigest() == endless_source(size).sha256
    fetched = peak.rise() / MIB
    print(f"{ftp} {size // MIB} MiB: +{stored:.0f} MiB stored, +{fetched:.0f} MiB fetched")
    assert stored < MOST / MIB
    assert fetched < MOST / MIB
