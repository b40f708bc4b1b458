"""flask drive ...: what whoever runs the drive does at its side. A module a subject."""

from flask.cli import AppGroup

from simpledrive.cli.audit import audit
from simpledrive.cli.backup import backup, restore
from simpledrive.cli.checking import check_backend
from simpledrive.cli.config import config
from simpledrive.cli.integrity import fsck, verify
from simpledrive.cli.keys import keys
from simpledrive.cli.migrations import (
    finalize_migration,
    migrations,
    pause_migration,
    resume_migration,
    rollback_migration,
)
from simpledrive.cli.mirrors import mirrors
from simpledrive.cli.moving import migrate_backend
from simpledrive.cli.rules import apply_rules
from simpledrive.cli.sweeping import sweep
from simpledrive.cli.worker import worker

drive = AppGroup(
    "drive",
    help="What whoever runs the drive does at its side. Each command has a --help of its own.",
)
for command in (
    apply_rules,
    audit,
    backup,
    check_backend,
    config,
    finalize_migration,
    fsck,
    keys,
    migrate_backend,
    migrations,
    mirrors,
    pause_migration,
    restore,
    resume_migration,
    rollback_migration,
    sweep,
    verify,
    worker,
):
    drive.add_command(command)
