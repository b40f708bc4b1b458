"""The settings in force, for people: what, from where, and never a secret."""

import re
from typing import NamedTuple

from pydantic import SecretStr

from simpledrive.config.backends import BUILTIN, leaves
from simpledrive.config.settings import NAMES, Settings

HIDDEN = "********"
_SECRET_NAME = re.compile(
    r"secret|passw|passphrase|token|credential|private|auth|cookie|connection_string|(^|[_.])key$",
    re.IGNORECASE,
)
_URL_PASSWORD = re.compile(r"(://[^:/@\s]*:).*@")
_URL_SECRET = re.compile(r"([?&][^=&]*(?:passw|secret|token|key)[^=&]*=)[^&\s]*", re.IGNORECASE)


class Effective(NamedTuple):
    """One setting as it is in force, and the source that said so."""

    name: str
    value: str
    source: str


def effective(settings: Settings) -> list[Effective]:
    """Every setting and every backend's options, fit for a terminal or a log: no secret is in it."""
    rows = []
    for name in NAMES:
        field = name.lower()
        value = _shown(field, getattr(settings, field))
        rows.append(Effective(name, value, settings.sources.get(field, "default")))
    for backend, options in sorted(settings.backends.items()):
        for option, plain in leaves(options):
            name = f"backends.{backend}.{option}"
            setting = f"{BUILTIN[backend].prefix}{option}".upper() if backend in BUILTIN else ""
            told = setting in NAMES and setting
            source = settings.sources.get(name) or told or "default"
            rows.append(Effective(name, _shown(option, plain), source))
    for home, table in sorted(settings.mirrors.items()):
        value = ", ".join(table.to) + (" (sync)" if table.sync else "")
        rows.append(Effective(f"mirrors.{home}", value, settings.sources.get("mirrors", "default")))
    for number, rule in enumerate(settings.rules, 1):
        value = ", ".join(f"{name}={said}" for name, said in rule.said().items())
        rows.append(Effective(f"rules.{number}", value, settings.sources.get("rules", "default")))
    return rows


def names_a_secret(name: str) -> bool:
    """Whether a setting or an option of this name is one that nobody else may see."""
    return bool(_SECRET_NAME.search(name))


def _shown(name: str, value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, SecretStr) or names_a_secret(name):
        return HIDDEN
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    return _URL_SECRET.sub(rf"\1{HIDDEN}", _URL_PASSWORD.sub(rf"\1{HIDDEN}@", str(value)))
