"""The pace of a connection: how long the other side may keep a thread waiting, and for how few bytes."""

from collections.abc import Iterable, Iterator

LEAST_BYTES = 32 << 10
"""How much of a body has to come within BODY_TIMEOUT, unless it ends: a trickle is no progress.

With the default of 30 seconds that is 1 KiB a second, less than any modem. `serving` counts it where the
bytes come from the socket: who asks for a portion cannot see that one byte of it comes each second.
"""

ANSWER_SECONDS = 60.0
"""How long each portion of an answer may take to be sent."""

PORTION = 256 << 10
"""The most bytes that are asked for or sent at a time.

Of a body that is coming, gunicorn holds that much three times over; of an answer, who takes less than this in
ANSWER_SECONDS (4 KiB a second) is given up.
"""


def in_portions(data: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes, no more at a time than somebody slow is given time for."""
    for piece in data:
        for at in range(0, len(piece), PORTION):
            yield piece[at : at + PORTION]
