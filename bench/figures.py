"""What one round of one case measured, and how rounds compare."""

from dataclasses import dataclass
from statistics import median
from typing import Literal

Verb = Literal["store", "fetch"]


@dataclass
class Figures:
    """One target, one case, one round. `rate` is requests or megabytes (10^6 bytes) a second: more is better.

    Memory is None for what runs without a server, latencies for what is a single transfer.
    """

    rate: float
    seconds: float
    cpu_seconds: float
    requests: int
    failed: int = 0
    p50_ms: float | None = None
    p99_ms: float | None = None
    idle_bytes: int | None = None
    peak_bytes: int | None = None
    client_share: float | None = None

    @property
    def answered(self) -> float:
        """The share of requests that had their answer, and a good one."""
        return self.requests / (self.requests + self.failed)

    @property
    def over_idle(self) -> int | None:
        """Bytes that the server held more than right after its start."""
        if self.peak_bytes is None or self.idle_bytes is None:
            return None
        return self.peak_bytes - self.idle_bytes


def percentile(values: list[float], share: float) -> float:
    """The value that this share of them does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def ratio(rounds: list[Figures], reference: list[Figures]) -> float | None:
    """rounds / reference: the median of the rounds' own ratios: what slowed both in one cancels out."""
    pairs = zip(rounds, reference, strict=True)
    ratios = [ours.rate / theirs.rate for ours, theirs in pairs if theirs.rate]
    return median(ratios) if ratios else None


def middle(values: list[float | None]) -> float | None:
    """The median of the values that there are."""
    there = [value for value in values if value is not None]
    return median(there) if there else None
