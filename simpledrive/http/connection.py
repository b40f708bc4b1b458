"""The connection that a request came by: how long the other side may keep us waiting."""

from collections.abc import Iterable, Iterator

import flask

STALLED_SECONDS = 60.0
"""How long a body may stop coming, and how long each portion of an answer may take to be sent.

Both hold a thread, and would for ever.
"""

PORTION = 256 << 10
"""The most bytes that are asked for or sent at a time.

Of a body that is coming, gunicorn holds that much three times over; of an answer, who takes less than this in
STALLED_SECONDS (4 KiB a second) is given up.
"""


def limit_waiting(request: flask.Request) -> None:
    """Lets reads and writes of the connection raise TimeoutError, where the server tells which it is.

    The server itself undoes it before the next request.
    """
    if (connection := request.environ.get("gunicorn.socket")) is not None:
        connection.settimeout(STALLED_SECONDS)


def in_portions(data: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes, no more at a time than somebody slow is given time for."""
    for piece in data:
        for at in range(0, len(piece), PORTION):
            yield piece[at : at + PORTION]
