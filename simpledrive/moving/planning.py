"""What a migration is to move: looked up in pages while people go on writing, and written down.

Nothing is taken up before all of it is written down and is what was required: until then new items are only
`planned`, and those that were tried before only marked.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, and_, delete, select, tuple_, update
from sqlalchemy.orm import InstrumentedAttribute, Session

from simpledrive.errors import Invalid, WrongState
from simpledrive.models import ItemState, Migration, MigrationItem, now
from simpledrive.moving.flow import Flow
from simpledrive.moving.rows import ITEM_ORDER, found
from simpledrive.moving.selection import Selection, Table
from simpledrive.moving.states import DONE, States
from simpledrive.moving.tally import add
from simpledrive.sql import Database, insert

PAGE = 500
PLANNING: States = ("planning",)
Which = ColumnElement[bool] | InstrumentedAttribute[bool]
UNSYNCHRONIZED = {"synchronize_session": False}
FIRST = 10
"""How many of the ids a plan names."""


@dataclass(frozen=True)
class Match:
    """A record that is to be moved."""

    id: str
    version: int
    pk: UUID
    sha256: str
    size: int


@dataclass
class Plan:
    """What matched: how many records, their bytes, the first ids, and a hash of all of it.

    Whoever is shown the same hash again knows that exactly the same would move.
    """

    items: int = 0
    bytes: int = 0
    first: list[str] = field(default_factory=list)
    _hash: Any = field(default_factory=hashlib.sha256, repr=False)

    @property
    def hash(self) -> str:
        return str(self._hash.hexdigest())[:16]

    def require(self, wanted: str | None) -> None:
        """Returns if this is the plan of that hash, or any will do. Raises Invalid."""
        if wanted and wanted != self.hash:
            raise Invalid(("plan", f"What matches has changed since: its plan is {self.hash} now."))

    def add(self, matches: Sequence[Match]) -> None:
        self.items += len(matches)
        self.bytes += sum(match.size for match in matches)
        self.first += [match.id for match in matches[: FIRST - len(self.first)]]
        for match in matches:
            self._hash.update(f"{match.id}\0{match.version}\0{match.sha256}\n".encode())


def matches(database: Database, source: str, selection: Selection) -> Iterator[list[Match]]:
    """The records at home at `source` that are selected, in pages: first the blobs, each table by id.

    What comes and goes meanwhile may be among them or not.
    """
    present, left = now(), selection.limit
    for table in selection.tables:
        query = _selected(table, source, selection, present)
        while left is None or left > 0:
            some = query.limit(PAGE if left is None else min(PAGE, left))
            page = database.read(partial(_matches, some))
            if not page:
                break
            yield page
            left = left if left is None else left - len(page)
            last = page[-1]
            behind = tuple_(table.id, table.version, table.pk) > (last.id, last.version, last.pk)
            query = _selected(table, source, selection, present).where(behind)


class Planning:
    """Plans a migration that nobody else plans meanwhile. May be interrupted anywhere, and begun again."""

    def __init__(self, database: Database, migration: Migration, flow: Flow) -> None:
        self._database, self._flow = database, flow
        self._id, self._source = migration.id, migration.source
        self._selection = Selection.from_json(migration.selection)

    def plan(self) -> Migration:
        """Writes down what matches now, beside what was before; from then on it is running.

        One that has a plan goes on with that, and tries again what failed. Raises Invalid if something else
        matches than was required, and then it is paused; WrongState if it was paused or rolled back
        meanwhile; Stopped.
        """
        while True:
            migration = self._database.write(self._planned)
            if migration.plan:
                self._in_pages(self._mark_failed)
            else:
                self._write_down(migration)
            self._in_pages(self._take_on)
            self._in_pages(self._try_again)
            if self._database.write(self._start):
                return self._database.read(lambda session: found(session, self._id))

    def _planned(self, session: Session) -> Migration:
        """The migration, locked behind its items as in a switch. Raises WrongState."""
        migration = found(session, self._id, lock=True)
        if migration.state != "planning":
            raise WrongState(f"It is {migration.state.replace('_', ' ')} by now.")
        return migration

    def _in_pages(self, work: Callable[[Session], int]) -> None:
        """One transaction after the other, as long as there is anything for them."""
        while self._database.write(work):
            self._flow.wait(0)

    def _write_down(self, migration: Migration) -> None:
        selection, required = self._selection, migration.required_plan
        self._in_pages(partial(self._forget, "planned"))
        self._in_pages(self._forget_marks)
        if selection.limit is not None:
            selection = replace(selection, limit=max(0, selection.limit - migration.moved))
        if required or selection.limit is not None:
            self._in_pages(partial(self._forget, "pending"))  # nothing moves but what matches now
        plan = Plan()
        for page in matches(self._database, self._source, selection):
            self._flow.wait(0)
            plan.add(page)
            self._database.write(partial(self._add, page))
        if not self._database.write(partial(self._accept, plan)):
            self._in_pages(partial(self._forget, "planned"))
            plan.require(required)

    def _add(self, page: Sequence[Match], session: Session) -> None:
        """Writes them down. What was written down and tried before is marked, to be tried again."""
        rows = [
            {
                "migration": self._id,
                "sha256": match.sha256,
                "record": match.pk,
                "blob_id": match.id,
                "version": match.version,
                "size": match.size,
                "state": "planned",
                "why": "",
                "is_marked": False,
            }
            for match in page
        ]
        marked = insert(session, MigrationItem).on_conflict_do_update(
            index_elements=["migration", "sha256", "record"],
            set_={"is_marked": True},
            where=and_(MigrationItem.state != "pending", MigrationItem.state != "planned"),
        )
        session.execute(marked, rows)
        self._planned(session)

    def _accept(self, plan: Plan, session: Session) -> bool:
        """Whether it is to run as it is planned now. From then on that is its plan; or it is paused."""
        migration = self._planned(session)
        if migration.required_plan not in ("", plan.hash):
            migration.state = "paused"
            return False
        migration.plan = plan.hash
        return True

    def _take_on(self, session: Session) -> int:
        """A page of what is planned is to be moved; how many that are."""
        page = update(MigrationItem).where(*self._page(session, "planned")).values(state="pending")
        sizes = session.scalars(page.returning(MigrationItem.size), execution_options=UNSYNCHRONIZED).all()
        self._planned(session)
        add(session, self._id, PLANNING, items=len(sizes), bytes=sum(sizes))
        return len(sizes)

    def _try_again(self, session: Session) -> int:
        """The same for a page of what was tried before, as far as that is at the source, still or again."""
        items = self._marked(session)
        at_home = self._at_home(session, [item.record for item in items])
        self._planned(session)
        for item in items:
            item.is_marked = False
            if item.record in at_home:
                moved_bytes = -item.size if item.state == "moved" else 0
                add(session, self._id, PLANNING, **{item.state: -1}, moved_bytes=moved_bytes)
                item.state, item.why = "pending", ""
        return len(items)

    def _at_home(self, session: Session, records: Sequence[UUID]) -> set[UUID]:
        """Those of the records that have their home at the source."""
        found: set[UUID] = set()
        for table in self._selection.tables:
            here = (table.pk.in_(records), table.storage_backend == self._source)
            found |= set(session.scalars(select(table.pk).where(*here)))
        return found

    def _mark_failed(self, session: Session) -> int:
        items = self._page_of(session, MigrationItem.state == "failed", ~MigrationItem.is_marked)
        for item in items:
            item.is_marked = True
        return len(items)

    def _forget_marks(self, session: Session) -> int:
        items = self._marked(session)
        for item in items:
            item.is_marked = False
        return len(items)

    def _marked(self, session: Session) -> Sequence[MigrationItem]:
        return self._page_of(session, MigrationItem.is_marked)

    def _page_of(self, session: Session, *which: Which) -> Sequence[MigrationItem]:
        query = select(MigrationItem).where(MigrationItem.migration == self._id, *which)
        return session.scalars(query.order_by(*ITEM_ORDER).limit(PAGE).with_for_update()).all()

    def _forget(self, state: ItemState, session: Session) -> int:
        """Forgets a page of what has never been tried; how many that are."""
        gone = delete(MigrationItem).where(*self._page(session, state)).returning(MigrationItem.size)
        sizes = session.scalars(gone, execution_options=UNSYNCHRONIZED).all()
        if state == "pending":
            self._planned(session)
            add(session, self._id, PLANNING, items=-len(sizes), bytes=-sum(sizes))
        return len(sizes)

    def _page(self, session: Session, state: ItemState) -> list[ColumnElement[bool]]:
        """What holds of the first items in this state, and of no others."""
        here = [MigrationItem.migration == self._id, MigrationItem.state == state]
        query = select(*ITEM_ORDER).where(*here).order_by(*ITEM_ORDER)
        last = session.execute(query.offset(PAGE - 1).limit(1)).one_or_none()
        return here if last is None else [*here, tuple_(*ITEM_ORDER) <= tuple(last)]

    def _start(self, session: Session) -> bool:
        """Whether it is running: not if it was asked for once more, and is to be planned anew."""
        migration = self._planned(session)
        if migration.plan:
            migration.state = DONE["planning"]
        return bool(migration.plan)


def _selected(table: Table, source: str, selection: Selection, present: datetime) -> Select[Any]:
    columns: list[Any] = [table.id, table.version, table.pk, table.sha256, table.size]
    query = select(*columns).where(table.storage_backend == source)
    return selection.applied(query, table, present).order_by(table.id, table.version, table.pk)


def _matches(query: Select[Any], session: Session) -> list[Match]:
    return [Match(*row) for row in session.execute(query)]
