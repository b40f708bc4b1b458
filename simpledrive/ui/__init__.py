"""The HTML face, under /drive: pages and htmx fragments. No rule lives here; it translates.

Every action is a link or a plain form and works with scripts off. Each page has a module; templates are in
templates/ui, everything that a browser fetches in static.
"""

from __future__ import annotations

from flask import Blueprint, Response
from flask.blueprints import BlueprintSetupState
from werkzeug.exceptions import NotFound

from simpledrive import sessions
from simpledrive.errors import Forbidden
from simpledrive.models import now
from simpledrive.ui import (
    amounts,
    assets,
    backends,
    blob,
    deletion,
    door,
    files,
    keys,
    marks,
    moments,
    names,
    pages,
    settings,
    upload,
)

blueprint = Blueprint("ui", __name__, url_prefix="/drive")
for _page in (door, files, blob, upload, deletion, keys, backends, settings):
    blueprint.register_blueprint(_page.blueprint)

blueprint.before_request(door.guard)
blueprint.register_error_handler(Forbidden, door.refuse)
blueprint.after_app_request(pages.finish)
blueprint.after_app_request(assets.cache)
blueprint.app_context_processor(pages.context)


@blueprint.get("")
def first() -> Response:
    """Where everybody begins."""
    return pages.see(files.folder_url(""))


@blueprint.get("/<path:rest>")
def nowhere(rest: str) -> Response:
    """No page of ours: said by a view, so that strangers are shown the door here too."""
    raise NotFound


@blueprint.record_once
def _on_register(state: BlueprintSetupState) -> None:
    app = state.app
    app.permanent_session_lifetime = sessions.LIFETIME
    app.add_url_rule("/", "home", first)
    assets.init_app(app)
    app.jinja_env.filters.update(
        size=amounts.size,
        count=amounts.count,
        duration=amounts.duration,
        full=moments.full,
        split=names.split,
        stamp=lambda moment: moments.stamp(moment, now()),
        when=lambda moment: moments.when(moment, now()),
    )
    app.jinja_env.globals.update(
        asset=assets.asset, folder_url=files.folder_url, shape_of=marks.shape, way_to=names.way_to
    )
