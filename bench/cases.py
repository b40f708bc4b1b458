"""What is measured: families of cases that share their servers and their contents."""

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

from figures import Figures, Verb
from floors import Floor
from payloads import BigFile, Payload
from servers import FileServer
from slow import Trickle

Target = FileServer | Floor
T = TypeVar("T")
KEPT_BYTES = 16 << 20
CONCURRENCIES = (1, 16)
WARMING = 0.3
SLOW = 64
UNANSWERED = 5.0


@dataclass(frozen=True)
class Case:
    """One line of questions to every target. `measure(target, round)` is None where it does not apply.

    `against` is what a target is compared with, by name, if each has its own.
    """

    name: str
    unit: str
    measure: Callable[[Any, int], Figures | None]
    against: Mapping[str, str] = field(default_factory=dict, hash=False, compare=False)


class Family(Protocol):
    """Cases that are measured on the same servers, each started fresh."""

    def prepare(self, target: Any) -> None:
        """Looks, untimed, whether it answers with what it was given, and stores what is to be fetched."""

    def cases(self) -> Iterator[Case]: ...

    def order(self, targets: list[Any], number: int) -> list[Any]:
        """The targets as they take their turns in a round."""


class OverHttp:
    """What is asked of servers: who is first moves on by one each round."""

    def order(self, targets: list[T], number: int) -> list[T]:
        turn = number % len(targets)
        return targets[turn:] + targets[:turn]


class Json(OverHttp):
    """Small bodies: the drive's documents, the same bytes raw elsewhere. Every store is of new bytes."""

    def __init__(self, size: int, label: str, seconds: float) -> None:
        self.payload, self.label, self.seconds = Payload(size), label, seconds
        self.kept = max(16, min(200, KEPT_BYTES // size))

    def prepare(self, target: Target) -> None:
        target.check(self.payload)
        target.keep(self.payload, self.kept)
        # Every worker has imported, connected and compiled what it needs before anything is timed.
        for verb in ("store", "fetch"):
            target.rate(verb, self.payload, "warming", self.kept, max(CONCURRENCIES), WARMING)

    def cases(self) -> Iterator[Case]:
        for verb, method in (("store", "POST"), ("fetch", "GET")):
            for concurrency in CONCURRENCIES:
                name = f"JSON {method}, {self.label}, {concurrency} at a time"
                yield Case(name, "requests/s", self._measure(verb, concurrency))

    def _measure(self, verb: Verb, concurrency: int) -> Callable[[Target, int], Figures | None]:
        def measured(target: Target, number: int) -> Figures | None:
            if verb == "store":
                settle()
            tag = f"r{number}c{concurrency}"
            return target.rate(verb, self.payload, tag, self.kept, concurrency, self.seconds)

        return measured


class Slow(Json):
    """Fetching as ever, beside connections that send a byte a second. Only where there is a server."""

    BESIDE = ("nobody", "slow heads", "slow bodies")

    def cases(self) -> Iterator[Case]:
        for beside in self.BESIDE:
            count = f"{SLOW} " if beside != "nobody" else ""
            name = f"GET, {self.label}, {max(CONCURRENCIES)} at a time, beside {count}{beside}"
            yield Case(name, "requests/s", self._beside(beside))

    def _beside(self, beside: str) -> Callable[[Target, int], Figures | None]:
        def measured(target: Target, number: int) -> Figures | None:
            if isinstance(target, Floor):
                return None
            opening = target.raw("PUT", f"slow{number}", {"Content-Length": "1000000"})
            if beside == "slow heads":
                opening = opening[: -len("\r\n\r\n")]
            with Trickle(target.address, opening, SLOW if beside != "nobody" else 0):
                return target.rate(
                    "fetch", self.payload, "", self.kept, max(CONCURRENCIES), self.seconds, UNANSWERED
                )

        return measured


class Raw(OverHttp):
    """One large body of raw bytes, stored and fetched again in each round."""

    def __init__(self, mib: int, folder: Path) -> None:
        self.mib, self.big = mib, BigFile(folder / "content", mib)

    def prepare(self, target: Target) -> None:
        target.check_big(self.big)

    def cases(self) -> Iterator[Case]:
        yield Case(f"raw PUT, {self.mib} MiB", "MB/s", self._put)
        yield Case(f"raw GET, {self.mib} MiB", "MB/s", self._get)

    def _put(self, target: Target, number: int) -> Figures | None:
        settle()
        return target.transfer("store", self.big, f"r{number}")

    def _get(self, target: Target, number: int) -> Figures | None:
        return target.transfer("fetch", self.big, f"r{number}")


def settle() -> None:
    """What one target left in the page cache is not to be written in the next one's time."""
    os.sync()
