"""A backend as it is told to those who may know: what it is, where, and what the last look found."""

from __future__ import annotations

from simpledrive.http.current import parts
from simpledrive.integrity.soundness import Sound
from simpledrive.logs import moment
from simpledrive.look import ProbeResult
from simpledrive.mirroring import Lag
from simpledrive.usage import NONE, Usage


def document(name: str, probe: ProbeResult) -> dict[str, object]:
    """The same at every face: /v1/backends, /readyz?verbose, and `check-backend --json`. Holds no secret."""
    backends = parts().backends
    return {
        "name": name,
        "kind": backends.kind(name),
        "default": name == backends.default,
        "where": backends.where(name),
        "reachable": probe.reachable,
        "detail": probe.why,
        "probed_at": None if probe.at is None else moment(probe.at),
        "probe_ms": None if probe.seconds is None else milliseconds(probe.seconds),
        "steps": [
            {"name": step.name, "passed": step.passed, "ms": milliseconds(step.seconds)}
            for step in probe.steps
        ],
    }


def account(usage: Usage, lag: Lag, sound: Sound) -> dict[str, object]:
    """What lies at a backend, what it lacks as a mirror, and what is known of its bytes."""
    return (usage.counts or NONE)._asdict() | {
        "mirror_of": lag.homes,
        "waiting": lag.waiting,
        "waiting_since": None if lag.since is None else moment(lag.since),
        "waiting_detail": lag.why,
        "mirror_searched": lag.is_searched,
        "bad_replicas": sound.bad,
        "verified_since": None if sound.known_since is None else moment(sound.known_since),
    }


def milliseconds(seconds: float) -> float:
    """To a tenth, which tells the quick steps apart."""
    return round(seconds * 1000, 1)
