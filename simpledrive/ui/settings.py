"""What a person sets for this browser: the colours."""

from flask import Blueprint, Response, request

from simpledrive.ui.pages import before, see

blueprint = Blueprint("settings", __name__, url_prefix="/settings")

THEMES = ("auto", "light", "dark")
A_YEAR = 365 * 86400


@blueprint.post("/theme")
def theme() -> Response:
    """Keeps the choice in a cookie, so that the door and errors have it too."""
    response = see(before())
    chosen = request.form.get("theme", "auto")
    response.set_cookie(
        "theme",
        chosen if chosen in THEMES else "auto",
        max_age=A_YEAR,
        path=f"{request.script_root}/drive",
        httponly=True,
        samesite="Lax",
    )
    return response
