"""Who may import whom. A module that is new says here what it leans on."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.needs import MISSING
from tests.servers import ROOT

PACKAGE = ROOT / "simpledrive"
MODULES = sorted(path for path in PACKAGE.rglob("*.py"))

ANYWHERE = {"durable", "errors", "ids", "paths", "streams", "sql"}
DOMAIN = {
    "drive",
    "listing",
    "history",
    "files",
    "machines",
    "usage",
    "mirroring",
    "look",
    "probes",
    "moving",
    "integrity",
    "backup",
    "upkeep",
    "keys",
    "sessions",
    "audit",
    "rights",
    "descriptions",
    "models",
}
FACE = {"http", *DOMAIN}
RULES = {"rights", "standing", "audit", "quotas", "replicas", "mirrors", "usage", "backends", "models"}

MAY_IMPORT: dict[str, set[str]] = {
    "__init__": {"api", "cli", "config", "http", "logs", "parts", "ui", "models"},
    "start": {"backends", "__init__", "config", "models"},
    "cli": {"ages", "config", "logs", *FACE},
    "serving": {"http"},
    "ui": FACE,
    "api": FACE,
    "http": {"config", "logs", "metrics", "parts", *DOMAIN},
    "parts": {
        "config",
        "sweeper",
        "worker",
        "metrics",
        "mirrors",
        "outages",
        "placement",
        "reading",
        "replicas",
        "backends",
        "quotas",
        "orphans",
        "storage.base",
        "storage.registry",
        "storage.measured",
        *DOMAIN,
    },
    "sweeper": {"background", "upkeep"},
    "probes": {"background", "backends", "look", "storage.base"},
    "look": {"storage.base", "models"},
    "background": set(),
    "worker": set(),
    "metrics": set(),
    "logs": set(),
    "drive": {"descriptions", "listing", "placement", "reading", "records", "replays", *RULES},
    "placement": {"backends", "descriptions", "rights"},
    "keyset": {"models"},
    "listing": {"descriptions", "keyset", "rights", "models"},
    "moving": {"ages", "descriptions", "keyset", "leasing", "listing", "placement", "records", *RULES},
    "mirroring": {"leasing", "mirrors", "moving", "outages", "replicas", "rights", "models"},
    "mirrors": {"usage", "models"},
    "leasing": {"models"},
    "outages": set(),
    "integrity": {"mirrors", "moving", "orphans", "storage.base", "threads", *RULES},
    "orphans": {"storage.base", "models"},
    "upkeep": {"orphans", "storage.base", "replays", "sessions", *RULES},
    "backup": {"descriptions", "moving", "reading", "storage.base", "threads", *RULES},
    "history": {"keyset", "records", "rights", "models"},
    "files": {"drive", "keyset", "listing", "rights", "models"},
    "machines": {"drive", "keyset", "records", "rights", "models"},
    "replays": {"models"},
    "reading": {"outages", "replicas", "backends", "models"},
    "records": {"descriptions", "replays", *RULES} - {"backends"},
    "replicas": {"mirrors", "usage", "backends", "models", "storage.base"},
    "usage": {"rights", "backends", "models"},
    "backends": {"storage.base"},
    "models": set(),
    "keys": {"rights", "audit", "models"},
    "sessions": {"keys", "rights", "audit", "models"},
    "quotas": {"rights", "standing", "models"},
    "audit": {"keyset", "rights", "models"},
    "rights": set(),
    "standing": {"rights", "models"},
    "descriptions": set(),
    "config": {"descriptions"},
    "ages": set(),
    "threads": set(),
    "storage": set(),
    "storage.registry": {"storage.base", "storage.local", "storage.database", "storage.ftp", "storage.s3"},
    "storage.measured": {"storage.base"},
    "storage.local": {"storage.base"},
    "storage.database": {"storage.base", "storage.chunks"},
    "storage.chunks": set(),
    "storage.ftp": {"storage.base", "storage.folders", "storage.hosts", "storage.repeating"},
    "storage.fsspec": {"storage.base", "storage.folders", "storage.repeating"},
    "storage.folders": {"storage.base", "storage.claims", "storage.taken"},
    "storage.claims": {"storage.base"},
    "storage.s3": {"storage.base", "storage.hosts", "storage.repeating", "storage.sigv4", "storage.taken"},
    "storage.hosts": set(),
    "storage.repeating": set(),
    "storage.taken": {"storage.base"},
    "storage.sigv4": set(),
    "storage.base": set(),
    "sql": set(),
    "streams": set(),
    "durable": set(),
    "ids": set(),
    "paths": set(),
    "errors": set(),
}
"""Beside its own package and what is ANYWHERE."""

WEB = {"flask", "flask_migrate", "flask_wtf", "werkzeug", "click"}
FACES = {"__init__", "http", "api", "ui", "cli", "start"}
SHAPELESS = {
    "utils",
    "util",
    "helpers",
    "helper",
    "services",
    "service",
    "repositories",
    "repository",
    "common",
    "misc",
}

each_module = pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))


def unit(names: tuple[str, ...]) -> str:
    """The row of the table for a module, by its names below the package: `("ui", "files")` is `ui`."""
    if names[:1] == ("storage",) and len(names) > 1:
        return f"storage.{names[1]}"
    return names[0] if names else "__init__"


def names_of(path: Path) -> tuple[str, ...]:
    names = path.relative_to(PACKAGE).with_suffix("").parts
    return names[:-1] if names[-1] == "__init__" else names


def is_module(names: tuple[str, ...]) -> bool:
    path = PACKAGE.joinpath(*names)
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


def imported(tree: ast.AST) -> Iterator[str]:
    """Every module that is imported, by its full name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            module = node.module or ""
            for alias in node.names:
                names = tuple(f"{module}.{alias.name}".split(".")[1:])
                yield (
                    f"{module}.{alias.name}"
                    if module.startswith("simpledrive") and is_module(names)
                    else module
                )


