"""What no database, calendar or division takes is refused where it is said, with a sentence and 2."""

import pytest
from flask import Flask
from flask.testing import FlaskCliRunner

from simpledrive.errors import Invalid
from simpledrive.moving import Selection
from simpledrive.parts import Parts
from tests.drives import keep


@pytest.fixture
def cli(app: Flask) -> FlaskCliRunner:
    return app.test_cli_runner()


MOVE, BACKUP, VERIFY = ("migrate-backend", "local", "database"), ("backup", "nowhere"), ("verify",)


@pytest.mark.parametrize(
    ("command", "option", "value"),
    [
        (MOVE, "--bandwidth", "0"),
        (MOVE, "--bandwidth", "0.5"),
        (MOVE, "--min-size", "99999999999999999999"),
        (MOVE, "--max-size", "9999999999EiB"),
        (MOVE, "--max-size", "9" * 400),
        (MOVE, "--grace", "999999w"),
        (MOVE, "--limit", "99999999999999999999"),
        (MOVE, "--content-type", "text"),
        (BACKUP, "--bandwidth", "0"),
        (BACKUP, "--keep", "99999999999999999999"),
        (VERIFY, "--bandwidth", "0"),
        (VERIFY, "--older-than", "999999w"),
        (VERIFY, "--sample", "99999999999999999999"),
        (("apply-rules",), "--bandwidth", "0"),
    ],
)
def test_amounts_that_are_none_are_refused(
    cli: FlaskCliRunner, command: tuple[str, ...], option: str, value: str
) -> None:
    result = cli.invoke(args=["drive", *command, option, value])
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"Invalid value for '{option}'" in result.stderr


def test_the_largest_amounts_are_taken(parts: Parts, cli: FlaskCliRunner) -> None:
    keep(parts, "a", b"bytes")
    most = str((1 << 63) - 1)
    options = ("--max-size", most, "--limit", most, "--newer-than", "5000w", "--dry-run")
    assert cli.invoke(args=["drive", *MOVE, *options]).exit_code == 0
    verified = cli.invoke(args=["drive", *VERIFY, "--sample", most, "--bandwidth", most, "--workers", "1"])
    assert verified.exit_code == 0
    assert cli.invoke(args=["drive", *VERIFY, "--older-than", "5000w"]).exit_code == 0


def test_so_many_ids_are_refused_as_a_database_would() -> None:
    with pytest.raises(Invalid, match="ids: At most 10000 are taken"):
        Selection(ids=("a",) * 70_000)


@pytest.mark.parametrize("said", ["image/*", "Image/", "image/png"])
def test_a_kind_of_media_type_may_be_written_as_in_the_rules(
    parts: Parts, cli: FlaskCliRunner, said: str
) -> None:
    keep(parts, "a.png", b"a picture")
    keep(parts, "a.txt", b"a text")
    result = cli.invoke(args=["drive", *MOVE, "--content-type", said, "--dry-run"])
    assert result.exit_code == 0
    assert "1 record" in result.output
    assert Selection.from_json(Selection(content_type=said).as_json()).content_type == said
