"""The specification against the running drive: schemathesis makes up requests and believes nothing.

It sends what the specification allows and what it forbids, follows what answers lead to, and looks at every
answer: status, headers, type, schema; whether what is wrong is refused, with or without a key, and what was
deleted is gone. schemathesis.toml says what it is told, schemathesis_hooks.py what it cannot make up.
"""

import json
import subprocess
import sys
from typing import Any

import pytest
import requests

from tests.servers import ROOT, Server

NO_LIMIT = "1000000/minute"


@pytest.fixture
def patient(make_server: Any) -> Server:
    """A server that counts requests, and turns nobody away for their number."""
    limits = ("RATE_LIMIT", "RATE_LIMIT_ADDRESS", "FAILED_SIGN_INS")
    return make_server(**dict.fromkeys(limits, NO_LIMIT))


def specification_of(server: Server) -> dict[str, Any]:
    """The specification as the server hands it out."""
    document: dict[str, Any] = requests.get(f"{server.url}/openapi.json", timeout=9).json()
    return document


def asked(server: Server, specification: dict[str, Any], *options: str) -> subprocess.CompletedProcess[str]:
    """What schemathesis finds between this specification and that server."""
    path = server.folder / "openapi.json"  # from its URL, it would leave out the route that it came from
    path.write_text(json.dumps(specification))
    config = ROOT / "tests" / "schemathesis.toml"
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(config), "run"]
    command += [str(path), "--url", server.url, "--no-color", *options]
    environ = server.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        command, cwd=server.folder, env=environ, capture_output=True, text=True, timeout=3600, check=False
    )


def assert_nothing_found(server: Server, *options: str) -> None:
    specification, pids = specification_of(server), server.pids()
    found = asked(server, specification, *options)
    assert found.returncode == 0, found.stdout[-20_000:] + found.stderr[-2_000:]
    assert f"Tested: {sum(map(len, specification['paths'].values()))}" in found.stdout
    for phase in ("Examples", "Coverage", "Fuzzing", "Stateful"):
        assert f"✅ {phase}" in found.stdout
    assert server.pids() == pids, "a worker was lost"
    assert '"level": "ERROR"' not in server.output()


def test_it_finds_nothing(patient: Server) -> None:
    assert_nothing_found(patient, "--max-examples", "10", "--seed", "1")


@pytest.mark.soak
def test_it_finds_nothing_when_it_looks_longer(patient: Server) -> None:
    assert_nothing_found(patient, "--max-examples", "500")


def test_it_would_notice_a_specification_that_lies(patient: Server) -> None:
    specification = specification_of(patient)
    paths = {path: {"get": specification["paths"][path]["get"]} for path in ("/health", "/livez", "/readyz")}
    answers = {path: operations["get"]["responses"] for path, operations in paths.items()}
    answers["/health"]["200"]["content"]["application/json"]["schema"]["required"].append("missing")
    answers["/livez"]["200"]["content"] = {"application/json": {"schema": {"type": "string"}}}
    answers["/readyz"]["299"] = answers["/readyz"].pop("200")
    found = asked(patient, specification | {"paths": paths}, "--max-examples", "1", "--phases", "fuzzing")
    assert found.returncode == 1
    for fault in ("Response violates schema", "Undocumented Content-Type", "Undocumented status code"):
        assert f"{fault}: 1" in found.stdout, found.stdout
