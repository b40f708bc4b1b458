"""A request and its answer, measured from the head of the one to the last byte of the other.

Outside of Flask, since an answer that is streamed is sent when Flask has long finished with the request. A
portion counts as sent when the server asks for the next one: what was cut off in the middle of one does not.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast
from urllib.parse import quote

from flask import Flask, g, has_request_context, request

from simpledrive.http.requests import Request

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

KEY = "simpledrive.exchange"


@dataclass(slots=True)
class Exchange:
    """What is known of a request when its answer has been sent, or has broken off.

    `path` is percent-encoded, `route` the pattern that it matched ("" for none), `key` the name of the key
    that asked; `whole` says whether all of the answer was sent. Never in here is the query: it may hold what
    nobody should see.
    """

    method: str
    path: str
    address: str
    request_id: str = ""
    key: str = ""
    route: str = ""
    status: int = 500
    received: int = 0
    sent: int = 0
    seconds: float = 0.0
    whole: bool = False


Observer = Callable[[Exchange], None]


def init_app(app: Flask, *observers: Observer) -> None:
    """Has every request of the app measured and told to the observers, in their order."""
    app.teardown_request(_describe)
    app.wsgi_app = _Measuring(app.wsgi_app, observers)  # type: ignore[method-assign]


def request_id() -> str:
    """The id of the request that is being served, "" outside of one."""
    return str(g.get("request_id", "")) if has_request_context() else ""


def _describe(_error: BaseException | None) -> None:
    exchange: Exchange | None = request.environ.get(KEY)
    if exchange is None:  # a context that no server pushed
        return
    exchange.request_id = g.get("request_id", "")
    exchange.address = request.remote_addr or ""
    if request.url_rule is not None:
        exchange.route = request.url_rule.rule
    if (caller := g.get("caller")) is not None:
        exchange.key = caller.name
    exchange.received = cast(Request, request).received


class _Measuring:
    def __init__(self, app: WSGIApplication, observers: tuple[Observer, ...]) -> None:
        self._app, self._observers = app, observers

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = quote(environ.get("PATH_INFO", "").encode("latin-1"))
        exchange = Exchange(environ["REQUEST_METHOD"], path, environ.get("REMOTE_ADDR", ""))
        environ[KEY] = exchange
        answer = _Answer(exchange, self._observers)

        def start(status, headers, exc_info=None):  # type: ignore[no-untyped-def]
            exchange.status = int(status[:3])
            return start_response(status, headers, exc_info) if exc_info else start_response(status, headers)

        try:
            answer.portions = self._app(environ, start)
        except BaseException:
            answer.close()
            raise
        return answer


class _Answer:
    """The portions of an answer, counted as they are sent."""

    def __init__(self, exchange: Exchange, observers: tuple[Observer, ...]) -> None:
        self._exchange, self._observers = exchange, observers
        self._began = time.perf_counter()
        self._under_way = 0
        self._is_closed = False
        self.portions: Iterable[bytes] = ()
        self._iterator: Iterator[bytes] | None = None

    def __iter__(self) -> Iterator[bytes]:
        self._iterator = iter(self.portions)
        return self

    def __next__(self) -> bytes:
        self._exchange.sent += self._under_way
        self._under_way = 0
        if self._iterator is None:
            self._iterator = iter(self.portions)
        try:
            portion = next(self._iterator)
        except StopIteration:
            self._exchange.whole = True
            raise
        self._under_way = len(portion)
        return portion

    def close(self) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        try:
            if (close := getattr(self.portions, "close", None)) is not None:
                close()
        finally:
            self._exchange.seconds = time.perf_counter() - self._began
            for observer in self._observers:
                observer(self._exchange)
