"""The parts of the app that serves this request, and who is asking."""

from collections.abc import Callable
from dataclasses import asdict
from typing import cast

from flask import current_app, g, request, session
from flask_wtf.csrf import validate_csrf

from simpledrive.errors import InvalidToken, NotSignedIn
from simpledrive.http import limits
from simpledrive.parts import Parts
from simpledrive.rights import Caller, Origin
from simpledrive.sessions import Ticket

CSRF_HEADER = "X-CSRFToken"


def parts() -> Parts:
    """The drive's parts."""
    return cast(Parts, current_app.extensions["simpledrive"])


def caller() -> Caller:
    """Who is asking, as found by the blueprint before the view ran."""
    return cast(Caller, g.caller)


def origin() -> Origin:
    """Where this request comes from."""
    return Origin(g.request_id, request.remote_addr or "")


def sign_in_by_header() -> None:
    """Finds the caller by `Authorization: Bearer` or `X-API-Key`. Raises NotSignedIn, TooMany.

    Without either, by the session of a browser that sends its CSRF token as a header, whatever the method;
    a credential in the query never counts. Who sends none may be let in as nobody (ANONYMOUS_ACCESS); who
    sends a wrong one never is.

    A blueprint calls this before each request, so that nothing of a body is read for a stranger.
    """
    _sign_in(_by_header)


def sign_in_by_session() -> None:
    """Finds the caller of a page by the browser's session, or as nobody. Raises NotSignedIn, TooMany."""
    _sign_in(_by_session)


def count_stranger() -> None:
    """Counts a request of somebody who is not known, by his address. Raises TooMany."""
    limits.count("address", _address())


def verify(credential: str) -> Caller:
    """The caller that this credential stands for. Raises InvalidToken, and TooMany without looking at it.

    Every credential that comes from outside is looked at here.
    """
    address = _address()
    limits.require_room("failed-sign-ins", address)
    try:
        return parts().keys.verify(credential, origin())
    except InvalidToken:
        limits.count("failed-sign-ins", address)
        raise


def begin_session(found: Caller, permanent: bool) -> None:
    """A new session for this caller. The old one ends, and nothing of it stays, its CSRF token neither."""
    end_session()
    session["ticket"] = asdict(parts().sessions.begin(found))
    session.permanent = permanent


def end_session() -> None:
    """Ends the session of this browser, and every copy of its cookie."""
    ticket = _ticket()
    session.clear()
    if ticket is not None:
        try:
            found = parts().sessions.resume(ticket, origin())
        except InvalidToken:
            return
        parts().sessions.end(found, ticket)


def _sign_in(find: Callable[[], Caller]) -> None:
    try:
        g.caller = find()
    except NotSignedIn:
        count_stranger()
        raise
    if caller().is_known:
        limits.count("key", caller().key_id)
    else:
        count_stranger()


def _by_header() -> Caller:
    authorization = request.headers.get("Authorization")
    scheme, _, token = (authorization or "").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return verify(token.strip())
    if (key := request.headers.get("X-API-Key")) is not None:
        return verify(key)
    if authorization is not None:
        raise NotSignedIn("The header Authorization has no bearer token.")
    if CSRF_HEADER in request.headers:
        return _by_guarded_session(request.headers[CSRF_HEADER])
    return parts().keys.nobody(origin())


def _by_guarded_session(csrf_token: str) -> Caller:
    try:
        validate_csrf(csrf_token)
    except ValueError:  # wtforms.ValidationError is one
        raise NotSignedIn(f"{CSRF_HEADER} is not the token of this session.") from None
    return _by_session()


def _by_session() -> Caller:
    if (ticket := _ticket()) is None:
        return parts().keys.nobody(origin())
    try:
        return parts().sessions.resume(ticket, origin())
    except InvalidToken:
        session.clear()
        raise


def _ticket() -> Ticket | None:
    ticket = session.get("ticket")
    return Ticket(**ticket) if ticket else None


def _address() -> str:
    return limits.network(request.remote_addr or "")
