"""Reading settings: four sources, strongest first, each name and value accounted for.

Explicit overrides, the environment, `.env`, `simpledrive.toml`; what none of them says is a default. A name
that is nearly one of ours stops the start: a setting that is ignored in silence is found out too late.
This is the only reader of `os.environ`.
"""

import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from dotenv.parser import parse_stream
from pydantic import ValidationError
from pydantic_settings import InitSettingsSource

from simpledrive.config.backends import Options, leaves
from simpledrive.config.display import names_a_secret
from simpledrive.config.settings import NAMES, TABLES, Settings
from simpledrive.errors import ConfigurationError
from simpledrive.paths import anchored

_FIELDS = frozenset(name.lower() for name in NAMES)
_MAY_BE_FILES = frozenset(
    {"api_token", "secret_key", "s3_secret_access_key", "s3_session_token", "ftp_password", "database_url"}
)
_BACKENDS_PREFIX = "SIMPLEDRIVE_BACKENDS__"

# Environment names that begin like ours. The first can only be meant for us; of the others, those that look
# like a slip are, and STORAGE_DRIVER is not. `.env` and TOML are ours altogether.
_OURS = "SIMPLEDRIVE_"
_FAMILIES = (
    "API_",
    "FTP_",
    "HISTORY_",
    "JSON_",
    "LOCAL_",
    "MAX_",
    "ORPHAN_",
    "S3_",
    "SECRET_",
    "STORAGE_",
    "SWEEP_",
)
_SLIP, _SLIP_IN_A_FAMILY = 0.85, 0.72
# ... except these: what curl, fetch, Flask, gunicorn, Compose, the Google client and our own tests read, and
# the links that Kubernetes sets for a service called s3, ftp, storage or simpledrive.
_FOREIGN = re.compile(
    r"FTP_PROXY|FTP_PASSIVE_MODE|STORAGE_EMULATOR_HOST|SIMPLEDRIVE_MUST_RUN|TEST_DATABASE_URL"
    r"|(FLASK|GUNICORN|COMPOSE)_.*"
    r"|.*_SERVICE_(HOST|PORT)(_[A-Z0-9_]+)?|.*_PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?"
)
_SERVICE_LINK = re.compile(r"(tcp|udp|sctp)://")


class _Layer(InitSettingsSource):
    """What one source says, by field name."""

    def __init__(self, name: str, values: dict[str, Any]) -> None:
        super().__init__(Settings, init_kwargs=values)
        self.name, self.values = name, values

    def names(self) -> Iterable[str]:
        """`port`, and for backends `backends.archive.path`, or longer where an option is a table."""
        for name, value in self.values.items():
            if name != "backends":
                yield name
            elif isinstance(value, dict):
                for backend, options in value.items():
                    yield from (f"backends.{backend}.{option}" for option, _ in leaves(options))


