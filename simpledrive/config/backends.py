"""Which backends the settings describe: the builtin ones by plain settings, others by `[backends.NAME]`."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import SecretStr

from simpledrive.config.values import database_url

Options = dict[str, object]


class Family(NamedTuple):
    """Plain settings that describe a backend: what their names begin with, and the one that makes it."""

    prefix: str
    maker: str

    def options(self, data: Mapping[str, Any]) -> Options:
        """The options that these settings are, as plain values."""
        given = {name: value for name, value in data.items() if name.startswith(self.prefix)}
        return {
            name.removeprefix(self.prefix): _plain(value)
            for name, value in given.items()
            if value is not None
        }


BUILTIN = {
    "local": Family("local_storage_", "local_storage_path"),
    "database": Family("database_", "database_url"),
    "s3": Family("s3_", "s3_bucket_name"),
    "ftp": Family("ftp_", "ftp_host"),
}
"""By the backend's name, which is its kind too."""


def every(data: Mapping[str, Any]) -> dict[str, Options]:
    """The builtin ones, to which a table of the same name adds, and the named ones: kind and options."""
    builtin, named = _builtin(data), data.get("named_backends", {})
    return builtin | {name: builtin.get(name, {}) | options for name, options in named.items()}


def settled(tables: dict[str, Options], data: Mapping[str, Any]) -> dict[str, Options]:
    """The tables with complete URLs of databases. Raises ValueError, which tells all that is wrong."""
    builtin, folder = _builtin(data), data["folder"]
    problems = []
    for name, options in tables.items():
        kind = options.get("kind", builtin.get(name, {}).get("kind"))
        if not re.fullmatch(r"[a-z0-9_-]{1,64}", name):
            problems.append(f"the name {name!r} is not 1 to 64 of a-z, 0-9, - and _")
        elif not isinstance(kind, str) or not kind:
            others = ", ".join(sorted({*builtin, *tables} - {name}))
            problems.append(f"{name!r} has no kind; other backends are {others}")
        elif name in BUILTIN and kind != name:
            problems.append(f"{name!r} is always of the kind {name!r}; another kind needs another name")
        elif kind == "database" and isinstance(url := options.get("url"), str):
            try:
                options["url"] = database_url(url, folder)
            except ValueError as error:
                problems.append(f"{name!r}: url {error}")
    if problems:
        raise ValueError("; ".join(problems))
    return tables


def leaves(options: Options) -> Iterator[tuple[str, object]]:
    """Each option and its value; of an option that is a table each entry, as `option.entry`."""
    for name, value in options.items():
        if isinstance(value, dict):
            yield from ((f"{name}.{entry}", inner) for entry, inner in leaves(value))
        else:
            yield name, value


def _builtin(data: Mapping[str, Any]) -> dict[str, Options]:
    return {
        name: {"kind": name} | family.options(data)
        for name, family in BUILTIN.items()
        if data.get(family.maker) is not None
    }


def _plain(value: object) -> object:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return str(value) if isinstance(value, Path) else value
