"""Pages of blobs, as far as a caller may see them."""

from __future__ import annotations

from sqlalchemy import Select, select

from simpledrive.ids import unprintable
from simpledrive.keyset import behind, cursor_at, cut, within
from simpledrive.listing.filters import EVERYTHING, Filter
from simpledrive.listing.folders import FolderPage, contents
from simpledrive.listing.levels import Page, level
from simpledrive.models import Blob
from simpledrive.rights import Caller
from simpledrive.sql import Database


class Listing:
    """Pages of blobs, as far as a caller may see them.

    All calls raise Forbidden, and Invalid for a cursor that no page named. What can begin no id (a control
    character) finds nothing.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def page(
        self, caller: Caller, wanted: Filter = EVERYTHING, cursor: str | None = None, limit: int = 100
    ) -> Page:
        """Up to `limit` of the wanted blobs, from the cursor on."""
        caller.require("read")
        after = behind(cursor)
        if wanted.finds_nothing():
            return Page([], None)
        query = _wanted(caller, wanted)
        if after is not None:
            query = query.where(Blob.id > after)
        query = query.limit(limit + 1)
        found = self._database.read(lambda session: session.scalars(query).all())
        return Page(*cut(found, limit, lambda blob: cursor_at(blob.id)))

    def level(
        self, caller: Caller, wanted: Filter = EVERYTHING, cursor: str | None = None, limit: int = 100
    ) -> Page:
        """As `page`, but what lies deeper than the next slash behind the prefix is one entry of `prefixes`.

        `limit` counts blobs and prefixes together, in the order of both.
        """
        caller.require("read")
        after = behind(cursor)
        if wanted.finds_nothing():
            return Page([], None)
        query = _wanted(caller, wanted)
        return self._database.read(lambda session: level(session, query, wanted.prefix, after, limit))

    def folder(
        self, caller: Caller, path: str, backends: list[str], cursor: str | None = None, limit: int = 100
    ) -> FolderPage:
        """Up to `limit` entries directly in the folder `path` ("" or ending with a slash).

        `backends` are those looked for below each folder.
        """
        caller.require("read")
        after = behind(cursor)
        if unprintable(path):
            return FolderPage([], [], None)

        return self._database.read(lambda session: contents(session, caller, path, backends, after, limit))


def _wanted(caller: Caller, wanted: Filter) -> Select[Blob]:
    """The wanted blobs that the caller may see, in order of their ids."""
    query = within(within(select(Blob), caller.prefix), wanted.prefix)
    return query.where(*wanted.conditions()).order_by(Blob.id)
