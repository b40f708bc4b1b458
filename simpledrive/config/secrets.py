"""The secrets that the drive makes for itself when nobody gives them, and keeps in its instance folder."""

import os
import secrets
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from simpledrive.config.settings import Settings
from simpledrive.errors import ConfigurationError


class Secrets(NamedTuple):
    """Settings with every secret filled in, and the names of those that were made just now."""

    settings: Settings
    made: tuple[str, ...]


def ensure_secrets(settings: Settings) -> Secrets:
    """Fills in `api_token` and `secret_key` where nobody gave them, from the instance folder.

    Made once and kept there with mode 0600. Any number of processes may start at the same moment: all get the
    same values, and exactly one of them is told that it made them.
    """
    made = []
    for name, prefix in (("api_token", "sd_"), ("secret_key", "")):
        if getattr(settings, name) is None:
            path = settings.instance_path / name
            try:
                value, is_new = _kept(path, prefix)
            except (OSError, UnicodeDecodeError) as error:
                why = error.strerror if isinstance(error, OSError) else error
                raise ConfigurationError(
                    f"{name.upper()} is not given and cannot be kept in {path}: {why}."
                ) from error
            settings = settings.with_secret(name, value, str(path))
            made += [name] if is_new else []
    return Secrets(settings, tuple(made))


def _kept(path: Path, prefix: str) -> tuple[str, bool]:
    """The secret in the file, and whether it was made by this call."""
    with suppress(FileNotFoundError):
        return _kept_before(path), False
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    value = prefix + secrets.token_urlsafe(32)
    descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")  # mode 0600
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(value + "\n")
            file.flush()
            os.fsync(file.fileno())
        # Unlike a rename, a link never replaces: the first process wins, and its file is whole at once.
        os.link(draft, path)
    except FileExistsError:
        return _kept_before(path), False
    finally:
        os.unlink(draft)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return value, True


def _kept_before(path: Path) -> str:
    if value := path.read_text().strip():
        return value
    raise ConfigurationError(f"{path} is empty: remove it, and a new one is made.")