def load(
    environ: Mapping[str, str] | None = None,
    *,
    folder: Path | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Settings:
    """The settings in force, checked. Raises one `ConfigurationError` that lists all problems.

    `environ` stands in for the process's environment and `folder` for the current folder; `overrides` go by
    field name and win over everything.
    """
    environ = os.environ if environ is None else environ
    folder = (folder or Path.cwd()).absolute()
    problems: list[str] = []
    opened: list[Path] = []

    dotenv = _read_dotenv(folder / ".env", problems)
    chosen = environ.get("SIMPLEDRIVE_CONFIG") or dotenv.get("SIMPLEDRIVE_CONFIG")
    toml_path = folder / (chosen or "simpledrive.toml")
    toml = _read_toml(toml_path, bool(chosen), folder, problems, opened)
    spelling = {name.upper().replace("-", "_"): name for name in toml.get("backends", {})}
    layers = [
        _Layer("environment", _by_field(environ, "environment", spelling, folder, problems, opened)),
        _Layer(".env", _by_field(dotenv, ".env", spelling, folder, problems, opened)),
        _Layer(toml_path.name, toml),
    ]
    given = _Layer("override", {name.lower(): value for name, value in (overrides or {}).items()})
    sources = {name: layer.name for layer in reversed([given, *layers]) for name in layer.names()}

    try:
        settings = Settings(**{"folder": folder, **given.values, "layers": layers})
    except ValidationError as error:
        problems += _sentences(error, sources)
    if problems:
        raise ConfigurationError("\n".join([*problems, f"Known settings: {', '.join(NAMES)}."]))
    settings.sources.update(sources)
    settings.secret_files.extend(opened)
    settings.secret_files.extend([folder / ".env"] * bool(dotenv))
    if any(layer == toml_path.name and names_a_secret(name) for name, layer in sources.items()):
        settings.secret_files.append(toml_path)
    return settings


def _by_field(
    names: Mapping[str, str],
    source: str,
    spelling: Mapping[str, str],
    folder: Path,
    problems: list[str],
    opened: list[Path],
) -> dict[str, Any]:
    """The values under `names` by field name. An empty value counts as none, as in most deployment tools."""
    values: dict[str, Any] = {}
    backends: dict[str, Options] = {}
    for name, value in names.items():
        if not value or name == "SIMPLEDRIVE_CONFIG":
            continue
        backend, *option = name.removeprefix(_BACKENDS_PREFIX).split("__")
        if name.startswith(_BACKENDS_PREFIX) and backend and option and all(option):
            options = backends.setdefault(spelling.get(backend, backend.lower()), {})
            if not _set(options, [part.lower() for part in option], value):
                problems.append(f"{name} ({source}) and another name say different things of one option.")
        elif name.endswith("_PORT") and _SERVICE_LINK.match(value):
            continue  # a Kubernetes link, even where its name is one of ours: FTP_PORT=tcp://10.0.0.1:21
        elif name.isupper() and _is_known(name.lower()):
            values[name.lower()] = value
        elif (source == ".env" or _is_meant_for_us(name)) and not _FOREIGN.fullmatch(name):
            problems.append(_unknown(name, source, NAMES))
    if backends:
        values["backends"] = {
            name: _open_files(options, f"{_BACKENDS_PREFIX}{name}__", folder, problems, opened)
            for name, options in backends.items()
        }
    return _open_files(values, "", folder, problems, opened)


def _set(options: Options, path: list[str], value: str) -> bool:
    """Sets one option, or an entry of one that is a table. False if something else is there already."""
    *tables, last = path
    for name in tables:
        table = options.setdefault(name, {})
        if not isinstance(table, dict):
            return False
        options = table
    if last in options:
        return False
    options[last] = value
    return True


def _is_known(field: str) -> bool:
    return field in _FIELDS or field.removesuffix("_file") in _MAY_BE_FILES


def _is_meant_for_us(name: str) -> bool:
    if name.startswith(_OURS):
        return True
    if name.startswith(_FAMILIES):
        return bool(get_close_matches(name, NAMES, n=1, cutoff=_SLIP_IN_A_FAMILY))
    # Close to HOST and PORT are too many foreign names, and SFTP_HOST or AWS_SECRET_ACCESS_KEY are no slips.
    telling = [known for known in NAMES if len(known) > 4 and not known.startswith(("S3_", "FTP_"))]
    return bool(get_close_matches(name, telling, n=1, cutoff=_SLIP))


def _unknown(name: str, source: str, known: Iterable[str]) -> str:
    comparable = {candidate.upper(): candidate for candidate in known}
    bare = name.upper().removeprefix("SIMPLEDRIVE_")
    nearest = get_close_matches(bare, comparable, n=1, cutoff=0.0)[0]
    return f"{name} ({source}) is not a setting; the nearest known name is {comparable[nearest]}."


def _open_files(
    values: dict[str, Any], prefix: str, folder: Path, problems: list[str], opened: list[Path]
) -> dict[str, Any]:
    """`api_token_file` becomes `api_token`, the file's content; among a backend's options each `..._file`.

    Also in an option that is a table. The files are added to `opened`.
    """
    contents = dict(values)
    if prefix:
        for name in [name for name, value in values.items() if isinstance(value, dict)]:
            below = f"{prefix}{name}{'__' if prefix.endswith('__') else '.'}"
            contents[name] = _open_files(values[name], below, folder, problems, opened)
    for name in [name for name in values if name.endswith("_file")]:
        secret = name.removesuffix("_file")
        shown, path = f"{prefix}{name}".upper(), contents.pop(name)
        if secret in values:
            problems.append(f"{shown.removesuffix('_FILE')} and {shown} are both given; leave one out.")
            continue
        try:
            file = anchored(path, folder)
            content = file.read_text().strip()
        except (OSError, TypeError, ValueError) as error:
            problems.append(f"{shown} names a file that cannot be read: {_reason(error)}.")
            continue
        if not content:
            problems.append(f"{shown} names a file that is empty.")
        contents[secret] = content
        opened.append(file)
    return contents


def _read_dotenv(path: Path, problems: list[str]) -> dict[str, str]:
    """The names in a .env file. No `${...}` is replaced: passwords contain dollar signs."""
    try:
        with path.open(encoding="utf-8") as stream:
            bindings = list(parse_stream(stream))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        problems.append(f".env cannot be read: {_reason(error)}.")
        return {}
    problems += [
        f".env, line {binding.original.line}, is not of the form NAME=value."
        for binding in bindings
        if binding.error or (binding.key is not None and binding.value is None)
    ]
    return {b.key: b.value for b in bindings if b.key is not None and b.value is not None}


def _read_toml(
    path: Path, chosen: bool, folder: Path, problems: list[str], opened: list[Path]
) -> dict[str, Any]:
    """Fields in small letters, and the tables. It may be missing unless it was chosen."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if chosen:
            problems.append(f"SIMPLEDRIVE_CONFIG names a file that does not exist: {path}.")
        return {}
    except (OSError, ValueError) as error:
        problems.append(f"{path.name} cannot be read: {_reason(error)}.")
        return {}
    for name in [name for name in content if name not in TABLES and not _is_known(name)]:
        del content[name]
        problems.append(_unknown(name, path.name, [*sorted(_FIELDS), *TABLES]))
    content = {name: value for name, value in content.items() if value != ""}
    tables = content.pop("backends", {})
    if not isinstance(tables, dict) or not all(isinstance(table, dict) for table in tables.values()):
        problems.append(f"backends ({path.name}) is not made of tables such as [backends.archive].")
    elif tables:
        content["backends"] = {
            name: _open_files(table, f"backends.{name}.", folder, problems, opened)
            for name, table in tables.items()
        }
    return _open_files(content, "", folder, problems, opened)


def _reason(error: Exception) -> str:
    return error.strerror or "unreadable" if isinstance(error, OSError) else str(error)


def _sentences(error: ValidationError, sources: Mapping[str, str]) -> Iterable[str]:
    """What pydantic found, by the names that the operator used and without any value."""
    for problem in error.errors(include_url=False, include_input=False):
        field, *rest = (str(part + 1 if isinstance(part, int) else part) for part in problem["loc"])
        name = ".".join([field if field in TABLES else field.upper(), *rest])
        source = f" ({sources[field]})" if field in sources else ""
        if problem["type"] == "extra_forbidden" and not rest:
            yield _unknown(name, sources.get(field, "override"), NAMES)
        elif problem["type"] == "extra_forbidden":
            yield f"{name}{source} is not known."
        else:
            yield f"{name}{source}: {problem['msg'].removeprefix('Value error, ')}."
