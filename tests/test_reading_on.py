"""Reading on when a home is down, silent or wrong: the reader notices nothing, the log and the metrics do."""

import hashlib
import logging
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from flask import Flask

from simpledrive import outages
from simpledrive.errors import StorageUnavailable
from simpledrive.parts import Parts
from simpledrive.storage.s3 import client as s3_client
from tests.apps import BEARER, settings_for
from tests.drives import PIECE, fetch, flip, keep, lose
from tests.faulty_proxy import FaultyProxy, Reset, Stalled
from tests.ftp_servers import FtpServer
from tests.mirrored import catch_up
from tests.servers import Server, wait_for
from tests.sources import content
from tests.strict_s3 import StrictS3

DATA = content(3 << 20)
LATE = (1 << 20) + PIECE + 17
LARGE = 24 << 20


def reads_elsewhere(text: str, home: str, backend: str) -> float:
    """How many are counted, in what Prometheus scrapes."""
    start = "simpledrive_reads_from_another_backend_total{"
    for line in text.splitlines():
        if line.startswith(start) and f'home="{home}"' in line and f'backend="{backend}"' in line:
            return float(line.split()[-1])
    return 0.0


@pytest.fixture
def app(
    make_mirrored: Callable[..., Flask],
    strict_s3: StrictS3,
    s3_proxy: FaultyProxy,
    monkeypatch: pytest.MonkeyPatch,
) -> Flask:
    """A drive whose home is a bucket behind the proxy, mirrored at `archive`."""
    monkeypatch.setattr(s3_client, "PAUSES", (0.001,) * 4)
    bucket = strict_s3.config(endpoint_url=f"http://127.0.0.1:{s3_proxy.port}", timeout="1")
    return make_mirrored(
        backends={"bucket": bucket}, mirrors={"bucket": ["archive"]}, storage_backend="bucket"
    )


@pytest.fixture
def counted(app: Flask) -> Callable[[], float]:
    """How many reads `archive` has served for the bucket since the test began."""
    client = app.test_client()

    def scraped() -> float:
        text = client.get("/metrics", headers=BEARER, buffered=True).text
        return reads_elsewhere(text, "bucket", "archive")

    before = scraped()
    return lambda: scraped() - before


def opened(parts: Parts, monkeypatch: pytest.MonkeyPatch, backend: str) -> list[str]:
    """The keys that are asked of a backend from now on."""
    storage, keys = parts.backends.use(backend), []
    original = storage.open

    def open_and_tell(key: str, *ends: int | None) -> Any:
        keys.append(key)
        return original(key, *ends)

    monkeypatch.setattr(storage, "open", open_and_tell)
    return keys


def test_a_home_that_is_down_is_read_from_its_mirror(
    parts: Parts,
    s3_proxy: FaultyProxy,
    counted: Callable[[], float],
    caplog: pytest.LogCaptureFixture,
) -> None:
    keep(parts, "a", DATA)
    catch_up(parts)
    s3_proxy.refuse()
    s3_proxy.close_all()
    with caplog.at_level(logging.INFO):
        assert fetch(parts, "a") == DATA
        assert fetch(parts, "a", LATE, LATE + 9) == DATA[LATE : LATE + 9]
    assert "on bucket failed at byte 0: bucket: open: connection refused" in caplog.text
    assert "is read from archive from byte 0 on; its home is bucket" in caplog.text
    assert counted() == 2


def test_a_home_that_breaks_off_in_the_middle_is_read_on_from_its_mirror(
    parts: Parts, s3_proxy: FaultyProxy, counted: Callable[[], float]
) -> None:
    keep(parts, "a", DATA)
    catch_up(parts)
    s3_proxy.refuse()  # but for the connection that there is
    s3_proxy.expect(Reset(when=b"GET /", down=LATE))
    assert fetch(parts, "a") == DATA
    assert s3_proxy.happened == 1
    assert counted() == 1


def test_bytes_that_are_wrong_or_lost_at_home_are_read_from_its_mirror(
    make_mirrored: Callable[..., Flask],
) -> None:
    parts: Parts = make_mirrored().extensions["simpledrive"]
    for seed, harm in enumerate(
        (lambda data: flip(parts, data, "local", LATE), lambda data: lose(parts, data, "local"))
    ):
        data = content(3 << 20, seed)
        keep(parts, f"{seed}", data)
        catch_up(parts)
        harm(data)
        assert fetch(parts, f"{seed}") == data
        assert fetch(parts, f"{seed}", LATE - 5, LATE + 5) == data[LATE - 5 : LATE + 5]


