"""What a server does once before it serves: secrets, tables, backends."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

from flask_migrate import upgrade
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

import simpledrive
from simpledrive import config
from simpledrive.backends import Backends
from simpledrive.errors import ConfigurationError, MarkerRefused, StorageError, StorageRefused
from simpledrive.models import db

log = logging.getLogger(__name__)


def prepare(settings: config.Settings) -> config.Secrets:
    """Makes missing secrets and tables, and looks at every backend's marker. Says which secrets it made.

    Raises ConfigurationError where serving would scatter or lose bytes, and where the default backend
    refuses. Another one that cannot be used is logged and stops nothing: the page Backends tells it, and
    its marker is looked at again before its first use.
    """
    secrets = config.ensure_secrets(settings)
    app = simpledrive.create_app(secrets.settings)
    with app.app_context():
        engine: Engine = db.engine
        try:
            upgrade()
        except DBAPIError as error:
            raise ConfigurationError(f"The database cannot be used: {error.orig}") from error
        try:
            with closing(app.extensions["simpledrive"].backends) as backends:
                _check(backends)
        finally:
            engine.dispose()
    return secrets


def _check(backends: Backends) -> None:
    with ThreadPoolExecutor() as pool:
        looks = {name: pool.submit(backends.check, name) for name in backends}
    for name, look in looks.items():
        try:
            look.result()
        except MarkerRefused as error:
            raise ConfigurationError(str(error)) from error
        except StorageRefused as error:
            if name == backends.default:
                raise ConfigurationError(str(error)) from error
            log.error("%s", error)
        except StorageError as error:
            log.warning("%s", error)
