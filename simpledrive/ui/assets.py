"""Static files under URLs that change with their content, so that browsers may keep them for ever."""

import hashlib
from pathlib import Path

from flask import Response, current_app, request, url_for
from flask.sansio.app import App

FOR_EVER = "public, max-age=31536000, immutable"


def init_app(app: App) -> None:
    """Looks at every static file once."""
    app.extensions["simpledrive.assets"] = _versions(Path(app.static_folder or ""))


def _versions(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()[:12]
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def asset(name: str) -> str:
    """The URL of a static file, its content's version in it."""
    return url_for("static", filename=name, v=current_app.extensions["simpledrive.assets"][name])


def cache(response: Response) -> Response:
    """Tells browsers how long to keep a static file: for ever under a versioned URL."""
    if request.endpoint != "static" or response.status_code not in (200, 206, 304):
        return response
    name = (request.view_args or {}).get("filename", "")
    known = current_app.extensions["simpledrive.assets"].get(name)
    # The stylesheet names its font without a version: a changed font gets a new name.
    if known is not None and (request.args.get("v") == known or name.endswith(".woff2")):
        response.headers["Cache-Control"] = FOR_EVER
    return response
