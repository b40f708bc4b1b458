"""Doing what migrations in their states ask for: planning, moving, going back, letting go.

By a command that was told to, or by workers (jobs.py). All of it may be interrupted anywhere and gone on
with, and done by several at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, closing
from functools import partial

from sqlalchemy import delete, exists, or_, select, update
from sqlalchemy.orm import Session

from simpledrive.backends import Backends
from simpledrive.errors import WrongState
from simpledrive.leasing import kept
from simpledrive.models import Migration, MigrationItem, MigrationState, now
from simpledrive.moving.copying import Copies
from simpledrive.moving.flow import Flow
from simpledrive.moving.migrations import found
from simpledrive.moving.planning import Match, Plan, add_items, matches
from simpledrive.moving.returning import Return, let_go
from simpledrive.moving.running import Outcome, Run
from simpledrive.moving.selection import Selection
from simpledrive.moving.tally import recount
from simpledrive.replicas import Replicas
from simpledrive.sql import Database


class MigrationWork:
    """Brings migrations from one state to the next. Every call raises Stopped when its flow is stopped."""

    def __init__(self, database: Database, backends: Backends, replicas: Replicas, copies: Copies) -> None:
        self._database, self._backends = database, backends
        self._replicas, self._copies = replicas, copies

    def waiting(self, *states: MigrationState) -> list[Migration]:
        """Those in one of these states that no command has to itself, the oldest first."""
        free = or_(Migration.hands_off_until.is_(None), Migration.hands_off_until < now())
        query = select(Migration).where(Migration.state.in_(states), free).order_by(Migration.id)
        return self._database.read(lambda session: list(session.scalars(query)))

    def by_itself(self, migration: Migration) -> AbstractContextManager[None]:
        """During the block workers leave the migration to this process."""
        there = update(Migration).where(Migration.id == migration.id)
        return kept(self._database, lambda until: there.values(hands_off_until=until))

    def plan(self, migration: Migration, flow: Flow) -> Migration:
        """Writes down what matches now, beside what was before; from then on it is running.

        Raises Invalid if something else matches than was required, and then it is paused; WrongState if it
        was paused or rolled back meanwhile.
        """
        planned = Plan()
        selection = Selection.from_json(migration.selection)
        for batch in matches(self._database, migration.source, selection):
            flow.wait(0)
            planned.add(batch)
            self._database.write(partial(_write_down, id=migration.id, batch=batch))
        migration = self._database.write(partial(_start, id=migration.id, plan=planned.hash))
        planned.require(migration.required_plan)
        return migration

    def move(self, migration: Migration, workers: int, flow: Flow) -> Iterator[Outcome]:
        """Works at it, beside whoever else does, and tells what became of each content. See running.py."""
        run = Run(self._database, self._replicas, self._copies, migration, workers=workers, flow=flow)
        with closing(run.outcomes()) as outcomes:
            yield from outcomes
        self._database.write(partial(_end, id=migration.id))

    def go_back(self, migration: Migration, flow: Flow) -> Iterator[Outcome]:
        """Switches homes back to what is still at the source, and tells of each content. Copies nothing."""
        yield from Return(self._database, self._backends, self._replicas, migration, flow).outcomes()
        self._database.write(partial(_set_state, id=migration.id, state="rolled_back", was="rolling_back"))

    def let_go(self, migration: Migration, flow: Flow) -> None:
        """What is kept at the source for it is left to the sweep, after the usual grace."""
        let_go(self._database, migration, flow)
        self._database.write(partial(_set_state, id=migration.id, state="finalized", was="finalizing"))


def _write_down(session: Session, *, id: str, batch: list[Match]) -> None:
    add_items(session, id, batch)
    _plannable(session, id)  # behind the items, as in the order of a switch


def _plannable(session: Session, id: str) -> Migration:
    migration = found(session, id, lock=True)
    if migration.state not in ("planning", "running"):
        raise WrongState(f"It is {migration.state.replace('_', ' ')} by now.")
    return migration


def _start(session: Session, *, id: str, plan: str) -> Migration:
    migration = _plannable(session, id)
    if migration.required_plan in ("", plan):
        migration.plan, migration.state, migration.ended_at = plan, "running", None
    elif migration.state == "planning":
        migration.state = "paused"
        untried = (MigrationItem.migration == id, MigrationItem.state == "pending")
        session.execute(delete(MigrationItem).where(*untried))
    recount(session, migration)
    return migration


def _end(session: Session, *, id: str) -> None:
    """Nothing is left to try: it has ended."""
    pending = exists().where(MigrationItem.migration == id, MigrationItem.state == "pending")
    over = update(Migration).where(Migration.id == id, Migration.state == "running", ~pending)
    session.execute(over.values(state="ended", ended_at=now()))


def _set_state(session: Session, *, id: str, state: MigrationState, was: MigrationState) -> None:
    there = (Migration.id == id, Migration.state == was)
    session.execute(update(Migration).where(*there).values(state=state))
