"""Blobs as pages show them: each with its name, its kind and the mark of where its bytes are."""

from __future__ import annotations

from dataclasses import dataclass

from simpledrive.http.current import caller, parts
from simpledrive.models import Blob, Replica, now
from simpledrive.ui import names
from simpledrive.ui.kinds import Kind, kind
from simpledrive.ui.marks import Mark, mark


@dataclass(frozen=True)
class Entry:
    """A blob with what is shown beside it. `also` is the file name, where the id does not say it."""

    blob: Blob
    name: str
    also: str
    kind: Kind
    mark: Mark
    copies: list[Replica]


def entries(blobs: list[Blob]) -> list[Entry]:
    """Each blob as an entry; one query for the copies of all."""
    found = parts().drive.copies_of(caller(), blobs)
    moment, kind_of = now(), parts().backends.kind
    return [
        Entry(
            blob,
            names.shown(blob.id),
            blob.filename if blob.filename != names.shown(blob.id) else "",
            kind(blob.content_type, blob.filename),
            mark(blob.storage_backend, found[blob.id], kind_of, moment),
            found[blob.id],
        )
        for blob in blobs
    ]
