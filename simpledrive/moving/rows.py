"""A migration by its id, and the order in which its items are told."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from simpledrive.errors import MigrationNotFound
from simpledrive.ids import unprintable
from simpledrive.models import Migration, MigrationItem

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
