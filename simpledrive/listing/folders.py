"""What lies directly in a folder: folders first, then blobs."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from simpledrive.ids import after_prefix, folder_of
from simpledrive.keyset import cursor_at, within
from simpledrive.models import Blob
from simpledrive.rights import Caller


@dataclass(frozen=True)
class Folder:
    """A folder directly inside another: its path, ending with a slash, and the backends with files below."""

    path: str
    backends: list[str]


@dataclass(frozen=True)
class FolderPage:
    """Some of what lies directly in a folder: folders first, then blobs. `next` as in Page."""

    folders: list[Folder]
    blobs: list[Blob]
    next: str | None


def contents(
    session: Session, caller: Caller, path: str, backends: list[str], after: str | None, limit: int
) -> FolderPage:
    """What lies directly in a folder, behind the entry `after`: a folder inside, or a blob."""
    folders: list[Folder] = []
    blobs: list[Blob] = []
    among_blobs = after is not None and not _deeper(after, path)
    if not among_blobs:
        folders = _subfolders(session, caller, path, backends, after, limit + 1)
        if len(folders) > limit:
            return FolderPage(folders[:limit], [], cursor_at(folders[limit - 1].path))
    query = within(select(Blob).where(Blob.folder == path), caller.prefix)
    if among_blobs:
        query = query.where(Blob.id > after)
    room = limit - len(folders)
    blobs = list(session.scalars(query.order_by(Blob.id).limit(room + 1)))
    if len(blobs) <= room:
        return FolderPage(folders, blobs, None)
    last = blobs[room - 1].id if room else folders[-1].path
    return FolderPage(folders, blobs[:room], cursor_at(last))


def _deeper(last: str, path: str) -> bool:
    """Whether this is a folder inside `path`, and not a blob directly in it."""
    return last.endswith("/") and len(last) > len(path)


def _subfolders(
    session: Session, caller: Caller, path: str, backends: list[str], after: str | None, limit: int
) -> list[Folder]:
    """Jumps through the index on folders from one to the next: one look-up each, whatever lies in them."""
    down = folder_of(caller.prefix)
    if down.startswith(path) and down != path:
        return _way_down(session, caller.prefix, path, backends) if after is None else []
    found: list[Folder] = []
    start = path if after is None else after_prefix(after)
    end = after_prefix(path) if path else None
    while len(found) < limit and start is not None:
        query = select(func.min(Blob.folder)).where(Blob.folder > path, Blob.folder >= start)
        query = within(query, caller.prefix, Blob.folder)
        if end is not None:
            query = query.where(Blob.folder < end)
        deep = session.scalar(query)
        if deep is None:
            break
        child = path + deep[len(path) :].partition("/")[0] + "/"
        found.append(Folder(child, _backends_below(session, child, backends)))
        start = after_prefix(child)
    return found


def _way_down(session: Session, prefix: str, path: str, backends: list[str]) -> list[Folder]:
    """The one folder in `path` that leads to what begins with the prefix. Nothing else is looked at."""
    holding = _backends_below(session, prefix, backends)
    found = within(select(Blob), prefix).limit(1)
    if not holding and session.scalars(found).first() is None:
        return []
    return [Folder(path + prefix[len(path) :].partition("/")[0] + "/", holding)]


def _backends_below(session: Session, path: str, backends: list[str]) -> list[str]:
    """Which of the backends are home to something in a folder: one query for all."""
    if not backends:
        return []
    there = [within(select(Blob.pk).where(Blob.storage_backend == name), path).exists() for name in backends]
    answers = session.execute(select(*there)).one()
    return [name for name, holds in zip(backends, answers, strict=True) if holds]
