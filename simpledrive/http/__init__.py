"""What both faces share: who is asking, errors, bodies into staging, blobs into responses."""

from collections.abc import Iterable
from typing import cast

from flask import Flask, Response, g, request

from simpledrive.http import (
    access_log,
    blob_ids,
    cors,
    exchange,
    health,
    limits,
    metrics,
    problem_pages,
    problems,
    proxies,
)
from simpledrive.http.connection import in_portions
from simpledrive.http.cookies import Cookies
from simpledrive.http.current import parts
from simpledrive.http.memory import MemoryBudget, give_back_what_is_freed
from simpledrive.http.requests import Request
from simpledrive.ids import uuid7


def init_app(app: Flask) -> None:
    """Gives an app the drive's requests, converters, errors and headers."""
    with app.app_context():
        settings = parts().settings
    give_back_what_is_freed()
    app.request_class = Request
    app.session_interface = Cookies()
    app.extensions["simpledrive.json_memory"] = MemoryBudget(settings.json_memory_bytes)
    proxies.init_app(app, settings)
    blob_ids.init_app(app)
    problems.init_app(app)
    health.init_app(app)
    app.register_blueprint(metrics.blueprint)
    app.register_blueprint(problem_pages.blueprint)
    app.before_request(_begin)
    app.after_request(_finish)
    exchange.init_app(app, metrics.count, access_log.write)
    limits.init_app(app, settings)
    cors.init_app(app, settings)


def _begin() -> None:
    g.request_id = str(uuid7())
    blob_ids.refuse_doubled_root()
    blob_ids.refuse_broken_text()
    parts().sweeper.ensure_started()
    parts().probes.ensure_started()


def _finish(response: Response) -> Response:
    if response.is_sequence:
        response.response = [*in_portions(cast(Iterable[bytes], response.response))]
    # Werkzeug's own redirects name the host that the request claims to be for.
    if response.status_code == 308:
        response.headers["Location"] = response.headers["Location"].removeprefix(request.host_url[:-1])
    response.headers["X-Request-Id"] = g.get("request_id", "")
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    response.headers.setdefault("Referrer-Policy", "same-origin")
    # What is not made to be a page is none, even where a browser can be brought to show it.
    response.headers.setdefault("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
    if response.status_code >= 400:
        response.headers.setdefault("Cache-Control", "no-store")
    return response
