"""Work on many things, several at a time, while they and what came of them are handled one by one."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice
from typing import TypeVar

AHEAD = 16
"""Things that are taken for each thread: what is small gets done while what was done before is recorded."""

T = TypeVar("T")
R = TypeVar("R")


def side_by_side(
    work: Callable[[T], R], things: Iterable[T], threads: int, ended: Callable[[], object] = lambda: None
) -> Generator[list[tuple[T, Future[R]]], None, None]:
    """Has `work` done on each thing in so many threads; yields what is done, in the order in which it ends.

    A few things are taken ahead. Closing the generator ends it: `ended` is called, to stop what is under way,
    and that is waited for.
    """
    left = iter(things)
    under_way: dict[Future[R], T] = {}
    with ThreadPoolExecutor(threads) as pool:
        try:
            while True:
                for thing in islice(left, AHEAD * threads - len(under_way)):
                    under_way[pool.submit(work, thing)] = thing
                if not under_way:
                    return
                done, _ = wait(under_way, return_when=FIRST_COMPLETED)
                yield [(under_way.pop(future), future) for future in done]
        finally:
            ended()
            pool.shutdown(cancel_futures=True)
