"""/metrics: right sums over several processes, names as Prometheus wants them, nobody's data in them."""

import os
import re
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
import requests
from flask import Flask
from flask.testing import FlaskClient
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from simpledrive import probes
from simpledrive.keys import NewKey
from simpledrive.parts import Parts
from simpledrive.rights import SERVER
from tests.apps import BEARER
from tests.drives import flip, keep, lose
from tests.mirrored import catch_up
from tests.outage import line_to
from tests.problems import assert_problem
from tests.servers import ROOT, Server, wait_for
from tests.sources import content
from tests.wire import connected, head

LABELS = {"method", "route", "outcome", "backend", "operation", "home", "le", "version", "python_version"}
UNITS = ("_seconds", "_bytes", "_total", "_info", "_ratio")
COUNTED_THINGS = {
    "simpledrive_http_requests",
    "simpledrive_backend_operations",
    "simpledrive_backend_blobs",
    "simpledrive_backend_replicas",
    "simpledrive_backend_reachable",
    "simpledrive_reads_from_another_backend",
    "simpledrive_mirror_waiting_copies",
    "simpledrive_mirror_searched",
    "simpledrive_backend_bad_replicas",
    "simpledrive_backend_verified_replicas",
    "simpledrive_backend_replicas_found_bad",
    "simpledrive_database_reachable",
    "simpledrive_process_open_fds",
    "simpledrive_processes",
}
"""What has no unit, being a number of things."""


def parsed(text: str) -> dict[str, Metric]:
    return {family.name: family for family in text_string_to_metric_families(text)}


def value(text: str, sample: str, **labels: str) -> float:
    """The sum of the series of that name that have these labels."""
    found = [
        one.value
        for family in text_string_to_metric_families(text)
        for one in family.samples
        if one.name == sample and labels.items() <= one.labels.items()
    ]
    return sum(found)


def scrape(client: FlaskClient) -> str:
    response = client.get("/metrics", headers=BEARER, buffered=True)
    assert response.status_code == 200, response.text
    return response.text


def scraped(server: Server) -> str:
    response = requests.get(f"{server.url}/metrics", headers=BEARER, timeout=20)
    assert response.status_code == 200, server.output()
    return response.text


