"""The one process of gunicorn's that serves nobody and does the drive's long work (simpledrive/worker.py).

gunicorn watches it like the others: it is started with the server, started again when it dies, ended with the
server, and it ends by itself when the server is killed. gunicorn.conf.py calls this from its hooks.
"""

from __future__ import annotations

import math
from typing import Any

from simpledrive.http.current import parts


def add(server: Any) -> None:
    """There is to be one process more than those that serve."""
    server.num_workers = server.cfg.workers + 1


def choose(server: Any, process: Any) -> None:
    """Says of a process that is about to be started whether it is the one."""
    process.does_jobs = not any(other.does_jobs for other in server.WORKERS.values())
    if process.does_jobs:
        process.age = math.inf  # where there are to be fewer processes, the oldest go


def retire(server: Any) -> None:
    """The one that there is goes as soon as any does: those that are to come know other settings."""
    for process in server.WORKERS.values():
        if process.does_jobs:
            process.does_jobs, process.age = False, 0


def run(process: Any) -> None:
    """Works until gunicorn says that it is enough, or is gone."""
    for listener in process.sockets:
        listener.close()  # else who connects while the server ends would wait instead of being refused

    def is_wanted() -> bool:
        process.notify()
        return bool(process.alive and process.is_parent_alive())

    with process.wsgi.app_context():
        worker = parts().worker
    worker.run(is_wanted)
