"""What both faces share: who is asking, errors, bodies into staging, blobs into responses."""

from collections.abc import Iterable
from typing import cast

from flask import Flask, Response, g, request

from simpledrive.http import blob_ids, health, problems
from simpledrive.http.bodies import Request
from simpledrive.http.connection import in_portions, limit_waiting
from simpledrive.http.current import parts
from simpledrive.http.memory import MemoryBudget, give_back_what_is_freed
from simpledrive.ids import uuid7


def init_app(app: Flask) -> None:
    """Gives an app the drive's requests, converters, errors and headers."""
    with app.app_context():
        settings = parts().settings
    give_back_what_is_freed()
    app.request_class = Request
    app.extensions["simpledrive.json_memory"] = MemoryBudget(settings.json_memory_bytes)
    blob_ids.init_app(app)
    problems.init_app(app)
    app.register_blueprint(health.blueprint)
    app.before_request(_begin)
    app.after_request(_finish)


def _begin() -> None:
    g.request_id = str(uuid7())
    limit_waiting(request)
    blob_ids.refuse_broken_text()
    parts().sweeper.ensure_started()


def _finish(response: Response) -> Response:
    if response.is_sequence:
        response.response = [*in_portions(cast(Iterable[bytes], response.response))]
    response.headers["X-Request-Id"] = g.get("request_id", "")
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    response.headers.setdefault("Referrer-Policy", "same-origin")
    if response.status_code >= 400:
        response.headers.setdefault("Cache-Control", "no-store")
    return response
