"""Files by number: the blobs that have a UUID for a name, known by that alone (CONTRACTS, part 2).

A file is the blob whose id is the caller's prefix and a UUID behind it, in small letters; its own id is the
UUID. The drive makes such ids for whatever comes without one (ids.made_below). So two callers with different
prefixes have different files, and what one has does not exist for the other.
"""

from __future__ import annotations

import re

from sqlalchemy import case, func, select

from simpledrive.drive import Drive
from simpledrive.errors import BlobNotFound
from simpledrive.ids import folder_of
from simpledrive.keyset import behind, cursor_at, cut, within
from simpledrive.listing import Page
from simpledrive.models import NAMED_LIKE_A_UUID, Blob
from simpledrive.rights import Caller
from simpledrive.sql import Database

UUID = "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"
UUID_LENGTH = 36


class Files:
    """The files of a caller. All calls raise Forbidden."""

    def __init__(self, database: Database, drive: Drive) -> None:
        self._database, self._drive = database, drive

    def find(self, caller: Caller, id: str) -> Blob:
        """The file with that id. Raises BlobNotFound, also for what is no UUID."""
        caller.require("read")
        if re.fullmatch(UUID, id) is None:
            raise _not_found()
        try:
            return self._drive.describe(caller, caller.prefix + id)
        except BlobNotFound:
            raise _not_found() from None

    def page(self, caller: Caller, cursor: str | None = None, limit: int = 100) -> Page:
        """Up to `limit` files in the order of their ids, from the cursor on.

        Costs a look at these files alone, in an index that has no other blobs. Raises Invalid for a cursor
        that no page named.
        """
        caller.require("read")
        after = behind(cursor)
        prefix = caller.prefix
        query = select(Blob).where(
            Blob.folder == folder_of(prefix),
            NAMED_LIKE_A_UUID,
            # Of hexadecimal digits too; a comparison for the same reason as that one.
            case((func.substr(Blob.id, len(prefix) + 1).regexp_match(UUID), 1), else_=0) > 0,
        )
        query = within(query, prefix)
        if after is not None:
            query = query.where(Blob.id > after)
        query = query.order_by(Blob.id).limit(limit + 1)
        found = self._database.read(lambda session: session.scalars(query).all())
        return Page(*cut(found, limit, lambda blob: cursor_at(blob.id)))


def id_of(blob: Blob) -> str:
    """A file's id, from its blob."""
    return blob.id[-UUID_LENGTH:]


def _not_found() -> BlobNotFound:
    return BlobNotFound("File not found")
