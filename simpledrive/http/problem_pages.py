"""/problems/{type}: what a problem document's `type` leads to, a page that says what to do. Open to all."""

from __future__ import annotations

from flask import Blueprint, Response, make_response, render_template
from werkzeug.exceptions import NotFound

from simpledrive.http import policy
from simpledrive.http.problem_kinds import KINDS, TEXTS

blueprint = Blueprint("problems", __name__, url_prefix="/problems")
blueprint.after_request(policy.guard)


@blueprint.get("/", strict_slashes=False)
def index() -> Response:
    """Every type, by status."""
    kinds = sorted(KINDS.values(), key=lambda kind: (kind.status or 999, kind.type))
    return make_response(render_template("problems/index.html", kinds=kinds))


@blueprint.get("/<kind>")
def page(kind: str) -> Response:
    """One type: what it means and what to do about it."""
    if kind not in KINDS:
        raise NotFound
    return make_response(render_template("problems/page.html", kind=KINDS[kind], text=TEXTS[kind]))
