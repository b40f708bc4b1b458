"""Signing in and out. The session holds the id of a key and nothing that is one."""

from __future__ import annotations

from flask import (
    Blueprint,
    Response,
    current_app,
    g,
    make_response,
    render_template,
    request,
    session,
    url_for,
)

from simpledrive.errors import NotSignedIn
from simpledrive.http.current import parts
from simpledrive.ui.pages import here, is_fragment, local, see

blueprint = Blueprint("door", __name__)

OPEN = frozenset({"ui.door.form", "ui.door.enter"})
"""What strangers may ask for. Every other view, whoever adds it, is guarded."""


def guard() -> Response | None:
    """Finds the caller by the session and checks the form's token; strangers are shown the door.

    In this order, so that nothing of a stranger's body is read.
    """
    if request.endpoint not in OPEN:
        try:
            g.caller = parts().keys.named(session.get("key", ""))
        except NotSignedIn:
            return _to_the_door()
    current_app.extensions["csrf"].protect()
    return None


def _to_the_door() -> Response:
    wanted = here() if request.method == "GET" else None
    url = url_for("ui.door.form", next=wanted)
    # A fragment's answer would be swapped into the page: htmx is told to leave it.
    return Response(headers={"HX-Redirect": url}) if is_fragment() else see(url)


@blueprint.get("/sign-in")
def form() -> Response:
    """The door."""
    return _door(200)


@blueprint.post("/sign-in")
def enter() -> Response:
    """Begins a new session for the key, and forgets the old one whole."""
    try:
        found = parts().keys.verify(request.form.get("key", "").strip())
    except NotSignedIn:
        return _door(
            401, flaw="This key is not valid here. Paste it whole, from its first letter to its last."
        )
    session.clear()
    session["key"] = found.key_id
    session.permanent = "stay" in request.form
    return see(local(request.form.get("next")))


@blueprint.post("/sign-out")
def leave() -> Response:
    """Ends the session on this device."""
    session.clear()
    return see(url_for("ui.door.form"))


def _door(status: int, flaw: str | None = None) -> Response:
    wanted = local(request.values.get("next"))
    document = render_template("ui/sign_in.html", next=wanted, flaw=flaw, host=request.host)
    return make_response(document, status)
