"""flask drive ...: what whoever runs the drive does at its side. A module a subject."""

from flask.cli import AppGroup

from simpledrive.cli.audit import audit
from simpledrive.cli.config import config
from simpledrive.cli.keys import keys
from simpledrive.cli.moving import migrate_backend
from simpledrive.cli.sweeping import sweep

drive = AppGroup("drive", help="Keys, moving blobs between backends, sweeping, the audit log, settings.")
for command in (audit, config, keys, migrate_backend, sweep):
    drive.add_command(command)
