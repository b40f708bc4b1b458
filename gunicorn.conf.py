"""How gunicorn serves the drive. What differs between installations comes from the drive's own settings.

Anything here can be overridden at start: GUNICORN_CMD_ARGS="--access-logfile -".
"""

import fcntl
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
COUNTING = "simpledrive-metrics-"


def _counting_folder():
    """Where the processes of this server count together, and the lock by which it is known to be in use.

    One that is given is emptied. Else a new one is made, not on a disk: a full one would kill who counts.
    What servers left there that were killed is removed.
    """
    given = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    base = Path(MEMORY or tempfile.gettempdir())
    for old in base.glob(f"{COUNTING}*"):
        with suppress(OSError):
            if time.time() - old.stat().st_mtime > 60:
                _remove_unused(old, _lock(old))
    folder = Path(given or tempfile.mkdtemp(prefix=COUNTING, dir=base))
    folder.mkdir(parents=True, exist_ok=True)
    lock = _lock(folder)
    if _is_alone(lock):
        for left in folder.glob("*.db"):
            left.unlink()
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
    return folder, lock


def _lock(folder):
    lock = (folder / "lock").open("a")
    fcntl.flock(lock, fcntl.LOCK_SH)
    return lock


def _is_alone(lock):
    """Whether no other server counts in the same folder. Workers share the lock of theirs."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    fcntl.flock(lock, fcntl.LOCK_SH)
    return True


def _remove_unused(folder, lock):
    if folder.name.startswith(COUNTING) and _is_alone(lock):
        shutil.rmtree(folder)


# Before the imports below: prometheus_client looks for it when it is imported.
counting_folder, counting_lock = _counting_folder()

from gunicorn.glogging import Logger
from gunicorn.http import message
from prometheus_client.multiprocess import mark_process_dead

from simpledrive import logs
from simpledrive.config import load
from simpledrive.errors import DriveError
from simpledrive.serving import jobs
from simpledrive.start import prepare

try:
    settings = load()
except DriveError as error:
    sys.exit(str(error))

bind = f"[{settings.host}]:{settings.port}" if ":" in settings.host else f"{settings.host}:{settings.port}"

# A transfer holds a thread from its first byte to its last: many threads, few processes. A head on its way
# and a connection that waits for its next request hold none.
worker_class = "simpledrive.serving.worker.Worker"
workers = settings.workers
threads = settings.threads
worker_connections = 1000

# A worker that shows no sign of life for this long is replaced. Long transfers are fine: the heartbeat of a
# threaded worker does not wait for them.
timeout = 60
# After SIGTERM no connection is accepted any more, and transfers under way have this long to end.
graceful_timeout = 30
# Longer than the 60 s of common proxies, so that a proxy never sends into a connection that is just closing.
keepalive = 75

# An id of 1,024 characters is up to 12,288 bytes in a URL, beside a file name in the query; gunicorn would
# cap the line at 8,190 whatever is set here.
message.MAX_REQUEST_LINE = 16 * 1024
limit_request_line = 16 * 1024
limit_request_fields = 100
limit_request_field_size = 8190

# Who is believed about the client, TRUSTED_PROXIES says, and the app itself sees to it. gunicorn would
# believe anybody on this machine about the scheme, and by SCRIPT_NAME about the path.
forwarder_headers = ""
secure_scheme_headers = {}

# The heartbeat touches a file; on a busy disk that touch can stall the worker.
worker_tmp_dir = MEMORY

# Each connection and each body in staging is an open file, and the usual soft limit is 1,024.
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

# gunicorn would open a control socket under the home directory.
control_socket_disable = True

# The drive itself writes a line a request to stdout (simpledrive/http/access_log.py).
accesslog = None
errorlog = "-"
loglevel = settings.log_level.lower()


class Log(Logger):
    """gunicorn's own log, in the drive's format."""

    def setup(self, cfg):
        super().setup(cfg)
        for handler in self.error_log.handlers:
            handler.setFormatter(logs.lines(settings.log_format, sys.stderr))


logger_class = Log


def on_starting(server):
    """Upgrades the database, makes missing secrets, checks the backends; or ends with a sentence."""
    try:
        server.prepared = prepare(settings)
    except DriveError as error:
        sys.exit(str(error))
    if settings.run_jobs:
        jobs.add(server)


def nworkers_changed(server, new_value, old_value):
    """The last process that serves stays, however often there are to be fewer (SIGTTOU)."""
    if settings.run_jobs and (old_value, new_value) == (2, 1):
        server.num_workers = 2


def on_reload(server):
    """The process that does the long work is made anew like the others (SIGHUP)."""
    jobs.retire(server)
    if settings.run_jobs:
        jobs.add(server)
        server.spawn_worker()  # gunicorn itself starts as many as serve


def when_ready(server):
    """Says where the drive is, and the token: itself when it was just made, else where it is kept."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    port = server.LISTENERS[0].getsockname()[1]  # PORT=0 takes any free one
    lines = [f"Simple Drive is at http://{host}:{port}/drive"]
    if "api_token" in server.prepared.made:
        token = server.prepared.settings.api_token.get_secret_value()
        lines.append(f"Sign in with this token, made just now and not shown again: {token}")
    if settings.api_token is None:
        lines.append(f"The token is kept in {settings.instance_path / 'api_token'}")
    # Not to stdout, which is for one line a request.
    print("\n".join(lines), file=sys.stderr, flush=True)


def pre_fork(server, worker):
    """One process does the drive's long work and serves nobody."""
    if settings.run_jobs:
        jobs.choose(server, worker)


def post_fork(server, worker):
    """Tells the worker how long a head, and each stretch of a body, may take."""
    worker.patience = settings.body_timeout


def child_exit(server, worker):
    """What a worker counted still counts when it is gone; what it said of itself does not."""
    mark_process_dead(worker.pid)


def on_exit(server):
    """Removes the folder of the counters, unless another server goes on with it (SIGUSR2)."""
    _remove_unused(counting_folder, counting_lock)


# A SIGTERM between a worker's fork and the moment it listens for signals would be lost, and stopping would
# then take the whole of graceful_timeout. So it is held while forking, and ends a worker that is not ready.
def _hold_sigterm():
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})


def _release_sigterm():
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


def _end_on_sigterm():
    # Not by an exception: in the middle of an import there is always something that swallows one.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    _release_sigterm()


os.register_at_fork(before=_hold_sigterm, after_in_parent=_release_sigterm, after_in_child=_end_on_sigterm)
