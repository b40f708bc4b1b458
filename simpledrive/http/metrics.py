"""/metrics: what Prometheus scrapes (metrics.py has the names)."""

from __future__ import annotations

import logging
import os
import platform
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path

from flask import Blueprint, Response, current_app, request
from prometheus_client import CollectorRegistry, Metric, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector
from prometheus_client.values import ValueClass

from simpledrive.errors import DriveError
from simpledrive.http.current import caller, parts, sign_in_by_header
from simpledrive.http.exchange import Exchange
from simpledrive.integrity.soundness import Sound
from simpledrive.metrics import REGISTRY, observe_request
from simpledrive.models import now
from simpledrive.parts import Parts
from simpledrive.rights import SERVER
from simpledrive.usage import NONE

log = logging.getLogger(__name__)

blueprint = Blueprint("metrics", __name__)

COUNTS_TOGETHER = ValueClass._multiprocess
"""Whether several processes count together, as prometheus_client found when it was imported."""


@blueprint.before_request
def _sign_in() -> None:
    if not parts().settings.metrics_public:
        sign_in_by_header()
        caller().require_everywhere("admin")


@blueprint.get("/metrics")
def metrics() -> Response:
    """All that was counted, by every process, and how things stand now."""
    registry = CollectorRegistry()
    if COUNTS_TOGETHER:
        _Together(registry)  # type: ignore[no-untyped-call]
    else:
        registry.register(REGISTRY)
    registry.register(_State(parts(), current_app.config["VERSION"]))
    encode, content_type = choose_encoder(request.headers.get("Accept", ""))
    response = Response(encode(registry), content_type=content_type)
    response.headers["Cache-Control"] = "no-store"
    return response


def count(exchange: Exchange) -> None:
    """Counts a request when it is over."""
    observe_request(
        exchange.method,
        exchange.route,
        exchange.status,
        whole=exchange.whole,
        seconds=exchange.seconds,
        received=exchange.received,
        sent=exchange.sent,
    )


class _Together(MultiProcessCollector):
    """What all processes have counted, those that are gone too."""

    def collect(self) -> Iterable[Metric]:
        # A process makes its file empty and then gives it a size. Read in between, which is for ever if the
        # process dies there, it would be an error to prometheus_client.
        files = [str(path) for path in Path(self._path).glob("*.db") if path.stat().st_size]
        metrics: Iterable[Metric] = self.merge(files)  # type: ignore[no-untyped-call]
        return metrics


