"""flask drive check-backend: which backends can be used, how quick each step is, and why one cannot."""

import json
import re
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from flask import Flask

from simpledrive import create_app
from simpledrive.parts import Parts
from tests.apps import BEARER, settings_for
from tests.faulty_proxy import FaultyProxy, Stalled
from tests.strict_s3 import StrictS3
from tests.troubled import SECRETS, STEPS, TROUBLES, WELL

CHECK = ("drive", "check-backend")


def by_backend(output: str) -> dict[str, list[str]]:
    """The lines below each backend's own."""
    found: dict[str, list[str]] = {}
    for line in output.splitlines():
        if not line.startswith(" "):
            lines = found[line.partition(" ")[0]] = []
        else:
            lines.append(line.strip())
    return found


def test_all_are_looked_at_and_told_step_by_step(troubled: Flask) -> None:
    result = troubled.test_cli_runner().invoke(args=CHECK)
    assert result.exit_code == 1
    assert result.stderr.endswith("4 of 8 cannot be used.\n")
    found = by_backend(result.stdout)
    assert found.keys() == WELL.keys() | TROUBLES.keys()
    for name in WELL:
        assert [line.split()[0] for line in found[name]] == STEPS
        assert all(re.fullmatch(r"\w+ +[0-9,]+\.[0-9] ms", line) for line in found[name]), found[name]
    for name, (step, why) in TROUBLES.items():
        *passed, failed, said = found[name]
        assert [line.split()[0] for line in [*passed, failed]] == STEPS[: STEPS.index(step) + 1]
        assert failed.endswith("ms  FAILED")
        assert why in said


def test_kind_and_place_are_told_and_no_secret(troubled: Flask, tmp_path: Path, strict_s3: StrictS3) -> None:
    result = troubled.test_cli_runner().invoke(args=CHECK)
    heads = [line for line in result.stdout.splitlines() if not line.startswith(" ")]
    assert heads[0] == f"local (local, the default): {tmp_path}/instance/blobs"
    assert f"bucket (s3): {strict_s3.url}/drive/some/where/" in heads
    assert f"foreign (local): {tmp_path}/foreign" in heads
    assert any(re.fullmatch(r"nas \(ftp\): ftp://127.0.0.1:\d+/.+", head) for head in heads)
    output = result.output + troubled.test_cli_runner().invoke(args=[*CHECK, "--json"]).output
    for secret in SECRETS:
        assert secret not in output


def test_json_is_what_v1_backends_tells(troubled: Flask) -> None:
    result = troubled.test_cli_runner().invoke(args=[*CHECK, "--json"])
    assert result.exit_code == 1
    told = {item["name"]: item for item in map(json.loads, result.stdout.splitlines())}
    listed = troubled.test_client().get("/v1/backends", headers=BEARER).json["items"]
    assert told.keys() == {item["name"] for item in listed}
    for item in listed:
        same = told[item["name"]]
        assert list(item)[: len(same)] == list(same)
        for member in ("kind", "default", "where", "reachable", "detail"):
            assert item[member] == same[member]
        for steps in (item["steps"], same["steps"]):
            assert all(list(step) == ["name", "passed", "ms"] and step["ms"] >= 0 for step in steps)
        assert [step["name"] for step in item["steps"]] == [step["name"] for step in same["steps"]]


@pytest.mark.parametrize(("name", "code"), [("nas", 0), ("stranger", 1), ("nowhere", 2)])
def test_one_is_looked_at_and_the_exit_code_says_how_it_went(troubled: Flask, name: str, code: int) -> None:
    result = troubled.test_cli_runner().invoke(args=[*CHECK, name])
    assert result.exit_code == code, result.output
    assert list(by_backend(result.stdout)) == ([name] if code < 2 else [])
    assert ("There is no backend 'nowhere'. Known are: bucket, database," in result.stderr) == (code == 2)


def test_without_tables_it_says_what_to_do_and_is_2(tmp_path: Path) -> None:
    result = create_app(settings_for(tmp_path)).test_cli_runner().invoke(args=CHECK)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Could not run: The database lacks the drive's tables: run `flask db upgrade`." in result.stderr


def test_a_server_that_hangs_is_given_up_after_its_timeout(
    make_app: Callable[..., Flask], strict_s3: StrictS3, s3_proxy: FaultyProxy
) -> None:
    url = f"http://127.0.0.1:{s3_proxy.port}"
    app = make_app(backends={"far": strict_s3.config(endpoint_url=url, timeout="0.3")})
    s3_proxy.expect(Stalled(when=b"GET /", down=0))
    result = app.test_cli_runner().invoke(args=[*CHECK, "far"])
    assert result.exit_code == 1
    assert "no answer within 0.3 s" in by_backend(result.stdout)["far"][-1]


def test_what_hangs_longer_than_its_settings_allow_is_given_up_all_the_same(
    app: Flask, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_go = threading.Event()
    monkeypatch.setattr(parts.backends.use("local"), "probe", lambda begin: let_go.wait())
    try:
        result = app.test_cli_runner().invoke(args=[*CHECK, "--timeout", "0.1", "local"])
    finally:
        let_go.set()
    assert result.exit_code == 1
    *_, last, said = by_backend(result.stdout)["local"]
    assert last.endswith("ms  FAILED")
    assert said.startswith("There was no answer in 0.")


def test_nothing_is_left_behind(app: Flask, parts: Parts) -> None:
    assert app.test_cli_runner().invoke(args=CHECK).exit_code == 0
    for name in parts.backends:
        assert list(parts.backends.use(name).keys()) == []
