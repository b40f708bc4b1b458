"""Signing in and out, and what strangers are shown. The session holds nothing that is a key."""

from __future__ import annotations

from flask import Blueprint, Response, current_app, make_response, render_template, request, url_for

from simpledrive.errors import Forbidden, InvalidToken, NotSignedIn
from simpledrive.http.current import (
    begin_session,
    caller,
    count_stranger,
    end_session,
    sign_in_by_session,
    verify,
)
from simpledrive.http.problems import answer
from simpledrive.ui.pages import here, is_fragment, local, see

blueprint = Blueprint("door", __name__)

OPEN = frozenset({"ui.door.form", "ui.door.enter"})
"""What strangers may ask for. Every other view, whoever adds it, is guarded."""


def guard() -> Response | None:
    """Finds the caller by the session and checks the form's token; strangers are shown the door.

    In this order, so that nothing of a stranger's body is read.
    """
    if request.endpoint in OPEN:
        count_stranger()
    else:
        try:
            sign_in_by_session()
        except NotSignedIn:
            return _to_the_door()
    current_app.extensions["csrf"].protect()
    return None


def refuse(error: Forbidden) -> Response:
    """The answer to what the caller may not do: who has not signed in yet may do so."""
    return answer(error) if caller().is_known else _to_the_door()


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
        found = verify(request.form.get("key", "").strip())
    except InvalidToken:
        return _door(
            401, flaw="This key is not valid here. Paste it whole, from its first letter to its last."
        )
    begin_session(found, permanent="stay" in request.form)
    return see(local(request.form.get("next")))


@blueprint.post("/sign-out")
def leave() -> Response:
    """Ends the session, on this device and wherever a copy of its cookie lies."""
    end_session()
    return see(url_for("ui.door.form"))


def _door(status: int, flaw: str | None = None) -> Response:
    wanted = local(request.values.get("next"))
    document = render_template("ui/sign_in.html", next=wanted, flaw=flaw, host=request.host)
    return make_response(document, status)
