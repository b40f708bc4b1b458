"""The parts of the app that serves this request, and who is asking."""

from typing import cast

from flask import current_app, g, request

from simpledrive.errors import NotSignedIn
from simpledrive.parts import Parts
from simpledrive.rights import Caller


def parts() -> Parts:
    """The drive's parts."""
    return cast(Parts, current_app.extensions["simpledrive"])


def caller() -> Caller:
    """Who is asking, as found by the blueprint before the view ran."""
    return cast(Caller, g.caller)


def sign_in_by_header() -> None:
    """Finds the caller by `Authorization: Bearer` or `X-API-Key`. Raises NotSignedIn.

    A blueprint calls this before each request, so that nothing of a body is read for a stranger.
    """
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        g.caller = parts().keys.verify(token.strip())
    elif key := request.headers.get("X-API-Key"):
        g.caller = parts().keys.verify(key)
    else:
        raise NotSignedIn("Send a token: Authorization: Bearer TOKEN.")