def counting_folder(server: Server) -> Path | None:
    """Where the processes of a server count, as its open files tell."""
    for entry in Path(f"/proc/{server.process.pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            path = entry.readlink()
            if path.name == "lock" and path.parent.name.startswith("simpledrive-metrics-"):
                return path.parent
    return None


def test_the_names_are_as_prometheus_wants_them(api: FlaskClient) -> None:
    """What promtool checks: HELP and TYPE for each, once; units; _total for counters and nothing else."""
    api.put("/v1/content/a", data=b"bytes")
    text = scrape(api)
    described: dict[str, set[str]] = {}
    for line in text.splitlines():
        if line.startswith("#"):
            _, word, name, rest = line.split(" ", 3)
            assert rest
            assert word not in described.setdefault(name, set()), f"{word} {name} is there twice"
            described[name].add(word)
    assert all(words == {"HELP", "TYPE"} for words in described.values())
    families = parsed(text)
    assert families
    for name, family in families.items():
        assert re.fullmatch(r"simpledrive(_[a-z]+)+", name)
        assert family.documentation.endswith(".")
        full = f"{name}_total" if family.type == "counter" else name
        assert full in described
        assert name in COUNTED_THINGS or name.endswith(UNITS), f"{name} has no unit"
        assert not name.endswith("_total")
        assert family.type in ("counter", "gauge", "histogram")
        for sample in family.samples:
            assert set(sample.labels) <= LABELS
            assert not sample.name.endswith("_created")


def test_the_documentation_has_every_name_with_its_labels(make_mirrored: Callable[..., Flask]) -> None:
    app = make_mirrored()
    api, parts = app.test_client(), app.extensions["simpledrive"]
    keep(parts, "a", b"bytes")
    catch_up(parts)
    flip(parts, b"bytes", "local", 0)
    api.get("/v1/content/a", headers=BEARER, buffered=True)
    table = re.findall(
        r"^\| `(simpledrive_\w+)` \| ([a-z_, ]*?) ?\|", (ROOT / "docs/operating.md").read_text(), re.MULTILINE
    )
    documented = {name: set(labels.split(", ")) - {""} for name, labels in table}
    families = parsed(scrape(api))
    known = {
        f"{name}_total" if family.type == "counter" else name: set().union(
            *(sample.labels for sample in family.samples)
        )
        - {"le"}
        for name, family in families.items()
    }
    assert documented == known


def test_requests_are_counted_by_pattern_and_never_by_what_users_call_things(api: FlaskClient) -> None:
    route = {"method": "PUT", "route": "/v1/content/<id:id>"}
    before = scrape(api)
    api.put("/v1/content/secret-name", data=b"x" * 1000, buffered=True)
    api.put("/v1/content/secret-name", data=b"x" * 1000, buffered=True)
    api.get("/secret-page", buffered=True)
    api.open("/secret-page", method="SECRET", buffered=True)
    after = scrape(api)

    def grown(sample: str, **labels: str) -> float:
        return value(after, sample, **labels) - value(before, sample, **labels)

    assert grown("simpledrive_http_requests_total", **route, outcome="2xx") == 1
    assert grown("simpledrive_http_requests_total", **route, outcome="4xx") == 1
    assert grown("simpledrive_http_request_duration_seconds_count", **route) == 2
    assert grown("simpledrive_http_request_duration_seconds_sum", **route) > 0
    assert grown("simpledrive_http_request_body_bytes_total", **route) >= 1000
    assert grown("simpledrive_http_response_body_bytes_total", **route) > 0
    assert grown("simpledrive_http_requests_total", route="none", outcome="4xx") == 2
    assert grown("simpledrive_http_requests_total", method="OTHER", route="none") == 1
    assert "secret" not in after.lower()


def test_backends_are_counted_by_what_they_did(api: FlaskClient, parts: Parts) -> None:
    before = scrape(api)
    data = content(300_000)
    keep(parts, "a", data)
    assert api.get("/v1/content/a").data == data
    lose(parts, data, "local")
    assert api.get("/v1/content/a").status_code == 500
    after = scrape(api)

    def grown(sample: str, **labels: str) -> float:
        return value(after, sample, backend="local", **labels) - value(
            before, sample, backend="local", **labels
        )

    operations = "simpledrive_backend_operations_total"
    assert grown(operations, operation="put", outcome="ok") >= 1
    assert grown(operations, operation="read", outcome="ok") >= 1
    assert grown(operations, operation="open", outcome="missing") >= 1
    assert grown("simpledrive_backend_operation_duration_seconds_count", operation="put") >= 1
    assert 300_000 <= grown("simpledrive_backend_written_bytes_total") < 310_000
    assert 300_000 <= grown("simpledrive_backend_read_bytes_total") < 610_000


def test_gauges_tell_how_things_stand(any_app: Flask) -> None:
    parts: Parts = any_app.extensions["simpledrive"]
    client = any_app.test_client()
    keep(parts, "a", b"bytes")
    keep(parts, "same", b"bytes")
    keep(parts, "b", b"more bytes", "database")
    wait_for(lambda: all(probe.reachable for probe in parts.probes.backends().values()), "the probes")
    text = scrape(client)
    for backend, size in (("local", 5), ("database", 10)):
        assert value(text, "simpledrive_backend_replicas", backend=backend) == 1
        assert value(text, "simpledrive_backend_stored_bytes", backend=backend) == size
        assert value(text, "simpledrive_backend_reachable", backend=backend) == 1
    assert value(text, "simpledrive_database_reachable") == 1
    assert value(text, "simpledrive_build_info", version=any_app.config["VERSION"]) == 1
    assert value(text, "simpledrive_process_resident_memory_bytes") > 1 << 20
    assert value(text, "simpledrive_processes") == 1


def test_it_can_be_scraped_while_the_database_is_gone(
    make_app: Callable[..., Flask], postgres_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with line_to(postgres_database) as line:
        client = make_app(database_url=line.url).test_client()
        assert value(scrape(client), "simpledrive_database_reachable") == 1
        monkeypatch.setattr(probes, "WAIT", 0.5)
        line.down()
        text = scrape(client)
        assert value(text, "simpledrive_database_reachable") == 0
        assert "simpledrive_backend_replicas" not in text
        assert value(text, "simpledrive_http_requests_total", route="/metrics") > 0


def test_it_wants_the_scope_admin_over_the_whole_drive(app: Flask, parts: Parts) -> None:
    client = app.test_client()
    assert_problem(client.get("/metrics"), 401, "not-signed-in")
    for rights in ({"scopes": ["read"]}, {"scopes": ["admin"], "prefix": "mine/"}):
        _, credential = parts.keys.issue(SERVER, NewKey(name="watcher", **rights))
        response = client.get("/metrics", headers={"Authorization": f"Bearer {credential}"})
        assert_problem(response, 403, "insufficient_scope")


def test_metrics_public_opens_it_to_all(make_app: Callable[..., Flask]) -> None:
    response = make_app(metrics_public=True).test_client().get("/metrics")
    assert response.status_code == 200
    assert response.headers["Content-Type"].startswith("text/plain; version=")
    assert response.headers["Cache-Control"] == "no-store"


def test_it_speaks_openmetrics_to_those_who_ask_for_it(api: FlaskClient) -> None:
    response = api.get("/metrics", headers=BEARER | {"Accept": "application/openmetrics-text; version=1.0.0"})
    assert response.headers["Content-Type"].startswith("application/openmetrics-text")
    assert response.text.endswith("# EOF\n")


def test_two_workers_count_together(make_server: Callable[..., Server], tmp_path: Path) -> None:
    """Whichever answers: the same sum, of all that both have done."""
    folder = tmp_path / "counting"
    server = make_server(WORKERS=2, PROMETHEUS_MULTIPROC_DIR=folder)
    labels = {"route": "/v1/blobs", "method": "GET", "outcome": "2xx"}
    asked = 0

    def both_have_counted() -> bool:
        nonlocal asked
        for _ in range(10):  # each on a connection of its own, so that either may take it
            assert requests.get(f"{server.url}/v1/blobs", headers=BEARER, timeout=20).ok
            asked += 1
        workers = {str(pid) for pid in server.pids()[1:]}
        counted = {path.stem.rpartition("_")[2] for path in folder.glob("counter_*.db")}
        return len(workers & counted) == 2

    wait_for(both_have_counted, "both workers to take a request")
    wait_for(
        lambda: value(scraped(server), "simpledrive_http_requests_total", **labels) == asked, "the last ones"
    )
    for _ in range(6):
        text = scraped(server)
        assert value(text, "simpledrive_http_requests_total", **labels) == asked
        assert value(text, "simpledrive_http_request_duration_seconds_count", route="/v1/blobs") == asked
        assert value(text, "simpledrive_processes") == 2


def test_what_a_worker_counted_outlives_it_and_a_new_start_begins_at_zero(
    make_server: Callable[..., Server], tmp_path: Path
) -> None:
    server = make_server(WORKERS=1, PROMETHEUS_MULTIPROC_DIR=tmp_path / "counting")

    def counted() -> float:
        return value(scraped(server), "simpledrive_http_requests_total", route="/v1/blobs")

    for _ in range(5):
        requests.get(f"{server.url}/v1/blobs", headers=BEARER, timeout=20)
    wait_for(lambda: counted() == 5, "the last one")
    _, worker = server.pids()
    os.kill(worker, 9)

    def replaced() -> bool:
        with suppress(requests.ConnectionError):
            return counted() == 5 and worker not in server.pids()
        return False

    wait_for(replaced, "another worker")
    server.stop()
    server.start()
    assert counted() == 0


def test_it_is_answered_while_processes_die_and_others_come(
    make_server: Callable[..., Server], tmp_path: Path
) -> None:
    """One may die between making its file and giving it its size; and be at it when others read."""
    server = make_server(WORKERS=3, PROMETHEUS_MULTIPROC_DIR=tmp_path / "counting")
    (tmp_path / "counting" / "counter_999999.db").touch()
    answered: Counter[int] = Counter()
    over = threading.Event()

    def scrape() -> None:
        while not over.is_set():
            with suppress(requests.ConnectionError, requests.exceptions.ChunkedEncodingError):
                answered[requests.get(f"{server.url}/metrics", headers=BEARER, timeout=20).status_code] += 1

    with ThreadPoolExecutor(2) as pool:
        scrapes = [pool.submit(scrape) for _ in range(2)]
        try:
            for _ in range(5):
                before, (worker, *_) = answered.total(), server.pids()[1:]
                os.kill(worker, signal.SIGKILL)
                wait_for(lambda gone=worker: gone not in server.pids(), "its end")
                wait_for(lambda: len(server.pids()) == 4, "another one")
                wait_for(lambda before=before: answered.total() > before + 5, "some answers")
        finally:
            over.set()
        for done in scrapes:
            done.result()
    assert set(answered) == {200}


def test_counting_leaves_no_folder_behind(make_server: Callable[..., Server]) -> None:
    server = make_server()
    folder = counting_folder(server)
    assert folder is not None
    assert list(folder.glob("*.db"))
    server.stop()
    assert not folder.exists()


def test_what_a_killed_server_left_is_removed_by_a_later_one_and_what_is_in_use_is_not(
    make_server: Callable[..., Server],
) -> None:
    server = make_server()
    killed = counting_folder(server)
    server.kill()
    assert killed is not None
    assert killed.exists()
    server.start()
    used = counting_folder(server)
    assert used is not None
    long_ago = time.time() - 3600
    for folder in (killed, used):
        os.utime(folder, (long_ago, long_ago))
    make_server()
    wait_for(lambda: not killed.exists(), "the left-over to be removed")
    assert used.exists()


def test_a_download_that_breaks_off_counts_as_broken(server: Server) -> None:
    data = content(1 << 20) * 64
    requests.put(f"{server.url}/v1/content/big", data=data, headers=BEARER, timeout=60).raise_for_status()
    with connected(server) as connection:
        connection.sendall(head("GET", "/v1/content/big"))
        assert connection.recv(1000)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    route = {"method": "GET", "route": "/v1/content/<id:id>"}
    wait_for(
        lambda: value(scraped(server), "simpledrive_http_requests_total", outcome="broken", **route) == 1,
        "the server to notice",
    )
    sent = value(scraped(server), "simpledrive_http_response_body_bytes_total", **route)
    assert 0 <= sent < len(data)
