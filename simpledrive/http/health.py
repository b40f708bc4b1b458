"""Whether the drive lives, is ready, is healthy: for whatever starts it, routes to it, or watches it.

Anybody may ask; only `?verbose`, which names backends and what is wrong with them, wants the scope admin.
None of these fails or waits for long when the database is gone: saying so is what they are for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from alembic.script import ScriptDirectory
from flask import Blueprint, Flask, Response, current_app, json, request

from simpledrive.http import backends
from simpledrive.http.current import caller, parts, sign_in_by_header
from simpledrive.look import ProbeResult
from simpledrive.probes import Probes

blueprint = Blueprint("health", __name__)


def init_app(app: Flask) -> None:
    """Registers the routes. To be called when the app has its parts and its migrations."""
    with app.app_context():
        drive = parts()
    folder = app.extensions["migrate"].directory
    app.extensions["simpledrive.readiness"] = Readiness(
        drive.probes, drive.backends.default, lambda: _newest(folder)
    )
    app.register_blueprint(blueprint)


@blueprint.get("/livez")
def livez() -> Response:
    """200 while this process serves. It asks nobody else, so it stays true when a backend is down."""
    return _uncached(Response("ok\n", mimetype="text/plain"))


@blueprint.get("/readyz")
def readyz() -> Response:
    """200 or 503: whether requests may be sent here. `?verbose` tells each check and each backend."""
    if "verbose" not in request.args:
        return _readiness()
    sign_in_by_header()
    caller().require_everywhere("admin")
    return _readiness(verbose=True)


@blueprint.get("/healthz")
def healthz() -> Response:
    """The same as /readyz, for those who expect it under this name."""
    return _readiness()


@blueprint.get("/health")
def health() -> Response:
    """PutPlace's: 200 always, and the state of the database."""
    database, _ = parts().probes.database()
    document = {
        "status": "healthy" if database.reachable else "degraded",
        "database": {
            "status": "connected" if database.reachable else "disconnected",
            "type": parts().database.engine.dialect.name,
        },
    }
    return _uncached(Response(json.dumps(document) + "\n", mimetype="application/json"))


def _readiness(*, verbose: bool = False) -> Response:
    checks = current_app.extensions["simpledrive.readiness"].checks()
    ready = all(check.passed for check in checks)
    document: dict[str, object] = {"status": "ready" if ready else "unready"}
    if verbose:
        document["checks"] = [
            {"name": check.name, "passed": check.passed, "detail": check.detail} for check in checks
        ]
        document["backends"] = [
            backends.document(name, probe) for name, probe in parts().probes.backends().items()
        ]
    else:
        document["failed"] = [check.name for check in checks if not check.passed]
    return _uncached(
        Response(json.dumps(document) + "\n", 200 if ready else 503, mimetype="application/json")
    )


def _uncached(response: Response) -> Response:
    response.headers["Cache-Control"] = "no-store"
    return response


@dataclass(frozen=True)
class Check:
    """One thing that must hold for requests to be served. `detail` is "" if it does."""

    name: str
    passed: bool
    detail: str


class Readiness:
    """Whether requests can be served: the database answers, has its tables, the default backend is reachable.

    `newest` names the last migration that this version of the drive knows. A database that was once seen at
    it stays right: while another host is upgraded, it is ahead, and this one still serves.
    """

    def __init__(self, probes: Probes, default: str, newest: Callable[[], str | None]) -> None:
        self._probes, self._default, self._newest = probes, default, newest
        self._is_migrated = False

    def checks(self) -> list[Check]:
        database, revision = self._probes.database()
        backend = self._probes.backends()[self._default]
        return [
            Check("database", database.reachable, database.why),
            self._migrations(database, revision),
            Check("default_backend", backend.reachable, backend.why),
        ]

    def _migrations(self, database: ProbeResult, revision: str | None) -> Check:
        self._is_migrated = self._is_migrated or (database.reachable and revision == self._newest())
        if self._is_migrated:
            return Check("migrations", True, "")
        if not database.reachable:
            return Check("migrations", False, "They cannot be looked at without the database.")
        at = f"The database is at {revision or 'none'}, this version wants {self._newest()}."
        return Check("migrations", False, f"{at} Run `flask db upgrade`.")


@cache
def _newest(folder: str) -> str | None:
    return ScriptDirectory(folder).get_current_head()
