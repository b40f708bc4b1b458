"""/drive/blob, /drive/content and /drive/move: one blob, its bytes for a browser, and another home for it."""

from __future__ import annotations

from dataclasses import dataclass

from flask import Blueprint, Response, request, url_for

from simpledrive.descriptions import media_type
from simpledrive.errors import DriveError
from simpledrive.http.content import PICTURES, content_response
from simpledrive.http.current import caller, parts
from simpledrive.http.problems import detail
from simpledrive.models import Blob, Replica, WantedCopy, now
from simpledrive.ui import names, notes
from simpledrive.ui.backends import KINDS
from simpledrive.ui.entries import entries
from simpledrive.ui.kinds import readable
from simpledrive.ui.marks import Rep, rep, shape
from simpledrive.ui.pages import page, see

blueprint = Blueprint("blob", __name__)

LARGEST_PICTURE = 32 << 20
TEXT_SHOWN = 64 << 10
LINES_SHOWN = 2000
_CONTROLS = {code: 0x2400 + code for code in range(32) if chr(code) != "\t"} | {127: 0x2421}


@dataclass(frozen=True)
class Place:
    """A copy of a blob's bytes: its shape, what it is there, and the replica."""

    rep: Rep
    role: str
    replica: Replica


@dataclass(frozen=True)
class Preview:
    """What can be shown of a blob: a picture, the first lines of a text, or why there is none."""

    picture: bool = False
    lines: tuple[str, ...] = ()
    whole: bool = True
    trouble: str = ""


@blueprint.get("/blob/<id:id>")
def show(id: str) -> Response:
    """A blob: what it is, where its bytes are, what can be done."""
    blob = parts().drive.describe(caller(), id)
    # First the preview: reading may find a copy bad, and the page should say so.
    preview = _preview(blob)
    [entry] = entries([blob])
    return page(
        "ui/blob.html",
        entry=entry,
        blob=blob,
        maker=parts().keys.name_of(caller(), blob.owner),
        crumbs=names.crumbs(blob.folder),
        preview=preview,
        places=[_place(blob, replica) for replica in entry.copies],
        coming=[(_coming(wanted), wanted) for wanted in parts().lags.of(caller(), blob)],
        targets=_targets(blob),
        days=parts().settings.history_days,
    )


@blueprint.get("/content/<id:id>")
def content(id: str) -> Response:
    """The bytes, or a range of them."""
    blob = parts().drive.describe(caller(), id)
    return content_response(request, blob, download="download" in request.args)


@blueprint.post("/move")
def move() -> Response:
    """Moves the blob that the form names to the backend that it names, and shows it."""
    blob = parts().mover.move(caller(), request.form.get("id", ""), request.form.get("storage_backend", ""))
    notes.leave(notes.Note(f"Moved {names.shown(blob.id)} to {blob.storage_backend}."))
    return see(url_for("ui.blob.show", id=blob.id))


def _place(blob: Blob, replica: Replica) -> Place:
    kind = parts().backends.kind(replica.storage_backend)
    if replica.storage_backend == blob.storage_backend:
        role = "home"
    else:
        role = "copy" if replica.retired_at is None else "left behind"
    return Place(rep(replica, blob.storage_backend, kind, now()), role, replica)


def _coming(wanted: WantedCopy) -> Rep:
    return Rep(shape(parts().backends.kind(wanted.storage_backend)), "busy")


def _targets(blob: Blob) -> dict[str, str]:
    """Where the caller may move a blob: each backend's name, and what kind of place it is."""
    may_place_at = caller().backends
    return {
        name: KINDS.get(parts().backends.kind(name), parts().backends.kind(name))
        for name in parts().backends
        if name != blob.storage_backend and (may_place_at is None or name in may_place_at)
    }


def _preview(blob: Blob) -> Preview | None:
    if media_type(blob.content_type) in PICTURES and 0 < blob.size <= LARGEST_PICTURE:
        return Preview(picture=True)
    if not readable(blob.content_type) or not blob.size:
        return None
    try:
        data = b"".join(parts().drive.read(caller(), blob, 0, min(blob.size, TEXT_SHOWN)))
    except DriveError as error:
        return Preview(trouble=detail(error))
    lines = data.decode(errors="replace").replace("\r\n", "\n").split("\n")
    if lines[-1] == "" and len(data) == blob.size:
        lines.pop()
    whole = len(data) == blob.size and len(lines) <= LINES_SHOWN
    return Preview(lines=tuple(line.translate(_CONTROLS) for line in lines[:LINES_SHOWN]), whole=whole)
