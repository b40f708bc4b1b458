"""Doing once more what failed and may well work: one rule for all storages. They know what may be."""

import random
import time
from collections.abc import Callable, Iterable
from typing import TypeVar

T = TypeVar("T")


def persistently(attempt: Callable[[], T], passes: Callable[[Exception], bool], pauses: Iterable[float]) -> T:
    """What `attempt` returns in the end: behind each error that `passes` there is another one, after a pause.

    There are as many as `pauses`, in seconds, and a last one; between half of a pause and all of it is
    waited, so that not all who failed together come back together. Raises the first error that does not pass,
    or that of the last attempt.
    """
    for pause in pauses:
        try:
            return attempt()
        except Exception as error:
            if not passes(error):
                raise
        time.sleep(random.uniform(0.5, 1) * pause)  # noqa: S311 (no secret)
    return attempt()
