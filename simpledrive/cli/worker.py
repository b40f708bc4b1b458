"""flask drive worker."""

import signal

import click
from flask.cli import with_appcontext

from simpledrive.http.current import parts


@click.command("worker")
@with_appcontext
def worker() -> None:
    """Do the drive's long work, migrations for instance, until Ctrl-C or SIGTERM.

    A server does it too, unless RUN_JOBS=false. Any number of workers may be at it, on any number of hosts.
    What one has in hand when it is told to end it finishes or leaves to the others; that takes seconds.
    """
    for told in (signal.SIGTERM, signal.SIGINT):
        signal.signal(told, signal.default_int_handler)
    click.echo("Working, until Ctrl-C or SIGTERM.", err=True)
    try:
        parts().worker.run()
    except KeyboardInterrupt:
        click.echo("Ended.", err=True)
