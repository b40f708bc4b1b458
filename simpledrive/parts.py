"""The drive's parts, built once from settings and an engine, in the order in which they need each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import Engine, exists, select
from sqlalchemy.exc import DBAPIError

from simpledrive.audit import Audit
from simpledrive.backends import Backends
from simpledrive.backup import Backups, Restores
from simpledrive.config import Settings
from simpledrive.drive import Drive
from simpledrive.errors import ConfigurationError
from simpledrive.files import Files
from simpledrive.history import History
from simpledrive.integrity import Fsck, Scrubber, Soundness, Verifier
from simpledrive.integrity.repairing import Repairs
from simpledrive.keys import Keys
from simpledrive.listing import Listing
from simpledrive.machines import Machines
from simpledrive.metrics import observe_operation, observe_read_elsewhere
from simpledrive.mirroring import CatchingUp, Lags
from simpledrive.mirrors import Mirrors
from simpledrive.models import DriveRow, Replica
from simpledrive.moving import MigrationJobs, Migrations, MigrationWork, Mover
from simpledrive.moving.copying import Copies
from simpledrive.moving.flow import Flow
from simpledrive.orphans import Orphans
from simpledrive.outages import Outages
from simpledrive.placement import Placement, Rule
from simpledrive.probes import Probes
from simpledrive.quotas import Quotas
from simpledrive.reading import Reading
from simpledrive.replicas import Replicas
from simpledrive.rights import Scope
from simpledrive.sessions import Sessions
from simpledrive.sql import Database
from simpledrive.storage.base import Storage
from simpledrive.storage.measured import MeasuredStorage
from simpledrive.storage.registry import build as build_storage
from simpledrive.streams.staging import Staging
from simpledrive.sweeper import Sweeper
from simpledrive.upkeep import Upkeep
from simpledrive.usage import Counters
from simpledrive.worker import Job, Worker

ANONYMOUS: dict[str, frozenset[Scope]] = {
    "none": frozenset(),
    "read": frozenset({"read"}),
    "write": frozenset({"read", "write"}),
}
"""What ANONYMOUS_ACCESS gives to callers without a key."""


@dataclass(frozen=True)
class Parts:
    """What the faces and the command line call."""

    settings: Settings
    database: Database
    backends: Backends
    mirrors: Mirrors
    placement: Placement
    staging: Staging
    keys: Keys
    sessions: Sessions
    audit: Audit
    drive: Drive
    counters: Counters
    listing: Listing
    history: History
    files: Files
    machines: Machines
    mover: Mover
    migrations: Migrations
    migration_work: MigrationWork
    catching_up: CatchingUp
    lags: Lags
    verifier: Verifier
    soundness: Soundness
    scrubbers: Sequence[Scrubber]
    fsck: Fsck
    backups: Backups
    restores: Restores
    upkeep: Upkeep
    sweeper: Sweeper
    probes: Probes
    worker: Worker


def build(settings: Settings, engine: Engine) -> Parts:
    """All parts. Touches neither network nor database. `settings` has its secrets (config.ensure_secrets).

    Raises ConfigurationError for a backend of an unknown kind or with unacceptable options.
    """
    database = Database(engine)
    outages = Outages()

    def observe(backend: str, operation: str, outcome: str, seconds: float, **amounts: int) -> None:
        observe_operation(backend, operation, outcome, seconds, **amounts)
        outages.observe(backend, outcome)

    storages = {
        name: MeasuredStorage(build_storage(name, options, settings.folder), observe)
        for name, options in settings.backends.items()
    }
    backends = Backends(
        storages,
        settings.storage_backend,
        identity=lambda: _identity(database),
        in_use=lambda name: _in_use(database, name),
    )
    orphan_age = timedelta(seconds=settings.orphan_age)
    mirrors = Mirrors(
        {home: table.to for home, table in settings.mirrors.items()},
        in_sync=[home for home, table in settings.mirrors.items() if table.sync],
    )
    replicas = Replicas(database, backends, mirrors, orphan_age)
    copies = Copies(database, backends, replicas)
    counters = Counters(database, backends)
    repairs = Repairs(database, replicas, copies)
    verifier = Verifier(database, backends, repairs)
    orphans = Orphans(database, orphan_age)
    staging = Staging(settings.staging_path)
    upkeep = Upkeep(
        database,
        backends,
        mirrors,
        staging,
        grace=timedelta(seconds=settings.sweep_grace),
        orphan_age=orphan_age,
        history=timedelta(days=settings.history_days),
    )
    reading = Reading(database, backends, outages, observe_read_elsewhere)
    placement = Placement(backends, [Rule(**rule.said()) for rule in settings.rules])
    drive = Drive(
        database,
        backends,
        replicas,
        placement,
        reading,
        staging,
        Quotas(database),
        settings.max_blob_bytes or None,
    )
    migration_work = MigrationWork(database, backends, replicas, copies)
    limit = Flow(settings.worker_bandwidth) if settings.worker_bandwidth else None
    migration_jobs = MigrationJobs(migration_work, limit)
    catching_up = CatchingUp(database, replicas, copies, outages, limit)
    keys = Keys(
        database,
        settings.secret("api_token"),
        settings.secret("secret_key"),
        storages,
        ANONYMOUS[settings.anonymous_access],
    )
    scrubbers = [
        Scrubber(database, counters, verifier, name, timedelta(days=settings.scrub_days), limit)
        for name in _scrubbed(settings, storages)
    ]
    return Parts(
        settings=settings,
        database=database,
        backends=backends,
        mirrors=mirrors,
        placement=placement,
        staging=staging,
        keys=keys,
        sessions=Sessions(database, keys),
        audit=Audit(database),
        drive=drive,
        counters=counters,
        listing=Listing(database),
        history=History(database, timedelta(days=settings.history_days)),
        files=Files(database, drive),
        machines=Machines(database, drive),
        mover=Mover(database, backends, replicas, copies),
        migrations=Migrations(database, backends),
        migration_work=migration_work,
        catching_up=catching_up,
        lags=Lags(database, mirrors),
        verifier=verifier,
        soundness=Soundness(database),
        scrubbers=scrubbers,
        fsck=Fsck(database, backends, mirrors, repairs, orphans),
        backups=Backups(database, backends, reading),
        restores=Restores(database, backends, replicas, staging),
        upkeep=upkeep,
        sweeper=Sweeper(upkeep, timedelta(seconds=settings.sweep_interval)),
        probes=Probes(backends, database, timedelta(seconds=settings.probe_interval)),
        worker=Worker(
            [
                Job("planning migrations", migration_jobs.plan),
                Job("moving", migration_jobs.move),
                Job("rolling back", migration_jobs.roll_back),
                Job("finalizing", migration_jobs.finalize),
                Job("mirroring", catching_up.work),
                *(Job(f"scrubbing {scrubber.backend}", scrubber.work) for scrubber in scrubbers),
            ]
        ),
    )


def _scrubbed(settings: Settings, storages: Mapping[str, Storage]) -> list[str]:
    """The backends that SCRUB_BACKENDS means; none without SCRUB_DAYS."""
    if not settings.scrub_days:
        return []
    if settings.scrubbed == ["*"]:
        return list(storages)
    return settings.scrubbed or [name for name, storage in storages.items() if storage.is_near]


def _identity(database: Database) -> str:
    try:
        return str(database.read(lambda session: session.scalars(select(DriveRow.uuid)).one()))
    except DBAPIError as error:
        raise ConfigurationError("The database lacks the drive's tables: run `flask db upgrade`.") from error


def _in_use(database: Database, backend: str) -> bool:
    query = select(exists().where(Replica.storage_backend == backend))
    return bool(database.read(lambda session: session.scalar(query)))