def faults(names: tuple[str, ...], source: str) -> list[str]:
    """What a module of these names does that the house does not allow."""
    tree, own = ast.parse(source), unit(names)
    if own not in MAY_IMPORT:
        return [f"MAY_IMPORT does not say what {own} may import"]
    found = []
    for module in imported(tree):
        root, *below = module.split(".")
        if root in WEB and own not in FACES:
            found.append(f"{own} imports {module}")
        if root == "flask_sqlalchemy" and own != "models":
            found.append(f"{own} imports {module}")
        if root == "simpledrive":
            other = unit(tuple(below))
            allowed = MAY_IMPORT[own] if own == "errors" else MAY_IMPORT[own] | ANYWHERE
            if other != own and other not in allowed:
                found.append(f"{own} imports {module}")
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            inside = [inner for inner in ast.walk(node) if isinstance(inner, ast.Import | ast.ImportFrom)]
            found += [f"an import inside a function, line {inner.lineno}" for inner in inside]
        reads = isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv", "environb")
        if reads and isinstance(node.value, ast.Name) and node.value.id == "os" and own != "config":
            found.append(f"reads os.{node.attr}")
    found += [f"a module named {name}" for name in names if name in SHAPELESS]
    return found


@each_module
def test_every_module_leans_only_on_what_is_below_it(path: Path) -> None:
    assert faults(names_of(path), path.read_text()) == []


@each_module
def test_every_module_begins_with_what_it_is_for(path: Path) -> None:
    source = path.read_text()
    assert not source.strip() or ast.get_docstring(ast.parse(source))


def test_errors_import_nothing() -> None:
    assert list(imported(ast.parse((PACKAGE / "errors.py").read_text()))) == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("drive", "from flask import g"),
        ("storage.local", "import click"),
        ("storage.local", "from simpledrive.models import Blob"),
        ("storage.base", "from simpledrive.storage.local import LocalStorage"),
        ("drive", "from simpledrive import http"),
        ("drive", "from simpledrive.storage.registry import build"),
        ("drive", "import flask_sqlalchemy"),
        ("records", "from simpledrive.backends import Backends"),
        ("usage", "from simpledrive.replicas import Replicas"),
        ("api", "from simpledrive.ui import pages"),
        ("ui", "from simpledrive.replicas import Replicas"),
        ("errors", "from simpledrive.ids import uuid7"),
        ("drive", "def f():\n    import json"),
        ("drive", "import os\nx = os.environ['A']"),
        ("drive", "import os\nx = os.getenv('A')"),
        ("utils", ""),
        ("http.helpers", ""),
    ],
)
def test_this_test_would_notice(module: str, source: str) -> None:
    assert faults(tuple(module.split(".")), source) != []


def test_the_checks_of_a_change_leave_nothing_out_that_a_test_may_need() -> None:
    said = re.search(r"SIMPLEDRIVE_MUST_RUN=(\S+)", (ROOT / ".ci" / "run").read_text())
    assert said is not None
    assert {*said[1].split(","), "sigv4-vectors"} == MISSING.keys()
