"""Doing what migrations in their states ask for: planning, moving, going back, letting go.

By a command that was told to, or by workers (jobs.py). All of it may be interrupted anywhere and gone on
with. Several move at once; of those who would plan, roll back or finalize one does.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from functools import partial

from sqlalchemy import exists, select, update
from sqlalchemy.orm import Session

from simpledrive.backends import Backends
from simpledrive.errors import StorageError, WrongState
from simpledrive.leasing import Lease, is_over, kept
from simpledrive.models import Migration, MigrationItem, MigrationState, now
from simpledrive.moving.copying import Copies
from simpledrive.moving.flow import Flow
from simpledrive.moving.planning import Planning
from simpledrive.moving.returning import Return, let_go
from simpledrive.moving.rows import found
from simpledrive.moving.running import Outcome, Run
from simpledrive.moving.states import DONE
from simpledrive.replicas import Replicas
from simpledrive.sql import Database

LOOK = 0.5
"""Seconds between looks whether somebody else is through with what only one does at a time."""


class MigrationWork:
    """Brings migrations from one state to the next. Every call raises Stopped when its flow is stopped."""

    def __init__(self, database: Database, backends: Backends, replicas: Replicas, copies: Copies) -> None:
        self._database, self._backends = database, backends
        self._replicas, self._copies = replicas, copies

    def waiting(self, *states: MigrationState) -> list[Migration]:
        """Those in one of these states that a worker may take up, the oldest first."""
        free = [is_over(end) for end in (Migration.exclusive_until, Migration.leased_until)]
        query = select(Migration).where(Migration.state.in_(states), *free).order_by(Migration.id)
        return self._database.read(lambda session: list(session.scalars(query)))

    def exclusively(self, migration: Migration) -> AbstractContextManager[None]:
        """During the block workers leave the migration to commands."""
        there = update(Migration).where(Migration.id == migration.id)
        return kept(self._database, lambda until: there.values(exclusive_until=until))

    def is_worked_at(self, migration: Migration) -> bool:
        """Whether anybody has leased anything of it at this moment."""
        item = MigrationItem
        leased = exists().where(item.migration == migration.id, ~is_over(item.leased_until))
        return bool(self._database.read(lambda session: session.scalar(select(leased))))

    def plan(self, migration: Migration, flow: Flow) -> Migration:
        """It is running: what matched is written down (planning.py), by us or whoever was faster.

        Raises Invalid if something else matches than was required, and then it is paused; WrongState if it
        was paused or rolled back meanwhile.
        """
        with self._claimed(migration, "planning", flow) as is_ours:
            if is_ours:
                return Planning(self._database, migration, flow).plan()
        migration = self._database.read(lambda session: found(session, migration.id))
        if migration.state not in ("running", "ended"):
            raise WrongState(f"It is {migration.state.replace('_', ' ')} by now.")
        return migration

    def move(self, migration: Migration, workers: int, flow: Flow) -> Iterator[Outcome]:
        """Works at it, beside whoever else does, and tells what became of each content (running.py).

        Raises StorageError for a place that cannot be used; `why` of the migration says so too.
        """
        with self._explained(migration.id):
            # What cannot be reached at all is not to be tried with one content after the other.
            for name in (migration.source, migration.target):
                self._require(name)
            run = Run(
                self._database,
                self._backends,
                self._replicas,
                self._copies,
                migration,
                workers=workers,
                flow=flow,
            )
            with closing(run.outcomes()) as outcomes:
                yield from outcomes
        self._database.write(partial(_end, id=migration.id))

    def go_back(self, migration: Migration, flow: Flow) -> Iterator[Outcome]:
        """Switches homes back to what is still at the source, and tells of each content. Copies nothing.

        Raises StorageError for a source that cannot be used; `why` of the migration says so too.
        """
        with self._claimed(migration, "rolling_back", flow) as is_ours, self._explained(migration.id):
            if is_ours:
                self._require(migration.source)
                yield from Return(self._database, self._backends, self._replicas, migration, flow).outcomes()
                self._database.write(partial(_done, id=migration.id, was="rolling_back"))

    def let_go(self, migration: Migration, flow: Flow) -> None:
        """What is kept at the source for it is left to the sweep, after the usual grace."""
        with self._claimed(migration, "finalizing", flow) as is_ours:
            if is_ours:
                let_go(self._database, migration, flow)
                self._database.write(partial(_done, id=migration.id, was="finalizing"))

    def _require(self, backend: str) -> None:
        self._backends.use(backend)
        self._backends.check(backend)

    @contextmanager
    def _claimed(self, migration: Migration, state: MigrationState, flow: Flow) -> Iterator[bool]:
        """Nobody else does during the block what this state asks for. Waits for who does; False if he has."""
        here = (Migration.id == migration.id, Migration.state == state)
        lease = Lease(self._database, Migration, *here)
        while not (is_ours := lease.claim()):
            if not self._database.read(lambda session: session.scalar(select(exists().where(*here)))):
                break
            flow.wait(LOOK)
        with lease.kept() if is_ours else nullcontext():
            yield is_ours

    @contextmanager
    def _explained(self, id: str) -> Iterator[None]:
        """Has the migration say why it does not go on."""
        said = update(Migration).where(Migration.id == id)
        try:
            yield
        except StorageError as error:
            why = str(error)
            self._database.write(lambda session: session.execute(said.values(why=why)))
            raise
        self._database.write(lambda session: session.execute(said.where(Migration.why != "").values(why="")))


def _end(session: Session, *, id: str) -> None:
    """Nothing is left to try: it has ended."""
    pending = exists().where(MigrationItem.migration == id, MigrationItem.state == "pending")
    over = update(Migration).where(Migration.id == id, Migration.state == "running", ~pending)
    session.execute(over.values(state=DONE["running"], ended_at=now()))


def _done(session: Session, *, id: str, was: MigrationState) -> None:
    there = (Migration.id == id, Migration.state == was)
    session.execute(update(Migration).where(*there).values(state=DONE[was]))
