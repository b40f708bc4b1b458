"""What both faces share: who is asking, errors, bodies into staging, blobs into responses."""

from flask import Flask, Response, g, request

from simpledrive.http import blob_ids, problems
from simpledrive.http.bodies import MemoryBudget, Request
from simpledrive.http.current import parts
from simpledrive.ids import uuid7


def init_app(app: Flask) -> None:
    """Gives an app the drive's requests, converters, errors and headers."""
    with app.app_context():
        settings = parts().settings
    app.request_class = Request
    app.extensions["simpledrive.json_memory"] = MemoryBudget(settings.json_memory_bytes)
    blob_ids.init_app(app)
    problems.init_app(app)
    app.before_request(_begin)
    app.after_request(_finish)


def _begin() -> None:
    g.request_id = str(uuid7())
    blob_ids.refuse_broken_text()
    parts().sweeper.ensure_started()


def _finish(response: Response) -> Response:
    response.headers["X-Request-Id"] = g.get("request_id", "")
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    response.headers.setdefault("Referrer-Policy", "same-origin")
    if response.status_code >= 400 and request.method != "HEAD":
        response.headers.setdefault("Cache-Control", "no-store")
    return response
