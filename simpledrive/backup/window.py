"""Work on many things in a few threads, without holding more of them than these can soon begin."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from types import TracebackType
from typing import Generic, ParamSpec, Self, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Window(Generic[T]):
    """Results come in the order in which they are ready, and what a piece of work raises instead of one.

    After the block nothing is under way any more, and what had not begun is forgotten.
    """

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._pool = ThreadPoolExecutor(workers, "backup")
        self._under_way: set[Future[T]] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self._pool.shutdown(cancel_futures=True)

    def submit(self, work: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> Iterator[T]:
        """Has it done; the results that are ready, if there is no room for more."""
        self._under_way.add(self._pool.submit(work, *arguments, **named))
        if len(self._under_way) >= 2 * self._workers:
            done, self._under_way = wait(self._under_way, return_when=FIRST_COMPLETED)
            for ended in done:
                yield ended.result()

    def rest(self) -> Iterator[T]:
        """The results of all that is still under way."""
        while self._under_way:
            done, self._under_way = wait(self._under_way, return_when=FIRST_COMPLETED)
            for ended in done:
                yield ended.result()
