"""A self-hosted drive over any storage."""

from __future__ import annotations

from pathlib import Path

from flask import Flask
from flask_migrate import Migrate
from flask_wtf import CSRFProtect

from simpledrive import api, cli, config, http, logs, parts, sql, ui
from simpledrive.models import db

__version__ = "0.1.0"


def create_app(settings: config.Settings | None = None) -> Flask:
    """The drive as a WSGI application, from these settings or from the environment (config.load).

    Opens no connection: tables are made by `flask db upgrade`, which start.prepare does for a server. Raises
    ConfigurationError with a sentence for everything that is wrong.
    """
    settings = config.ensure_secrets(settings or config.load()).settings
    app = Flask(
        "simpledrive", template_folder=str(_beside("templates")), static_folder=str(_beside("static"))
    )
    app.config.update(
        SECRET_KEY=settings.secret("secret_key"),
        DEBUG=settings.debug,
        TESTING=settings.app_env == "testing",
        SQLALCHEMY_DATABASE_URI=settings.database_url,
        SQLALCHEMY_ENGINE_OPTIONS=sql.ENGINE_OPTIONS,
        SESSION_COOKIE_NAME="simpledrive",
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_COOKIE_SECURE=settings.secure_cookies,
        SESSION_REFRESH_EACH_REQUEST=False,
        WTF_CSRF_CHECK_DEFAULT=False,
        WTF_CSRF_TIME_LIMIT=None,
        VERSION=__version__,
    )
    logs.set_up(settings.log_level, settings.log_format, http.exchange.request_id)
    app.json.sort_keys = False  # type: ignore[attr-defined]
    db.init_app(app)
    Migrate(app, db, directory=str(_beside("migrations")))
    CSRFProtect(app)
    with app.app_context():
        app.extensions["simpledrive"] = parts.build(settings, sql.tame(db.engine))
    http.init_app(app)
    app.register_blueprint(api.blobs.blueprint)
    app.register_blueprint(api.content.blueprint)
    app.register_blueprint(api.history.blueprint)
    app.register_blueprint(api.backends.blueprint)
    app.register_blueprint(api.migrations.blueprint)
    app.register_blueprint(api.file_share.blueprint)
    app.register_blueprint(api.putplace.blueprint)
    app.register_blueprint(api.keys.blueprint)
    app.register_blueprint(api.putplace_keys.blueprint)
    app.register_blueprint(api.documentation.blueprint)
    app.register_blueprint(ui.blueprint)
    app.cli.add_command(cli.drive)
    return app


def _beside(name: str) -> Path:
    """A folder at the top of the checkout, or inside the package where it was installed from a wheel."""
    package = Path(__file__).parent
    installed = package / name
    return installed if installed.is_dir() else package.parent / name
