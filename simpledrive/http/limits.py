"""How often somebody may ask: requests and wrong keys, counted in windows of time.

The counting is that of `limits`, the engine of Flask-Limiter. The extension itself counts by route, before a
view knows who is asking. Counters are in this process, or in Redis for all
processes; while Redis does not answer, each process counts for itself, and nobody is turned away for that.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Literal, TypeVar, cast

from flask import Flask, Response, current_app, g
from limits import RateLimitItem, parse
from limits.errors import ConfigurationError as NoStorage
from limits.errors import StorageError
from limits.storage import MemoryStorage, RedisStorage, Storage

from simpledrive.config import Settings
from simpledrive.errors import ConfigurationError, TooMany

log = logging.getLogger(__name__)

T = TypeVar("T")

Name = Literal["key", "address", "failed-sign-ins"]

WHAT: dict[Name, str] = {
    "key": "requests with this key",
    "address": "requests without a valid key from this address",
    "failed-sign-ins": "wrong keys from this address, and now none is looked at",
}

PATIENCE = 0.5
"""Seconds that a request waits for Redis."""

AWAY_SECONDS = 5.0
"""How long Redis is left alone after it did not answer: not every request shall wait for it."""


@dataclass(frozen=True)
class Standing:
    """How somebody stands with a limit: `used` of the amount, until `reset` (seconds since 1970)."""

    name: Name
    item: RateLimitItem
    used: int
    reset: float

    @property
    def seconds(self) -> int:
        """Whole seconds until the window ends, at least one."""
        return max(1, math.ceil(self.reset - time.time()))

    @property
    def policy(self) -> str:
        """As a member of the field RateLimit-Policy (draft-ietf-httpapi-ratelimit-headers-10)."""
        return f'"{self.name}";q={self.item.amount};w={self.item.get_expiry()}'

    @property
    def state(self) -> str:
        """As a member of the field RateLimit."""
        return f'"{self.name}";r={max(0, self.item.amount - self.used)};t={self.seconds}'

    def refusal(self) -> TooMany:
        """The error for somebody who is over it."""
        allowed, window = self.item.amount, self.item.get_expiry()
        why = f"There were more than {allowed} {WHAT[self.name]}, in {window} seconds."
        return TooMany(f"{why} Try again in {self.seconds} seconds.", self.seconds)


class Limits:
    """Counters of the limits that the settings name. Raises ConfigurationError where they cannot be kept."""

    def __init__(self, settings: Settings) -> None:
        rates: dict[Name, str] = {
            "key": settings.rate_limit,
            "address": settings.rate_limit_address,
            "failed-sign-ins": settings.failed_sign_ins,
        }
        self._items = {name: parse(rate) for name, rate in rates.items() if rate}
        self._memory = MemoryStorage()
        self._shared = _shared(settings.rate_limit_storage.get_secret_value())
        self._away_until: float | None = None

    def count(self, name: Name, who: str) -> Standing | None:
        """Counts one more; how somebody stands then, or None where there is no such limit."""
        if (item := self._items.get(name)) is None:
            return None
        key, window = item.key_for(name, who), item.get_expiry()
        return self._where_it_works(
            lambda storage: Standing(name, item, storage.incr(key, window), storage.get_expiry(key))
        )

    def used_up(self, name: Name, who: str) -> Standing | None:
        """How somebody stands who has no room for one more; None while there is some. Counts nothing."""
        if (item := self._items.get(name)) is None:
            return None
        key = item.key_for(name, who)

        def work(storage: Storage) -> Standing | None:
            used = storage.get(key)
            return Standing(name, item, used, storage.get_expiry(key)) if used >= item.amount else None

        return self._where_it_works(work)

    def _where_it_works(self, work: Callable[[Storage], T]) -> T:
        if self._shared is None:
            return work(self._memory)
        away = self._away_until
        if away is not None:
            if time.monotonic() < away:
                return work(self._memory)
            self._away_until = time.monotonic() + AWAY_SECONDS  # one looks, the others go on
        try:
            result = work(self._shared)
        except StorageError as error:
            self._away_until = time.monotonic() + AWAY_SECONDS
            if away is None:
                log.warning("RATE_LIMIT_STORAGE does not answer, each process counts for itself: %s", error)
            return work(self._memory)
        if away is not None:
            self._away_until = None
            log.warning("RATE_LIMIT_STORAGE answers again")
        return result


def _shared(url: str) -> RedisStorage | None:
    if url == "memory://":
        return None
    try:
        return RedisStorage(
            url,
            key_prefix="simpledrive",
            wrap_exceptions=True,
            socket_connect_timeout=PATIENCE,
            socket_timeout=PATIENCE,
        )
    except (NoStorage, ValueError) as error:
        raise ConfigurationError("RATE_LIMIT_STORAGE is not a URL of Redis that can be used.") from error


def init_app(app: Flask, settings: Settings) -> None:
    """Gives an app the limits of its settings, and its answers the fields that tell of them."""
    app.extensions["simpledrive.limits"] = Limits(settings)
    app.after_request(_tell)


def count(name: Name, who: str) -> None:
    """Counts a request, or a wrong key, and has the answer tell of it. Raises TooMany."""
    if (standing := _limits().count(name, who)) is not None:
        _note(standing)
        if standing.used > standing.item.amount:
            raise standing.refusal()


def require_room(name: Name, who: str) -> None:
    """Returns if one more would still be within the limit. Raises TooMany."""
    if (standing := _limits().used_up(name, who)) is not None:
        _note(standing)
        raise standing.refusal()


@lru_cache(maxsize=4096)
def network(address: str) -> str:
    """Whom an address stands for: an IPv6 network of 64 bits has one owner, who may use every address."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ip_network((parsed, 64), strict=False))
    return str(parsed)


def _limits() -> Limits:
    return cast(Limits, current_app.extensions["simpledrive.limits"])


def _note(standing: Standing) -> None:
    if "standings" not in g:
        g.standings = {}
    g.standings[standing.name] = standing


def _tell(response: Response) -> Response:
    standings: dict[Name, Standing] = g.get("standings", {})
    if standings:
        response.headers["RateLimit-Policy"] = ", ".join(each.policy for each in standings.values())
        response.headers["RateLimit"] = ", ".join(each.state for each in standings.values())
    return response
