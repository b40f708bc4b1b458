"""What is unsafe about settings that the drive can run with. What it cannot is refused by `settings`.

Pure but for one thing: it looks at the modes of files that hold secrets or records. It opens nothing.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from sqlalchemy.engine import make_url

from simpledrive.config.settings import Settings

SHORTEST_SECRET = 20
FEWEST_CHARACTERS = 10
"""How many different ones a secret has at least; 32 random hexadecimal digits have hardly ever fewer."""

WELL_KNOWN = (
    "changeme",
    "change-me",
    "change_me",
    "password",
    "secret",
    "default",
    "example",
    "admin",
)


class Finding(NamedTuple):
    """What is unsafe, and what to do about it. A warning may be right as it is; the others are not."""

    sentence: str
    is_warning: bool = False

    def __str__(self) -> str:
        return f"{'Warning' if self.is_warning else 'Unsafe'}: {self.sentence}"


def unsafe(settings: Settings) -> list[Finding]:
    """Everything that is unsafe about these settings, the gravest kinds first. Names no secret."""
    return [
        *_debugging(settings),
        *_weak_secrets(settings),
        *_readable_files(settings),
        *_open_doors(settings),
        *_unencrypted_backends(settings),
    ]


def _debugging(settings: Settings) -> Iterator[Finding]:
    if settings.debug and settings.app_env == "production":
        yield Finding("DEBUG is on in production: set DEBUG=false, or APP_ENV=development on your machine.")
    elif settings.debug and not _is_here(settings.host):
        yield Finding(f"DEBUG is on, and HOST={settings.host} lets others reach it: set DEBUG=false.")


def _weak_secrets(settings: Settings) -> Iterator[Finding]:
    for name in ("api_token", "secret_key"):
        secret = getattr(settings, name)
        if secret is not None and (why := _weakness(secret.get_secret_value())):
            yield Finding(
                f"{name.upper()} {why}: leave it out, and the drive makes a good one, or take the output of "
                "`openssl rand -hex 32`."
            )


def _weakness(secret: str) -> str | None:
    """Why somebody could guess it. None for one that looks random."""
    if any(word in secret.lower() for word in WELL_KNOWN) and len(secret) < 2 * SHORTEST_SECRET:
        return "has a word in it that everybody tries"
    if len(secret) < SHORTEST_SECRET:
        return f"is shorter than {SHORTEST_SECRET} characters"
    if len(set(secret)) < FEWEST_CHARACTERS:
        return f"has fewer than {FEWEST_CHARACTERS} different characters"
    return None


def _readable_files(settings: Settings) -> Iterator[Finding]:
    kept = (settings.instance_path / name for name in ("api_token", "secret_key"))
    held = dict.fromkeys([*settings.secret_files, *kept], "secrets")
    held |= dict.fromkeys(_sqlite_files(settings), "what people store")
    for path, what in held.items():
        with suppress(OSError):
            if _others_may_read(path):
                yield Finding(
                    f"{path} holds {what}, and other users of this machine may read it: chmod 600 it."
                )


def _sqlite_files(settings: Settings) -> Iterator[Path]:
    """The databases of records and of backends that are SQLite's, each with the two files beside it.

    These two keep the mode that the database had when they were made.
    """
    databases = (options for options in settings.backends.values() if options.get("kind") == "database")
    for given in (settings.database_url, *(options["url"] for options in databases if "url" in options)):
        url = make_url(str(given))
        if url.drivername == "sqlite" and url.database:
            yield from (Path(url.database + ending) for ending in ("", "-wal", "-shm"))


def _others_may_read(path: Path) -> bool:
    return bool(stat.S_IMODE(path.stat().st_mode) & (stat.S_IRGRP | stat.S_IROTH))


def _open_doors(settings: Settings) -> Iterator[Finding]:
    if _is_here(settings.host):
        return
    where = f"HOST={settings.host}"
    if settings.anonymous_access == "write":
        yield Finding(
            f"ANONYMOUS_ACCESS=write and {where} let anybody who reaches the drive fill it: set "
            "ANONYMOUS_ACCESS to read or none, or HOST=127.0.0.1."
        )
    if not settings.secure_cookies and not settings.trusted_proxies:
        yield Finding(
            f"{where} serves tokens and cookies over plain HTTP: put a proxy with TLS in front, name it in "
            "TRUSTED_PROXIES and set SECURE_COOKIES=true.",
            is_warning=True,
        )


def _unencrypted_backends(settings: Settings) -> Iterator[Finding]:
    for name, options in sorted(settings.backends.items()):
        for option, value in options.items():
            host = _plain_http_host(value)
            if host is not None and not _is_here(host):
                scheme = str(value).partition(":")[0].lower()
                yield Finding(
                    f"The backend {name} is reached by plain HTTP ({option}), so bytes and credentials can "
                    f"be read and changed on the way to {host}: use {scheme}s://."
                )
        host = str(options.get("host") or "")
        if options.get("kind") == "ftp" and options.get("tls", "off") == "off" and not _is_here(host):
            yield Finding(
                f"The backend {name} sends its password and all bytes unencrypted to {host}: set tls to "
                "explicit, or use a backend of another kind."
            )


def _plain_http_host(value: object) -> str | None:
    if not isinstance(value, str) or not value.lower().startswith(("http://", "webdav://")):
        return None
    try:
        return urlsplit(value).hostname or ""
    except ValueError:
        return ""


def _is_here(host: str) -> bool:
    """Whether only this machine is at that address."""
    with suppress(ValueError):
        return ip_address(host.strip("[]")).is_loopback
    return host.lower().rstrip(".") == "localhost"
