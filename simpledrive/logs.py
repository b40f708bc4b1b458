"""What a log line looks like: a JSON document for machines, readable text on a terminal.

A line cannot be forged by what users send: whatever is not printable is escaped, in JSON by JSON itself, so
one line is one record. Requests go to stdout (http/access_log.py), everything else to stderr.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TextIO

DRIVE = "simpledrive"
REQUESTS = "simpledrive.requests"
"""The logger of one line a request. Its records carry `fields`, a dictionary."""


def set_up(level: str, log_format: str, request_id: Callable[[], str]) -> None:
    """Makes this process's drive log like this. Called again, the last call counts.

    `log_format` is json, text, or auto: text where the stream is a terminal. `request_id` tells the request
    that a record belongs to, "" for none.
    """
    drive, requests = logging.getLogger(DRIVE), logging.getLogger(REQUESTS)
    drive.setLevel(level)
    _replace_handler(drive, _Stderr(), log_format, request_id)
    _replace_handler(requests, _Stdout(), log_format, request_id)
    requests.propagate = False


def lines(log_format: str, stream: TextIO) -> logging.Formatter:
    """How records look on this stream: text, or JSON, or what fits it (auto)."""
    return TextLines() if log_format == "text" or (log_format == "auto" and stream.isatty()) else JsonLines()


class _Lines(logging.StreamHandler[TextIO]):
    """Writes to whatever the stream is at that moment: tests and servers exchange it."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)


class _Stdout(_Lines):
    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        return sys.stdout


class _Stderr(_Lines):
    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        return sys.stderr


def _replace_handler(
    logger: logging.Logger, handler: _Lines, log_format: str, request_id: Callable[[], str]
) -> None:
    def belongs(record: logging.LogRecord) -> bool:
        record.request_id = request_id()
        return True

    for old in [old for old in logger.handlers if isinstance(old, _Lines)]:
        logger.removeHandler(old)
    handler.setFormatter(lines(log_format, handler.stream))
    handler.addFilter(belongs)
    logger.addHandler(handler)


class JsonLines(logging.Formatter):
    """A record as one JSON document in ASCII: no character in it ends a line or moves a cursor."""

    def format(self, record: logging.LogRecord) -> str:
        document: dict[str, object] = {"time": _time(record), "level": record.levelname}
        fields: dict[str, object] | None = getattr(record, "fields", None)
        if fields is not None:
            return json.dumps(document | fields)
        document |= {"logger": record.name, "message": record.getMessage()}
        if request := getattr(record, "request_id", ""):
            document["request_id"] = request
        if record.exc_info:
            document["traceback"] = self.formatException(record.exc_info)
        return json.dumps(document)


class TextLines(logging.Formatter):
    """A record as a line for people. A traceback is indented: none of its lines looks like a record."""

    def format(self, record: logging.LogRecord) -> str:
        line = f"{_time(record)} {record.levelname:<7} {printable(record.getMessage())}"
        if not hasattr(record, "fields"):
            line += f" [{record.name}]"
        if record.exc_info:
            trace = self.formatException(record.exc_info).splitlines()
            line += "".join(f"\n    {printable(part)}" for part in trace)
        return line


def printable(text: str) -> str:
    """The text with every control character, line break and mark of direction escaped."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def moment(at: datetime) -> str:
    """A point in time as logs have it: UTC, to the millisecond."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _time(record: logging.LogRecord) -> str:
    return moment(datetime.fromtimestamp(record.created, UTC))
