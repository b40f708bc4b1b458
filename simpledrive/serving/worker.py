"""gunicorn's threaded worker, in which only whole requests get a thread.

Heads that are on their way, connections that wait for their next request, and refused clients that are
still sending are all watched by the one event loop: however slow they are, they take no thread from others.
"""

from __future__ import annotations

import errno
import selectors
import socket
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import Any

from gunicorn import util
from gunicorn.http.errors import NoMoreData, ParseException
from gunicorn.workers.gthread import STOP_KEEPALIVE_LINGER, ThreadWorker

from simpledrive.serving import jobs
from simpledrive.serving.connection import Connection
from simpledrive.serving.refusals import Refusal

DRAINED_BYTES = 64 << 20
"""How much a refused client may still send before it is cut off, within the worker's patience."""

LOOK_EVERY = 0.25
NOTHING_TO_ACCEPT = {errno.EAGAIN, errno.EWOULDBLOCK, errno.ECONNABORTED, errno.EINTR}

_SCRATCH = bytearray(256 << 10)


class Worker(ThreadWorker):  # type: ignore[misc]
    """Serves as gunicorn's does; a head, and each stretch of a body, may take `patience` seconds.

    Overrides what gunicorn's own `run` calls. Every connection is in one of three places: `_watched`, waiting
    for the client; a thread; or ended.
    """

    patience = 30.0
    does_jobs = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._watched: dict[Connection, None] = {}  # who has waited longest comes first
        self._at_work = 0
        self._next_look = 0.0

    def run(self) -> None:
        """Serves; or does the drive's long work, if this is the process that `does_jobs`."""
        if self.does_jobs:
            jobs.run(self)
        else:
            super().run()

    # --- In the event loop: heads

    def set_accept_enabled(self, enabled: bool) -> None:
        """Leaves new connections to other workers while no thread is free here: they would have to wait."""
        super().set_accept_enabled(enabled and self._at_work < self.cfg.threads)

    def accept(self, listener: socket.socket) -> None:
        """Takes a connection; what comes over it is then received as it comes."""
        try:
            sock, client = listener.accept()
        except OSError as error:
            if error.errno not in NOTHING_TO_ACCEPT:  # out of file descriptors, or of memory
                self.log.warning("A connection could not be accepted: %s", error)
                self._end_oldest()
            return
        try:
            conn = Connection(self.cfg, sock, client, listener.getsockname())
        except OSError:  # gone before TLS began
            sock.close()
            return
        self.nr_conns += 1
        self._await_head(conn, self.patience)

    def _await_head(self, conn: Connection, seconds: float) -> None:
        self._watch(conn, self._receive, seconds)
        self._receive(conn)  # it may have come already

    def _receive(self, conn: Connection, _: object = None) -> None:
        if conn not in self._watched:
            return  # ended by another event of the same round
        began = bool(conn.received)
        try:
            decidable = conn.receive()
        except (NoMoreData, ParseException) as error:
            if isinstance(error, ParseException) or conn.received.strip(b"\r\n"):
                self.handle_error(None, conn.sock, conn.client, error)
            self._linger(conn)
        except OSError:
            self._end(conn)
        else:
            if decidable:
                self._unwatch(conn)
                self.enqueue_req(conn)
            elif conn.received and not began:
                conn.deadline = self._deadline(self.patience)

    def enqueue_req(self, conn: Connection) -> None:
        """Hands a connection with a whole head to a thread."""
        self._at_work += 1
        if self._at_work >= self.cfg.threads:
            self.set_accept_enabled(False)
        super().enqueue_req(conn)

    # --- In a thread: the request

    def handle(self, conn: Connection) -> bool:
        """Answers one request. Whether the connection goes on."""
        request = None
        try:
            conn.begin(self.patience)
            request = next(conn.parser)
            return bool(self._keepalive_after(conn, self.handle_request(request, conn)))
        except StopIteration:
            self.log.debug("an answer broke off")
        except OSError as error:
            self.log.debug("a connection broke off: %s", error)
        except Exception as error:  # noqa: BLE001 (it is logged and answered there)
            self.handle_error(request, conn.sock, conn.client, error)
        return False

    def handle_error(self, req: Any, client: Any, addr: Any, exc: Exception) -> None:
        """Refuses with a problem document what gunicorn itself does not take."""
        refusal = Refusal.of(exc)
        if refusal.is_fault:
            self.log.error("a fault in request %s", refusal.request_id, exc_info=exc)
        else:
            self.log.info("refused a request of %s: %s", addr[0] if addr else "a socket", refusal)
        with suppress(OSError):
            client.setblocking(False)  # who does not even take this much need not
            client.sendall(refusal.response(head_only=req is not None and req.method == "HEAD"))

    # --- In the event loop again: what follows the answer

    def finish_request(self, conn: Connection, fs: Future[bool]) -> None:
        """Waits for the next request, or ends the connection so that its last answer arrives."""
        self._at_work -= 1
        if fs.cancelled() or fs.exception() is not None or not fs.result():
            self._linger(conn)
            return
        try:
            conn.take_back()
        except OSError:
            self._end(conn)
        else:
            self._await_head(conn, self.patience if conn.received else self.cfg.keepalive)

    def _linger(self, conn: Connection) -> None:
        """Half-closes, and passes over what still comes: to close at once would destroy the last answer."""
        try:
            conn.sock.setblocking(False)
            conn.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self._end(conn)
            return
        conn.received.clear()
        conn.to_drain = DRAINED_BYTES
        self._watch(conn, self._drain, self.patience)

    def _drain(self, conn: Connection, _: object = None) -> None:
        if conn not in self._watched:
            return
        try:
            count = conn.sock.recv_into(_SCRATCH)
        except BlockingIOError:
            return
        except OSError:
            count = 0
        conn.to_drain -= count
        if not count or conn.to_drain <= 0:
            self._end(conn)

    # --- Who waits, and how long

    def _watch(self, conn: Connection, callback: Callable[..., None], seconds: float) -> None:
        self._unwatch(conn)
        self._watched[conn] = None
        conn.deadline = self._deadline(seconds)
        self.poller.register(conn.sock, selectors.EVENT_READ, partial(callback, conn))

    def _unwatch(self, conn: Connection) -> None:
        if conn in self._watched:
            del self._watched[conn]
            self.poller.unregister(conn.sock)

    def _deadline(self, seconds: float) -> float:
        return time.monotonic() + (seconds if self.alive else min(seconds, STOP_KEEPALIVE_LINGER))

    def _end(self, conn: Connection) -> None:
        if not conn.ended:
            conn.ended = True
            self._unwatch(conn)
            self.nr_conns -= 1
            util.close(conn.sock)

    def _end_oldest(self) -> None:
        if self._watched:
            self._end(next(iter(self._watched)))

    def murder_keepalived(self, force: bool = False) -> None:
        """Ends who has waited too long, or is in the way of new connections; forced, everybody who waits."""
        while self._watched and (force or self.nr_conns >= self.worker_connections):
            self._end_oldest()
        now = time.monotonic()
        if now < self._next_look:
            return
        self._next_look = now + LOOK_EVERY
        for conn in [conn for conn in self._watched if conn.deadline <= now]:
            if conn.received.strip(b"\r\n"):
                self.handle_error(None, conn.sock, conn.client, TimeoutError())
                self._linger(conn)
            else:
                self._end(conn)

    def murder_pending(self) -> None:
        """Nothing: gunicorn's second list of those who wait is not used here."""

    def _cap_keepalive(self, deadline: float) -> None:
        """A stopping worker waits for nobody longer than this."""
        for conn in self._watched:
            conn.deadline = min(conn.deadline, deadline)
