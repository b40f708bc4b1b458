"""What the drive counts, in Prometheus's terms: every name, in one place.

Where PROMETHEUS_MULTIPROC_DIR is set before this is imported, all processes that have the same folder there
count together (gunicorn.conf.py does so); else each counts for itself. Labels are few and never an id, a name
that a user chose, or a path as it was sent.
"""

from __future__ import annotations

from functools import cache

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics

REGISTRY = CollectorRegistry()

# A date of birth beside every counter would double what is scraped, and several processes have none.
disable_created_metrics()  # type: ignore[no-untyped-call]

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
"""What a `method` may be; every other is OTHER, since callers make them up."""

FAST = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)

REQUESTS = Counter(
    "simpledrive_http_requests",
    "Requests answered, by how: the class of the status, or broken (the answer did not arrive whole).",
    ["method", "route", "outcome"],
    registry=REGISTRY,
)
REQUEST_SECONDS = Histogram(
    "simpledrive_http_request_duration_seconds",
    "From the request's head to the end of its answer, sending included.",
    ["method", "route"],
    buckets=FAST,
    registry=REGISTRY,
)
REQUEST_BYTES = Counter(
    "simpledrive_http_request_body_bytes",
    "Bytes of request bodies, as far as they were read.",
    ["method", "route"],
    registry=REGISTRY,
)
RESPONSE_BYTES = Counter(
    "simpledrive_http_response_body_bytes",
    "Bytes of answers' bodies, as far as they were sent.",
    ["method", "route"],
    registry=REGISTRY,
)
OPERATIONS = Counter(
    "simpledrive_backend_operations",
    "What backends were asked to do, by how it ended.",
    ["backend", "operation", "outcome"],
    registry=REGISTRY,
)
OPERATION_SECONDS = Histogram(
    "simpledrive_backend_operation_duration_seconds",
    "How long backends took; reading without the time in which nobody waited for it.",
    ["backend", "operation"],
    buckets=FAST,
    registry=REGISTRY,
)
READ_BYTES = Counter(
    "simpledrive_backend_read_bytes", "Bytes read from backends.", ["backend"], registry=REGISTRY
)
WRITTEN_BYTES = Counter(
    "simpledrive_backend_written_bytes", "Bytes stored at backends.", ["backend"], registry=REGISTRY
)
READS_ELSEWHERE = Counter(
    "simpledrive_reads_from_another_backend",
    "Reads that another backend than the blob's home has served, or a part of them.",
    ["home", "backend"],
    registry=REGISTRY,
)


def observe_request(
    method: str, route: str, status: int, *, whole: bool, seconds: float, received: int, sent: int
) -> None:
    """Counts a request. `route` is the pattern that it matched, "" for none."""
    method, route = method if method in METHODS else "OTHER", route or "none"
    outcome = f"{status // 100}xx" if whole else "broken"
    _requests(method, route, outcome).inc()
    duration, body, answer = _route(method, route)
    duration.observe(seconds)
    if received:
        body.inc(received)
    if sent:
        answer.inc(sent)


def observe_operation(
    backend: str, operation: str, outcome: str, seconds: float, *, read: int = 0, written: int = 0
) -> None:
    """Counts what a backend did (storage.measured.Observe)."""
    _operations(backend, operation, outcome).inc()
    _durations(backend, operation).observe(seconds)
    if read:
        READ_BYTES.labels(backend).inc(read)
    if written:
        WRITTEN_BYTES.labels(backend).inc(written)


def observe_read_elsewhere(home: str, backend: str) -> None:
    """Counts a read that the home could not serve, or not all of it (reading.Reading)."""
    READS_ELSEWHERE.labels(home, backend).inc()


# Looking a series up by its labels takes as long as counting; and there are few.
@cache
def _requests(method: str, route: str, outcome: str) -> Counter:
    return REQUESTS.labels(method, route, outcome)


@cache
def _route(method: str, route: str) -> tuple[Histogram, Counter, Counter]:
    return (
        REQUEST_SECONDS.labels(method, route),
        REQUEST_BYTES.labels(method, route),
        RESPONSE_BYTES.labels(method, route),
    )


@cache
def _operations(backend: str, operation: str, outcome: str) -> Counter:
    return OPERATIONS.labels(backend, operation, outcome)


@cache
def _durations(backend: str, operation: str) -> Histogram:
    return OPERATION_SECONDS.labels(backend, operation)
