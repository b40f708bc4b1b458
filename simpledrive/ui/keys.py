"""/drive/keys: the keys there are, a new one shown once, and revoking after a question.

The answer to the form is the page with the new key itself: nothing keeps it for a next page. So that a
reload, which sends the form again, makes no second key, the form has the new key's id in it, signed when it
was drawn.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import cast

from flask import Blueprint, Response, current_app, request, url_for
from itsdangerous import BadSignature, URLSafeTimedSerializer
from pydantic import ByteSize, TypeAdapter, ValidationError

from simpledrive.errors import Invalid, KeyExists
from simpledrive.http.current import caller, parts
from simpledrive.ids import uuid7
from simpledrive.keys import NewKey, counts
from simpledrive.models import ApiKey, now
from simpledrive.rights import SCOPES
from simpledrive.ui import notes
from simpledrive.ui.pages import page, see

blueprint = Blueprint("keys", __name__, url_prefix="/keys")

ENDS = {"30": "in 30 days", "90": "in 90 days", "365": "in a year"}
"""What can be chosen, in days. Without one of these a key ends when its maker's does."""

FORM_SECONDS = 86400
"""How long a form for a new key can be sent."""

SOON = timedelta(days=30)
"""A key that ends within this is pointed out."""


@dataclass(frozen=True)
class Made:
    """A key that was made just now, and its text."""

    key: ApiKey
    credential: str


@blueprint.get("")
def show() -> Response:
    """The keys that may do no more than the caller's, and the form for a new one."""
    return _page(200)


@blueprint.post("")
def make() -> Response:
    """Makes a key and shows it, this once; a form that is sent again makes none."""
    caller().require("admin")
    try:
        made, credential = parts().keys.issue(caller(), _asked())
    except Invalid as error:
        return _page(422, problems=dict(error.problems), said=request.form)
    except KeyExists:
        note = notes.Note(
            "This form was sent before, and made one key, which was shown once.",
            ["If it was not copied then, revoke it in the list and make another. Nothing was done now."],
        )
        return _page(409, note=note)
    return _page(201, made=Made(made, credential))


@blueprint.post("/revoke")
def revoke() -> Response:
    """Asks about one key; when that was confirmed, revokes it."""
    key = parts().keys.get(caller(), request.form.get("id", ""))
    if "confirmed" not in request.form:
        return page("ui/revoke.html", key=key, is_own=key.id == caller().key_id)
    parts().keys.revoke(caller(), key.id)
    notes.leave(notes.Note(f"The key {key.name} lets nobody in any more. What it stored stays."))
    return see(url_for("ui.keys.show"))


def _page(status: int, **context: object) -> Response:
    """The page; every time it is drawn, its form asks for another key."""
    found = parts().keys.all(caller())
    allowed = caller().backends
    response = page(
        "ui/keys.html",
        keys=sorted(found, key=lambda key: key.created_at, reverse=True),
        scopes=[scope for scope in SCOPES if scope in caller().scopes],
        backends=[name for name in parts().backends if allowed is None or name in allowed],
        ends=ENDS,
        limits=caller(),
        asking=_signer().dumps(str(uuid7())),
        counts=counts,
        soon=now() + SOON,
        **context,
    )
    response.status_code = status
    response.headers["Cache-Control"] = "no-store"
    return response


def _asked() -> NewKey:
    """The key that the form asks for. Raises Invalid with every field that cannot be read."""
    form = request.form
    problems: list[tuple[str, str]] = []

    def size(field: str) -> int | None:
        text = form.get(field, "").strip()
        try:
            return int(TypeAdapter(ByteSize).validate_python(text)) if text else None
        except ValidationError:
            problems.append((field, "This is no size such as 20 MiB or 10 GiB."))
            return None

    try:
        id = cast(str, _signer().loads(form.get("asking", ""), max_age=FORM_SECONDS))
    except BadSignature:
        raise Invalid(("asking", "This form was not made for you. Send it once more.")) from None
    max_bytes, quota_bytes = size("max_bytes"), size("quota_bytes")
    if problems:
        raise Invalid(*problems)
    return NewKey(
        name=form.get("name", ""),
        description=form.get("description", "").strip(),
        scopes=form.getlist("scope"),
        prefix=form.get("prefix") or None,
        backends=form.getlist("backend") or None,
        max_bytes=max_bytes,
        quota_bytes=quota_bytes,
        expires_at=_end(form.get("expires", "")),
        id=id,
    )


def _end(days: str) -> datetime | None:
    return now() + timedelta(days=int(days)) if days in ENDS else None


def _signer() -> URLSafeTimedSerializer:
    """Signs the ids of keys to be made, for this caller alone."""
    return URLSafeTimedSerializer(cast(str, current_app.secret_key), f"a new key of {caller().key_id}")
