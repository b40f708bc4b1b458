"""How gunicorn serves the drive. What differs between installations comes from the drive's own settings.

Anything here can be overridden at start: GUNICORN_CMD_ARGS="--access-logfile -".
"""

import os
import resource
import signal
import sys

from gunicorn.http import message

from simpledrive.config import load
from simpledrive.errors import DriveError
from simpledrive.start import prepare

try:
    settings = load()
except DriveError as error:
    sys.exit(str(error))

bind = f"[{settings.host}]:{settings.port}" if ":" in settings.host else f"{settings.host}:{settings.port}"

# A transfer holds a thread from its first byte to its last, and so does a client that stalls: many threads,
# few processes. Waiting keep-alive connections hold none.
worker_class = "gthread"
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

# The heartbeat touches a file; on a busy disk that touch can stall the worker.
worker_tmp_dir = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None

# Each connection and each body in staging is an open file, and the usual soft limit is 1,024.
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

# gunicorn would open a control socket under the home directory.
control_socket_disable = True

# One line a request is off unless asked for (accesslog "-"); the last figure is the duration in microseconds.
accesslog = None
access_log_format = '%(h)s %(t)s "%(r)s" %(s)s %(b)s %(D)s'
errorlog = "-"
loglevel = settings.log_level.lower()


def on_starting(server):
    """Upgrades the database, makes missing secrets, checks the backends; or ends with a sentence."""
    try:
        server.prepared = prepare(settings)
    except DriveError as error:
        sys.exit(str(error))


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
    print("\n".join(lines), flush=True)


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
