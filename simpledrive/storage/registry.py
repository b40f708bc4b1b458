"""The kinds of storage there are, and how a configured backend becomes one.

A third party adds a kind by an entry point of the group `simpledrive.storages`: its name is the kind, its
object a subclass of Storage. Such a kind is loaded only when a backend names it, and so is one of ours that
leans on a package of its own. Nothing here touches the network.
"""

from collections.abc import Mapping
from difflib import get_close_matches
from importlib.metadata import EntryPoint, EntryPoints, entry_points
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from simpledrive.errors import ConfigurationError
from simpledrive.storage.base import Options, Storage
from simpledrive.storage.database import DatabaseStorage
from simpledrive.storage.ftp import FtpStorage
from simpledrive.storage.local import LocalStorage
from simpledrive.storage.s3 import S3Storage

KINDS: dict[str, type[Storage]] = {
    "local": LocalStorage,
    "database": DatabaseStorage,
    "s3": S3Storage,
    "ftp": FtpStorage,
}

GROUP = "simpledrive.storages"

OPTIONAL = EntryPoints([EntryPoint("fsspec", "simpledrive.storage.fsspec:FsspecStorage", GROUP)])
"""Ours too. `pip install simpledrive[KIND]` brings what each leans on."""


def known_kinds() -> list[str]:
    """The kinds that a backend may name: ours, and those of installed packages."""
    return sorted({*KINDS, *OPTIONAL.names, *entry_points(group=GROUP).names})


def build(name: str, config: Mapping[str, object], folder: Path | None = None) -> Storage:
    """The storage of the backend `name` from `{"kind": ..., its options...}`.

    Options that are relative paths begin in `folder`, or in the current one.
    Raises ConfigurationError, which names the backend and the kind or option, and never an option's value.
    """
    options = dict(config)
    storage = _storage(name, options.pop("kind", None))
    return storage(name, _options(name, storage, options, folder or Path.cwd()))


def _storage(name: str, kind: object) -> type[Storage]:
    if not isinstance(kind, str):
        raise ConfigurationError(f"The backend '{name}' needs a kind, one of: {', '.join(known_kinds())}.")
    if kind in KINDS:
        return KINDS[kind]
    for entry in (*OPTIONAL.select(name=kind), *entry_points(group=GROUP, name=kind)):
        try:
            found = entry.load()
        except (ImportError, AttributeError) as error:
            what = f"The kind '{kind}' of the backend '{name}' cannot be loaded from {entry.value}: {error}."
            if kind in OPTIONAL.names:
                what += f" In a checkout, pip install '.[{kind}]'; else pip install 'simpledrive[{kind}]'."
            raise ConfigurationError(what) from error
        if isinstance(found, type) and issubclass(found, Storage):
            return found
        raise ConfigurationError(
            f"The kind '{kind}' of the backend '{name}', {entry.value}, is not a Storage."
        )
    hint = _nearest(kind, known_kinds())
    raise ConfigurationError(
        f"The backend '{name}' is of the unknown kind '{kind}'.{hint} Known are: {', '.join(known_kinds())}."
    )


def _options(name: str, storage: type[Storage], options: Mapping[str, object], folder: Path) -> Options:
    try:
        return storage.Options.model_validate(options, context={"folder": folder})
    except ValidationError as error:
        known = list(storage.Options.model_fields)
        flaws = [_flaw(flaw, known) for flaw in error.errors(include_url=False, include_input=False)]
    # Outside of the handler: pydantic's own error, which shows values, is not to be in the traceback.
    raise ConfigurationError(f"The backend '{name}' of kind '{storage.kind}': {'; '.join(flaws)}.")


def _flaw(flaw: Any, known: list[str]) -> str:
    option, why = ".".join(map(str, flaw["loc"])), flaw["msg"].removeprefix("Value error, ")
    if not option:
        return f"its options do not fit together: {why}"
    if flaw["type"] == "extra_forbidden":
        return f"there is no option '{option}'.{_nearest(option, known)} Known are: {', '.join(known)}"
    if flaw["type"] == "missing":
        return f"the option '{option}' is missing"
    return f"the option '{option}' is not acceptable: {why}"


def _nearest(name: str, known: list[str]) -> str:
    near = get_close_matches(name, known, n=1)
    return f" Did you mean '{near[0]}'?" if near else ""