class _State(Collector):
    """How things stand at this moment: what lies where, what can be reached, what the processes use."""

    def __init__(self, parts: Parts, version: str) -> None:
        self._parts, self._version = parts, version

    def collect(self) -> Iterable[Metric]:
        build = GaugeMetricFamily(
            "simpledrive_build_info",
            "Always 1; the labels say what runs.",
            labels=["version", "python_version"],
        )
        build.add_metric([self._version, platform.python_version()], 1)
        yield build
        yield from self._processes()
        yield from self._reachable()

    def _reachable(self) -> Iterator[Metric]:
        database, _ = self._parts.probes.database()
        yield GaugeMetricFamily(
            "simpledrive_database_reachable", "1 if the database of the records answers.", database.reachable
        )
        reachable = GaugeMetricFamily(
            "simpledrive_backend_reachable", "1 if the backend's last probe succeeded.", labels=["backend"]
        )
        for name, probe in self._parts.probes.backends().items():
            reachable.add_metric([name], probe.reachable)
        yield reachable
        if database.reachable:
            yield from self._held()

    def _held(self) -> Iterator[Metric]:
        try:
            usage = self._parts.counters.usage(SERVER)
            sound = self._parts.soundness.of(at.backend for at in usage)
        except DriveError as error:  # it went away in between: the other figures are still good
            log.warning("no figures of what lies where: %s", error)
            return
        blobs = GaugeMetricFamily(
            "simpledrive_backend_blobs", "Blobs whose home is the backend.", labels=["backend"]
        )
        replicas = GaugeMetricFamily(
            "simpledrive_backend_replicas", "Contents kept at the backend, each once.", labels=["backend"]
        )
        size = GaugeMetricFamily(
            "simpledrive_backend_stored_bytes", "Bytes of the contents kept there.", labels=["backend"]
        )
        for at in usage:
            counts = at.counts or NONE
            blobs.add_metric([at.backend], counts.blobs)
            replicas.add_metric([at.backend], counts.replicas)
            size.add_metric([at.backend], counts.bytes)
        yield from (blobs, replicas, size)
        yield from _sound(sound)
        yield from self._lags()

    def _lags(self) -> Iterator[Metric]:
        try:
            lags = self._parts.lags.by_mirror(SERVER)
        except DriveError as error:
            log.warning("no figures of what mirrors lack: %s", error)
            return
        waiting = GaugeMetricFamily(
            "simpledrive_mirror_waiting_copies", "Copies that a mirror still lacks.", labels=["backend"]
        )
        age = GaugeMetricFamily(
            "simpledrive_mirror_lag_seconds",
            "For how long a mirror has lacked the oldest of them; 0 without any.",
            labels=["backend"],
        )
        searched = GaugeMetricFamily(
            "simpledrive_mirror_searched",
            "1 when all was looked through for what a mirror lacks since [mirrors] changed, else 0.",
            labels=["backend"],
        )
        for mirror, lag in lags.items():
            searched.add_metric([mirror], float(lag.is_searched))
            waiting.add_metric([mirror], lag.waiting)
            seconds = 0.0 if lag.since is None else (now() - lag.since).total_seconds()
            age.add_metric([mirror], max(0.0, seconds))
        yield from (waiting, age, searched)

    def _processes(self) -> Iterator[Metric]:
        """What prometheus_client tells of one process, summed over all of the server."""
        pids = _siblings() if COUNTS_TOGETHER else [os.getpid()]
        sums: dict[str, float] = {}
        for pid in pids:
            for metric in ProcessCollector("simpledrive", partial(int, pid), registry=None).collect():
                for sample in metric.samples:
                    sums[sample.name] = sums.get(sample.name, 0.0) + sample.value
        for name, text in PROCESS.items():
            if name in sums:
                family = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
                yield family(name, text, sums[name])
        yield GaugeMetricFamily("simpledrive_processes", "Processes of the server.", len(pids))


def _sound(backends: Mapping[str, Sound]) -> Iterator[Metric]:
    """From the records, as whoever verifies is another process."""
    bad = GaugeMetricFamily(
        "simpledrive_backend_bad_replicas", "Contents known to be wrong or gone there.", labels=["backend"]
    )
    since = GaugeMetricFamily(
        "simpledrive_backend_verified_since_timestamp_seconds",
        "All others were read in full and right, or stored, then or later.",
        labels=["backend"],
    )
    verified = CounterMetricFamily(
        "simpledrive_backend_verified_replicas", "Read in full by verifying, and right.", labels=["backend"]
    )
    found = CounterMetricFamily(
        "simpledrive_backend_replicas_found_bad", "Found wrong or gone by verifying.", labels=["backend"]
    )
    for name, sound in backends.items():
        bad.add_metric([name], sound.bad)
        verified.add_metric([name], sound.verified)
        found.add_metric([name], sound.found_bad)
        if sound.known_since is not None:
            since.add_metric([name], sound.known_since.timestamp())
    yield from (bad, since, verified, found)


PROCESS = {
    "simpledrive_process_cpu_seconds_total": "Processor time of the server's processes, together.",
    "simpledrive_process_resident_memory_bytes": "Resident memory of the server's processes, together.",
    "simpledrive_process_open_fds": "Open files and connections of the server's processes, together.",
}


def _siblings() -> list[int]:
    """The processes of this server, that for long work too: the children of what started them all."""
    parent = os.getppid()
    try:
        listed = Path(f"/proc/{parent}/task/{parent}/children").read_text()
    except OSError:  # not Linux
        return [os.getpid()]
    return [int(pid) for pid in listed.split()]
