"""flask drive ...: what whoever runs the drive does at its side. A module a subject."""

from flask.cli import AppGroup

from simpledrive.cli.audit import audit
from simpledrive.cli.checking import check_backend
from simpledrive.cli.config import config
from simpledrive.cli.keys import keys
from simpledrive.cli.moving import migrate_backend
from simpledrive.cli.sweeping import sweep

drive = AppGroup(
    "drive",
    help="Keys, checking backends, moving blobs between them, sweeping, the audit log, settings.",
)
for command in (audit, check_backend, config, keys, migrate_backend, sweep):
    drive.add_command(command)
