"""The records of migrations: begun, gone on with, paused, ended, told."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from functools import partial
from typing import get_args

from sqlalchemy import exists, select, tuple_, update
from sqlalchemy.orm import Session

from simpledrive import audit
from simpledrive.backends import Backends
from simpledrive.errors import Invalid, MigrationNotFound
from simpledrive.ids import uuid7
from simpledrive.keyset import cut
from simpledrive.models import ItemState, Migration, MigrationItem, MigrationState, now
from simpledrive.moving.copying import Copies
from simpledrive.moving.flow import Flow
from simpledrive.moving.planning import Plan, add_items, matches
from simpledrive.moving.returning import Return, finalize
from simpledrive.moving.running import Outcome, Run
from simpledrive.moving.selection import Selection
from simpledrive.moving.tally import recount
from simpledrive.replicas import Replicas
from simpledrive.rights import Caller
from simpledrive.sql import Database, insert

GRACE = timedelta(days=7)
"""How long what was moved is kept at the source too, unless somebody says otherwise."""

BATCH = 500


class Migrations:
    """Every migration there was, and what may be done with it. All of it wants the scope admin, everywhere.

    Raises Forbidden, MigrationNotFound, and what is said of each.
    """

    def __init__(self, database: Database, backends: Backends, replicas: Replicas, copies: Copies) -> None:
        self._database, self._backends = database, backends
        self._replicas, self._copies = replicas, copies

    def plan(self, caller: Caller, source: str, target: str, selection: Selection) -> Plan:
        """What would move now. Changes nothing. Raises Invalid."""
        caller.require_everywhere("admin")
        self._check(source, target)
        plan = Plan()
        for found in matches(self._database, source, selection):
            plan.add(found)
        return plan

    def begin(
        self,
        caller: Caller,
        source: str,
        target: str,
        selection: Selection,
        *,
        grace: timedelta = GRACE,
        plan: str | None = None,
    ) -> Migration:
        """A migration of what matches now, for workers to run; the one asked for before if it is open.

        So the same call goes on with what was interrupted, tries again what failed, and adds what has come
        since. Raises Invalid if what matches is not what was planned, StorageError for a backend that cannot
        be used at all.
        """
        caller.require_everywhere("admin")
        self._check(source, target)
        for name in (source, target):
            self._backends.use(name)
        id = self._database.write(partial(self._found_or_made, caller, source, target, selection, grace))
        planned = Plan()
        for found in matches(self._database, source, selection):
            planned.add(found)
            self._database.write(lambda session, found=found: add_items(session, id, found))  # type: ignore[misc]
        if plan is not None and plan != planned.hash:
            self._database.write(partial(_set_state, id=id, state="paused", was=("planning",)))
            raise Invalid(("plan", f"What matches has changed since: its plan is {planned.hash} now."))
        return self._database.write(partial(self._start, caller, id, planned.hash))

    def run(self, migration: Migration, workers: int, flow: Flow) -> Iterator[Outcome]:
        """Works at it, beside whoever else does, and tells what became of each content. See running.py."""
        run = Run(self._database, self._replicas, self._copies, migration, workers=workers, flow=flow)
        with closing(run.outcomes()) as outcomes:
            yield from outcomes
        self._database.write(partial(_end, id=migration.id))

    def pause(self, caller: Caller, id: str) -> Migration:
        """No worker takes up anything more of it. Raises Invalid if it is not running."""
        return self._change(caller, id, "paused", ("planning", "running"), "migration.paused")

    def resume(self, caller: Caller, id: str) -> Migration:
        """Workers go on. Raises Invalid if it is not paused."""
        return self._change(caller, id, "running", ("paused",), "migration.resumed")

    def roll_back(self, caller: Caller, id: str) -> Iterator[Outcome]:
        """Switches homes back to what is still at the source, and tells of each content. Copies nothing.

        Once more, it tries again what could not go back before. Raises Invalid for what was finalized.
        """
        was: tuple[MigrationState, ...] = (*OPEN, "ended", "rolled_back")
        migration = self._change(caller, id, "rolling_back", was, "migration.rolled_back")
        self._database.write(partial(_try_again, id=id))
        yield from Return(self._database, self._backends, migration).outcomes()
        self._database.write(partial(_set_state, id=id, state="rolled_back", was=("rolling_back",)))

    def finalize(self, caller: Caller, id: str) -> Migration:
        """Gives up what is kept at the source, to be swept after the usual grace. Raises Invalid."""
        migration = self._change(caller, id, "finalized", ("ended", "finalized"), "migration.finalized")
        finalize(self._database, migration)
        return migration

    def get(self, caller: Caller, id: str) -> Migration:
        caller.require_everywhere("admin")
        return self._database.read(lambda session: _found(session, id))

    def page(self, caller: Caller, cursor: str | None, limit: int) -> tuple[list[Migration], str | None]:
        """Up to `limit` of them, the latest first, and the cursor to go on with."""
        caller.require_everywhere("admin")
        query = select(Migration).order_by(Migration.id.desc()).limit(limit + 1)
        if cursor:
            query = query.where(Migration.id < cursor)
        found = self._database.read(lambda session: session.scalars(query).all())
        return cut(found, limit, lambda migration: migration.id)

    def items(self, caller: Caller, id: str, *states: ItemState) -> Iterator[list[MigrationItem]]:
        """Its items in batches, by state and digest; only those in one of `states`, if there are any."""
        self.get(caller, id)
        for state in states or get_args(ItemState):
            after: MigrationItem | None = None
            while batch := self._database.read(partial(_items, id=id, state=state, after=after)):
                yield batch
                after = batch[-1]

    def running(self) -> list[Migration]:
        """Those that workers are to work at, the oldest first."""
        query = select(Migration).where(Migration.state == "running").order_by(Migration.id)
        return self._database.read(lambda session: list(session.scalars(query)))

    def _check(self, source: str, target: str) -> None:
        for field, name in (("source", source), ("target", target)):
            if name not in self._backends:
                known = ", ".join(sorted(self._backends))
                raise Invalid((field, f"There is no backend {name!r}. Known are: {known}."))
        if source == target:
            raise Invalid(("target", "The target is the source."))

    def _found_or_made(
        self,
        caller: Caller,
        source: str,
        target: str,
        selection: Selection,
        grace: timedelta,
        session: Session,
    ) -> str:
        """The id of the migration that the same was asked of before and that may go on, or of a new one."""
        mark = _mark(source, target, selection)
        may_go_on = Migration.state.in_(OPEN) | ((Migration.state == "ended") & (Migration.failed > 0))
        earlier = select(Migration.id).where(Migration.mark == mark, may_go_on).order_by(Migration.id.desc())
        values = {
            "id": str(uuid7()),
            "source": source,
            "target": target,
            "selection": selection.as_json(),
            "mark": mark,
            "plan": "",
            "state": "planning",
            "grace_seconds": int(grace.total_seconds()),
            "created_at": now(),
            "created_by": caller.key_id,
            "created_by_name": caller.name,
        }
        while (id := session.scalar(earlier.limit(1))) is None:
            made = insert(session, Migration).values(values).on_conflict_do_nothing()
            if (id := session.scalar(made.returning(Migration.id))) is not None:
                places = {"came_from": source, "went_to": target}
                audit.note(session, caller, "migration.begun", id, **places)
                break
        return id

    def _start(self, caller: Caller, id: str, plan: str, session: Session) -> Migration:
        migration = _found(session, id, lock=True)
        if migration.state not in (*OPEN, "ended"):
            raise Invalid(("migration", f"It is {migration.state} by now."))
        recount(session, migration)
        migration.plan, migration.state, migration.ended_at = plan, "running", None
        return migration

    def _change(
        self,
        caller: Caller,
        id: str,
        state: MigrationState,
        was: tuple[MigrationState, ...],
        action: audit.Action,
    ) -> Migration:
        caller.require_everywhere("admin")

        def work(session: Session) -> Migration:
            migration = _found(session, id, lock=True)
            if migration.state == state:
                return migration
            if migration.state not in was:
                raise Invalid(("migration", f"It is {migration.state.replace('_', ' ')}."))
            migration.state = state
            audit.note(session, caller, action, id)
            return migration

        return self._database.write(work)


OPEN: tuple[MigrationState, ...] = ("planning", "running", "paused")


def _mark(source: str, target: str, selection: Selection) -> str:
    said = json.dumps([source, target, selection.as_json()], sort_keys=True)
    return hashlib.sha256(said.encode()).hexdigest()


def _found(session: Session, id: str, *, lock: bool = False) -> Migration:
    query = select(Migration).where(Migration.id == id)
    migration = session.scalars(query.with_for_update() if lock else query).one_or_none()
    if migration is None:
        raise MigrationNotFound(f"There is no migration with the id {id!r}.")
    return migration


def _set_state(session: Session, *, id: str, state: MigrationState, was: tuple[MigrationState, ...]) -> None:
    there = (Migration.id == id, Migration.state.in_(was))
    session.execute(update(Migration).where(*there).values(state=state))


def _try_again(session: Session, *, id: str) -> None:
    """What could not go back is to be looked at anew."""
    stays = (MigrationItem.migration == id, MigrationItem.state == "stays")
    session.execute(update(MigrationItem).where(*stays).values(state="moved", why=""))
    recount(session, _found(session, id, lock=True))


def _end(session: Session, *, id: str) -> None:
    """Nothing is left to try: it has ended."""
    pending = exists().where(MigrationItem.migration == id, MigrationItem.state == "pending")
    over = update(Migration).where(Migration.id == id, Migration.state == "running", ~pending)
    session.execute(over.values(state="ended", ended_at=now()))


def _items(
    session: Session, *, id: str, state: ItemState, after: MigrationItem | None
) -> list[MigrationItem]:
    query = select(MigrationItem).where(MigrationItem.migration == id, MigrationItem.state == state)
    order = tuple_(MigrationItem.sha256, MigrationItem.record)
    if after is not None:
        query = query.where(order > (after.sha256, after.record))
    return list(session.scalars(query.order_by(*order).limit(BATCH)))