def test_a_home_that_does_not_answer_costs_one_read_its_timeout_and_no_further_one(
    parts: Parts,
    s3_proxy: FaultyProxy,
    counted: Callable[[], float],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    keep(parts, "a", DATA)
    catch_up(parts)
    s3_proxy.expect(*(Stalled(when=b"GET /", down=0) for _ in range(20)))
    assert fetch(parts, "a") == DATA
    asked = opened(parts, monkeypatch, "bucket")
    for _ in range(5):
        assert fetch(parts, "a") == DATA
    assert asked == []
    assert counted() == 6


def test_a_home_that_answers_again_is_asked_first_again(
    parts: Parts,
    s3_proxy: FaultyProxy,
    counted: Callable[[], float],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    keep(parts, "a", DATA)
    catch_up(parts)
    s3_proxy.refuse()
    s3_proxy.close_all()
    fetch(parts, "a")
    s3_proxy.accept_again()
    assert parts.probes.backends(now=["bucket"])["bucket"].reachable
    asked = opened(parts, monkeypatch, "bucket")
    assert fetch(parts, "a") == DATA
    assert len(asked) == 1
    assert counted() == 1


def test_an_outage_is_forgotten_after_a_while_without_any_probe(
    parts: Parts, s3_proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(parts, "a", DATA)
    catch_up(parts)
    s3_proxy.refuse()
    s3_proxy.close_all()
    fetch(parts, "a")
    s3_proxy.accept_again()
    monkeypatch.setattr(outages, "REMEMBERED", 0.0)
    asked = opened(parts, monkeypatch, "bucket")
    assert fetch(parts, "a") == DATA
    assert len(asked) == 1


def test_a_silent_backend_is_asked_all_the_same_where_nobody_else_has_the_bytes(
    parts: Parts, s3_proxy: FaultyProxy
) -> None:
    keep(parts, "a", DATA)
    s3_proxy.refuse()
    s3_proxy.close_all()
    with pytest.raises(StorageUnavailable):
        fetch(parts, "a")
    s3_proxy.accept_again()
    assert fetch(parts, "a") == DATA


def test_a_mirror_that_is_down_is_not_asked(
    parts: Parts, monkeypatch: pytest.MonkeyPatch, counted: Callable[[], float]
) -> None:
    keep(parts, "a", DATA)
    catch_up(parts)
    asked = opened(parts, monkeypatch, "archive")
    assert fetch(parts, "a") == DATA
    assert asked == []
    assert counted() == 0


def test_the_homes_server_is_killed_in_the_middle_of_a_download(
    make_server: Callable[..., Server],
    make_app: Callable[..., Flask],
    mortal_ftp: FtpServer,
    tmp_path: Path,
) -> None:
    """Through gunicorn, from an FTP server to a disk."""
    options = "".join(f"{name} = '{value}'\n" for name, value in mortal_ftp.config().items())
    config = tmp_path / "mirrored.toml"
    config.write_text(
        f"[backends.nas]\n{options}[backends.archive]\nkind = 'local'\npath = '{tmp_path}/archive'\n"
        "[mirrors]\nnas = ['archive']\n"
    )
    server = make_server(SIMPLEDRIVE_CONFIG=config)
    url, digest = f"{server.url}/v1/content/large", hashlib.sha256(content(LARGE)).hexdigest()
    stored = requests.put(f"{url}?storage_backend=nas", data=content(LARGE), headers=BEARER, timeout=60)
    assert stored.status_code == 201, stored.text
    catch_up(worker_beside(server, make_app))

    got = hashlib.sha256()
    with requests.get(url, headers=BEARER, timeout=60, stream=True) as answer:
        portions = answer.iter_content(1 << 18)
        got.update(next(portions))
        os.kill(mortal_ftp.process, signal.SIGKILL)
        for portion in portions:
            got.update(portion)
    assert got.hexdigest() == digest
    wait_for(lambda: "is read from archive from byte" in server.output(), "the log")
    assert "on nas failed at byte" in server.output()
    text = requests.get(f"{server.url}/metrics", headers=BEARER, timeout=20).text
    assert reads_elsewhere(text, "nas", "archive") == 1
    assert requests.get(url, headers=BEARER, timeout=60).content == content(LARGE)


def worker_beside(server: Server, make_app: Callable[..., Flask]) -> Parts:
    """The parts of the drive that the server serves, as a worker has them."""
    config = Path(server.environ["SIMPLEDRIVE_CONFIG"])
    (server.folder / "simpledrive.toml").write_text(config.read_text())
    assert settings_for(server.folder).instance_path == server.folder / "instance"
    parts: Parts = make_app().extensions["simpledrive"]
    return parts
