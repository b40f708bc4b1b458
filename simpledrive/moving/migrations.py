"""The records of migrations: begun, paused, gone on with, ended, told.

But for `plan`, nothing here takes long, whatever moves: what is asked for is a state (states.py), and work.py
brings it about.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from typing import get_args
from uuid import UUID

from sqlalchemy import Select, select, tuple_
from sqlalchemy.orm import Session

from simpledrive import audit
from simpledrive.backends import Backends
from simpledrive.errors import Forbidden, Invalid
from simpledrive.ids import unprintable, uuid7
from simpledrive.keyset import cut, no_cursor
from simpledrive.leasing import LEASE
from simpledrive.models import ItemState, Migration, MigrationItem, now
from simpledrive.moving.planning import Plan, matches
from simpledrive.moving.rows import ITEM_ORDER, found
from simpledrive.moving.selection import Selection
from simpledrive.moving.states import OPEN, Act, after
from simpledrive.rights import Caller
from simpledrive.sql import Database, insert

GRACE = timedelta(days=7)
"""How long what was moved is kept at the source too, unless somebody says otherwise."""
LONGEST_GRACE = timedelta(days=36500)

BATCH = 500

MAY_GO_ON = Migration.state.in_(OPEN) | ((Migration.state == "ended") & (Migration.failed > 0))
"""What the same asked for again goes on with."""


class Migrations:
    """Every migration there was, and what may be asked of it. All of it wants the scope admin, everywhere.

    Raises Forbidden, MigrationNotFound, WrongState (states.py), and what is said of each. `exclusive` is for
    a command that does at once what it asks for (MigrationWork.exclusively): workers leave that to it.
    """

    def __init__(self, database: Database, backends: Backends) -> None:
        self._database, self._backends = database, backends

    def plan(self, caller: Caller, source: str, target: str, selection: Selection) -> Plan:
        """What would move now. Changes nothing. Raises Invalid. Takes seconds for a million records."""
        caller.require_everywhere("admin")
        self._check(caller, source, target)
        plan = Plan()
        for page in matches(self._database, source, selection):
            plan.add(page)
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
        exclusive: bool = False,
    ) -> Migration:
        """A migration of what matches, to be planned and run; the one asked for before if it is open.

        So the same call goes on with what was interrupted, tries again what failed, and adds what has come
        since. With `plan`, the hash of one, it is refused if something else matches now, and does not run if
        something else does when it is planned; of one that has this plan, the rest is gone on with. What was
        required stays so. Of the grace that was asked for before and this one the longer counts, for what
        moves from now on. Raises Invalid, StorageError for a backend that cannot be used at all.
        """
        caller.require_everywhere("admin")
        self._check(caller, source, target)
        if not timedelta() <= grace <= LONGEST_GRACE:
            raise Invalid(("grace_seconds", f"The source keeps what has moved for 0 to {LONGEST_GRACE}."))
        for name in (source, target):
            self._backends.use(name)
        mark = _mark(source, target, selection)
        if plan and (unprintable(plan) is not None or not self._has_plan(mark, plan)):
            self.plan(caller, source, target, selection).require(plan)
        values = {
            "source": source,
            "target": target,
            "selection": selection.as_json(),
            "mark": mark,
            "grace_seconds": int(grace.total_seconds()),
            "required_plan": plan or "",
            "created_at": now(),
            "created_by": caller.key_id,
            "created_by_name": caller.name,
        }
        return self._database.write(partial(_begun, caller=caller, values=values, exclusive=exclusive))

    def pause(self, caller: Caller, id: str) -> Migration:
        """No worker takes up anything more of it."""
        return self._ask(caller, id, "pause", "migration.paused")

    def resume(self, caller: Caller, id: str) -> Migration:
        """Workers go on with what is paused."""
        return self._ask(caller, id, "resume", "migration.resumed")

    def roll_back(self, caller: Caller, id: str, *, exclusive: bool = False) -> Migration:
        """Homes are to be switched back to what is still at the source.

        Once more, it tries again what could not go back before.
        """
        return self._ask(caller, id, "roll-back", "migration.rolled_back", exclusive=exclusive)

    def finalize(self, caller: Caller, id: str, *, exclusive: bool = False) -> Migration:
        """What is kept at the source is to be given up, and swept after the usual grace."""
        return self._ask(caller, id, "finalize", "migration.finalized", exclusive=exclusive)

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
            if unprintable(sha256) is not None:
                raise no_cursor()
            query = _behind(query, sha256, _uuid(record))
        rows = self._database.read(lambda session: session.scalars(query.order_by(*ITEM_ORDER)).all())
        return cut(rows, limit, lambda item: f"{item.sha256}.{item.record}")

    def _has_plan(self, mark: str, plan: str) -> bool:
        """Whether what may be gone on with has this plan, which was found to be right when it was made."""
        query = select(Migration.id).where(Migration.mark == mark, MAY_GO_ON, Migration.plan == plan)
        return self._database.read(lambda session: session.scalar(query.limit(1))) is not None

    def _check(self, caller: Caller, source: str, target: str) -> None:
        for field, name in (("source", source), ("target", target)):
            if name not in self._backends:
                known = ", ".join(sorted(self._backends))
                raise Invalid((field, f"There is no backend {name!r}. Known are: {known}."))
        if source == target:
            raise Invalid(("target", "The target is the source."))
        _may_place(caller, source, target)

    def _ask(
        self, caller: Caller, id: str, act: Act, action: audit.Action, *, exclusive: bool = False
    ) -> Migration:
        caller.require_everywhere("admin")

        def work(session: Session) -> Migration:
            migration = found(session, id, lock=True)
            _may_place(caller, migration.source, migration.target)
            following = after(act, migration.state)
            if exclusive:
                migration.exclusive_until = now() + LEASE
            if following != migration.state:
                migration.state = following
                audit.note(session, caller, action, id)
            return migration

        return self._database.write(work)


def _may_place(caller: Caller, *backends: str) -> None:
    """Who may place bytes at some backends only moves nothing to others, nor back. Raises Forbidden."""
    for name in backends:
        if caller.backends is not None and name not in caller.backends:
            raise Forbidden(f"This key may not place bytes at {name}.")


def _mark(source: str, target: str, selection: Selection) -> str:
    said = json.dumps([source, target, selection.as_json()], sort_keys=True)
    return hashlib.sha256(said.encode()).hexdigest()


def _begun(session: Session, *, caller: Caller, values: dict[str, object], exclusive: bool) -> Migration:
    """The migration that the same was asked of before and that may go on, or a new one."""
    earlier = select(Migration).where(Migration.mark == values["mark"], MAY_GO_ON)
    latest = earlier.order_by(Migration.id.desc()).limit(1).with_for_update()
    while (migration := session.scalar(latest)) is None:
        id = str(uuid7())
        new = values | {"id": id, "state": "planning", "plan": ""}
        made = insert(session, Migration).values(new).on_conflict_do_nothing()
        if session.scalar(made.returning(Migration.id)) is not None:
            places = {"came_from": values["source"], "went_to": values["target"]}
            audit.note(session, caller, "migration.begun", id, **places)
    migration.state, migration.ended_at = after("begin", migration.state), None
    migration.required_plan = str(values["required_plan"]) or migration.required_plan
    if not migration.required_plan or migration.plan != migration.required_plan:
        migration.plan = ""  # whatever matches now
    migration.grace_seconds = max(migration.grace_seconds, int(str(values["grace_seconds"])))
    if exclusive:
        migration.exclusive_until = now() + LEASE
    return migration


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
