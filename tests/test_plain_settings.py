"""S3_* and FTP_*: each of these settings is an option of its kind, and each option has its setting."""

import re
from typing import Any

import pytest
from pydantic import BaseModel

from simpledrive.config import Settings
from simpledrive.storage.base import Options
from simpledrive.storage.ftp.options import FtpOptions
from simpledrive.storage.s3.options import S3Options
from tests.servers import ROOT

each_kind = pytest.mark.parametrize(
    ("prefix", "options"), [("s3_", S3Options), ("ftp_", FtpOptions)], ids=["s3", "ftp"]
)


def plain(prefix: str) -> list[str]:
    return [name.removeprefix(prefix) for name in Settings.model_fields if name.startswith(prefix)]


def takes(model: type[BaseModel], name: str) -> dict[str, Any]:
    """Type, choices, range and default of a field; that it may be left out is its default alone."""
    told = model.model_json_schema()["properties"][name]
    told |= next((kind for kind in told.pop("anyOf", []) if kind["type"] != "null"), {})
    if told.get("default") is None:
        told.pop("default", None)
    return {word: said for word, said in told.items() if word not in ("title", "description")}


@each_kind
def test_a_setting_takes_what_its_option_takes(prefix: str, options: type[Options]) -> None:
    assert {name: takes(Settings, prefix + name) for name in plain(prefix)} == {
        name: takes(options, name) for name in options.model_fields
    }


@each_kind
def test_the_page_of_the_kind_tells_each_setting_beside_its_option(
    prefix: str, options: type[Options]
) -> None:
    page = (ROOT / "docs" / f"{prefix.rstrip('_')}.md").read_text()
    _, _, table = page.partition("| setting | option | |\n|---|---|---|\n")
    rows = [row.split("|")[1:3] for row in table.partition("\n\n")[0].splitlines()]
    told = [[re.findall(r"`(\w+)`", cell) for cell in row] for row in rows]
    for settings, named in told:
        assert settings == [f"{prefix}{option}".upper() for option in named]
    assert sorted(option for _, named in told for option in named) == sorted(options.model_fields)
