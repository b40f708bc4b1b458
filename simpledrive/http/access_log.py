"""One line a request, written when its answer has been sent or has broken off (logs.py says how it looks)."""

from __future__ import annotations

import logging

from simpledrive.http.exchange import Exchange
from simpledrive.logs import REQUESTS

log = logging.getLogger(REQUESTS)

FAULT = 500
"""Other 5xx are explained by a line of their own where somebody must act; a used-up quota is 507 too."""

LONGEST = 1024
"""Characters of a path that are logged: no other process tears a line that fits into one write."""


def write(exchange: Exchange) -> None:
    """Logs a request: ERROR for a fault of ours, else INFO."""
    level = logging.ERROR if exchange.status == FAULT else logging.INFO
    if log.isEnabledFor(level):
        log.log(level, "%s", _Line(exchange), extra={"fields": _fields(exchange)})


def _fields(exchange: Exchange) -> dict[str, object]:
    return {
        "request_id": exchange.request_id,
        "key": exchange.key or None,
        "method": exchange.method,
        "route": exchange.route or None,
        "path": _shortened(exchange.path),
        "status": exchange.status,
        "bytes_in": exchange.received,
        "bytes_out": exchange.sent,
        "whole": exchange.whole,
        "duration_ms": round(exchange.seconds * 1000, 3),
        "address": exchange.address,
    }


def _shortened(path: str) -> str:
    return path if len(path) <= LONGEST else f"{path[:LONGEST]}..."


class _Line:
    """The same for people; made only where it is read."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def __str__(self) -> str:
        told = self._exchange
        end = "" if told.whole else ", broken off"
        by = f" {told.key}" if told.key else ""
        return (
            f"{told.method} {_shortened(told.path)} {told.status} in {told.seconds * 1000:.1f} ms, "
            f"{told.received} bytes in, {told.sent} out{end}, for{by} {told.address} ({told.request_id})"
        )
