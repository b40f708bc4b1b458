"""The records of migrations: begun, paused, gone on with, ended, told.

But for `plan`, nothing here takes long, whatever moves: what is asked for is a state, and work.py brings it
about.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from typing import get_args
from uuid import UUID

from sqlalchemy import Select, select, tuple_, update
from sqlalchemy.orm import Session

from simpledrive import audit
from simpledrive.backends import Backends
from simpledrive.errors import Invalid, MigrationNotFound, WrongState
from simpledrive.ids import unprintable, uuid7
from simpledrive.keyset import cut, no_cursor
from simpledrive.leasing import LEASE
from simpledrive.models import ItemState, Migration, MigrationItem, MigrationState, now
from simpledrive.moving.planning import Plan, matches
from simpledrive.moving.selection import Selection
from simpledrive.moving.tally import recount
from simpledrive.rights import Caller
from simpledrive.sql import Database, insert

GRACE = timedelta(days=7)
"""How long what was moved is kept at the source too, unless somebody says otherwise."""
LONGEST_GRACE = timedelta(days=36500)

OPEN: tuple[MigrationState, ...] = ("planning", "running", "paused")
BATCH = 500


class Migrations:
    """Every migration there was, and what may be asked of it. All of it wants the scope admin, everywhere.

    Raises Forbidden, MigrationNotFound, and what is said of each. `by_itself` is for a command that does at
    once what it asks for (MigrationWork.by_itself): workers leave that to it.
    """

    def __init__(self, database: Database, backends: Backends) -> None:
        self._database, self._backends = database, backends

    def plan(self, caller: Caller, source: str, target: str, selection: Selection) -> Plan:
        """What would move now. Changes nothing. Raises Invalid. Takes seconds for a million records."""
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
        by_itself: bool = False,
    ) -> Migration:
        """A migration of what matches, to be planned and run; the one asked for before if it is open.

        So the same call goes on with what was interrupted, tries again what failed, and adds what has come
        since. With `plan`, the hash of one, it will not run if something else matches when it is planned.
        Raises Invalid, StorageError for a backend that cannot be used at all.
        """
        caller.require_everywhere("admin")
        self._check(source, target)
        if not timedelta() <= grace <= LONGEST_GRACE:
            raise Invalid(("grace_seconds", f"The source keeps what has moved for 0 to {LONGEST_GRACE}."))
        for name in (source, target):
            self._backends.use(name)
        values = {
            "source": source,
            "target": target,
            "selection": selection.as_json(),
            "mark": _mark(source, target, selection),
            "grace_seconds": int(grace.total_seconds()),
            "required_plan": plan or "",
            "created_at": now(),
            "created_by": caller.key_id,
            "created_by_name": caller.name,
        }
        return self._database.write(partial(_begun, caller=caller, values=values, by_itself=by_itself))

    def pause(self, caller: Caller, id: str) -> Migration:
        """No worker takes up anything more of it. Raises WrongState if it is neither planned nor run."""
        return self._change(caller, id, "paused", ("planning", "running"), "migration.paused")

    def resume(self, caller: Caller, id: str) -> Migration:
        """Workers go on. Raises WrongState if it is not paused."""
        return self._change(caller, id, "running", ("paused",), "migration.resumed")

    def roll_back(self, caller: Caller, id: str, *, by_itself: bool = False) -> Migration:
        """Homes are to be switched back to what is still at the source. Raises WrongState if it is given up.

        Once more, it tries again what could not go back before.
        """
        was: tuple[MigrationState, ...] = (*OPEN, "ended", "rolled_back")
        return self._change(caller, id, "rolling_back", was, "migration.rolled_back", by_itself=by_itself)

    def finalize(self, caller: Caller, id: str, *, by_itself: bool = False) -> Migration:
        """What is kept at the source is to be given up, and swept after the usual grace.

        Raises WrongState if the migration has not ended.
        """
        was: tuple[MigrationState, ...] = ("ended", "finalized")
        return self._change(caller, id, "finalizing", was, "migration.finalized", by_itself=by_itself)

    def get(self, caller: Caller, id: str) -> Migration:
        caller.require_everywhere("admin")
        return self._database.read(lambda session: found(session, id))

    def page(self, caller: Caller, cursor: str | None, limit: int) -> tuple[list[Migration], str | None]:
        """Up to `limit` of them, the latest first, and the cursor to go on with. Raises Invalid."""
        caller.require_everywhere("admin")
        query = select(Migration).order_by(Migration.id.desc()).limit(limit + 1)
        if cursor:
            query = query.where(Migration.id < str(_uuid(cursor)))
        rows = self._database.read(lambda session: session.scalars(query).all())
        return cut(rows, limit, lambda migration: migration.id)

    def items(self, caller: Caller, id: str, *states: ItemState) -> Iterator[list[MigrationItem]]:
        """Its items in batches, by state and digest; only those in one of `states`, if there are any."""
        self.get(caller, id)
        for state in states or get_args(ItemState):
            after: MigrationItem | None = None
            while batch := self._database.read(partial(_items, id=id, state=state, after=after)):
                yield batch
                after = batch[-1]

    def items_page(
        self, caller: Caller, id: str, state: ItemState | None, cursor: str | None, limit: int
    ) -> tuple[list[MigrationItem], str | None]:
        """Up to `limit` of its items by digest, and the cursor to go on with. Raises Invalid."""
        self.get(caller, id)
        query = select(MigrationItem).where(MigrationItem.migration == id).limit(limit + 1)
        if state is not None:
            query = query.where(MigrationItem.state == state)
        if cursor:
            sha256, _, record = cursor.partition(".")
            query = _behind(query, sha256, _uuid(record))
        rows = self._database.read(lambda session: session.scalars(query.order_by(*ITEM_ORDER)).all())
        return cut(rows, limit, lambda item: f"{item.sha256}.{item.record}")

    def _check(self, source: str, target: str) -> None:
        for field, name in (("source", source), ("target", target)):
            if name not in self._backends:
                known = ", ".join(sorted(self._backends))
                raise Invalid((field, f"There is no backend {name!r}. Known are: {known}."))
        if source == target:
            raise Invalid(("target", "The target is the source."))

    def _change(
        self,
        caller: Caller,
        id: str,
        state: MigrationState,
        was: tuple[MigrationState, ...],
        action: audit.Action,
        *,
        by_itself: bool = False,
    ) -> Migration:
        caller.require_everywhere("admin")
        goes_on = "planning" if state == "running" else state

        def work(session: Session) -> Migration:
            migration = found(session, id, lock=True)
            if by_itself:
                migration.hands_off_until = now() + LEASE
            if migration.state in {state, goes_on}:
                return migration
            if migration.state not in was:
                raise WrongState(f"It is {migration.state.replace('_', ' ')}.")
            migration.state = state
            if state == "running" and not migration.plan:
                migration.state = "planning"  # in the middle of that it was paused
            if state == "rolling_back":
                _try_again(session, migration)
            audit.note(session, caller, action, id)
            return migration

        return self._database.write(work)


ITEM_ORDER = (MigrationItem.sha256, MigrationItem.record)


def found(session: Session, id: str, *, lock: bool = False) -> Migration:
    """The migration, locked if it is to be changed. Raises MigrationNotFound."""
    query = select(Migration).where(Migration.id == id)
    migration = None
    if unprintable(id) is None:
        migration = session.scalars(query.with_for_update() if lock else query).one_or_none()
    if migration is None:
        raise MigrationNotFound(f"There is no migration with the id {id!r}.")
    return migration


def _mark(source: str, target: str, selection: Selection) -> str:
    said = json.dumps([source, target, selection.as_json()], sort_keys=True)
    return hashlib.sha256(said.encode()).hexdigest()


def _begun(session: Session, *, caller: Caller, values: dict[str, object], by_itself: bool) -> Migration:
    """The migration that the same was asked of before and that may go on, or a new one."""
    may_go_on = Migration.state.in_(OPEN) | ((Migration.state == "ended") & (Migration.failed > 0))
    earlier = select(Migration).where(Migration.mark == values["mark"], may_go_on)
    latest = earlier.order_by(Migration.id.desc()).limit(1).with_for_update()
    while (migration := session.scalar(latest)) is None:
        id = str(uuid7())
        new = values | {"id": id, "state": "planning", "plan": ""}
        made = insert(session, Migration).values(new).on_conflict_do_nothing()
        if session.scalar(made.returning(Migration.id)) is not None:
            places = {"came_from": values["source"], "went_to": values["target"]}
            audit.note(session, caller, "migration.begun", id, **places)
    if migration.state != "running":
        migration.state, migration.plan, migration.ended_at = "planning", "", None
    migration.required_plan = str(values["required_plan"])
    if by_itself:
        migration.hands_off_until = now() + LEASE
    return migration


def _try_again(session: Session, migration: Migration) -> None:
    """What could not go back is to be looked at anew."""
    stays = (MigrationItem.migration == migration.id, MigrationItem.state == "stays")
    session.execute(update(MigrationItem).where(*stays).values(state="moved", why=""))
    recount(session, migration)


def _items(
    session: Session, *, id: str, state: ItemState, after: MigrationItem | None
) -> list[MigrationItem]:
    query = select(MigrationItem).where(MigrationItem.migration == id, MigrationItem.state == state)
    if after is not None:
        query = _behind(query, after.sha256, after.record)
    return list(session.scalars(query.order_by(*ITEM_ORDER).limit(BATCH)))


def _behind(query: Select[MigrationItem], sha256: str, record: UUID) -> Select[MigrationItem]:
    return query.where(tuple_(*ITEM_ORDER) > (sha256, record))


def _uuid(cursor: str) -> UUID:
    try:
        return UUID(cursor)
    except ValueError:
        raise no_cursor() from None
