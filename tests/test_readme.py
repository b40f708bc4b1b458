"""The README's shell lines do what it says: each block runs, in order, against a real server."""

import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import requests

from tests.backups import check_sums
from tests.servers import ROOT, TOKEN, Server

BLOCK = re.compile(r"```sh\n(.*?)```", re.DOTALL)


def blocks(word: str) -> list[str]:
    found = [block for block in BLOCK.findall((ROOT / "README.md").read_text()) if word in block]
    assert found, f"the README has no lines with {word} any more"
    return found


def run(script: str, server: Server) -> str:
    given = {"TOKEN": TOKEN, "DRIVE": server.url}
    done = subprocess.run(
        ["bash", "-euc", script],
        cwd=ROOT,
        env=server.environ | given,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_curl_lines_store_fetch_list_and_delete(make_server: Callable[..., Server]) -> None:
    server = make_server()
    stored, raw, deleted = (run(block.replace("curl ", "curl -fsS "), server) for block in blocks("curl"))
    assert stored.count('"size": 27') == 2
    assert "SGVsbG8gU2ltcGxlIFN0b3JhZ2UgV29ybGQh" in stored
    assert '"storage_backend": "database"' in raw
    assert "# Simple Drive" in raw
    assert '"next_cursor": null' in raw
    assert deleted == ""


def test_the_key_line_makes_a_key_that_may_only_read_below_its_prefix(
    make_server: Callable[..., Server],
) -> None:
    server = make_server()
    (block,) = blocks("keys create")
    made = server.run(*shlex.split(block.removeprefix(".venv/bin/flask --app wsgi ")))
    as_website = {"Authorization": f"Bearer {made.stdout.strip()}"}
    listed = requests.get(f"{server.url}/v1/blobs?prefix=public/", headers=as_website, timeout=20)
    assert listed.status_code == 200, made.stderr
    for method, id in (("PUT", "public/x"), ("GET", "private/x")):
        answer = requests.request(method, f"{server.url}/v1/content/{id}", headers=as_website, timeout=20)
        assert answer.status_code == 403


def test_backup_lines_write_a_folder_and_look_at_it(make_server: Callable[..., Server], folder: Path) -> None:
    server = make_server()
    run(blocks("curl")[0], server)
    (block,) = blocks("drive backup")
    for line in block.replace("/mnt/backup", str(folder)).splitlines():
        done = server.run(*line.removeprefix(".venv/bin/flask --app wsgi ").split())
        assert (done.returncode, done.stderr) == (0, "")
    assert "1 of 1 contents are whole." in done.stdout
    assert check_sums(folder) == (0, [])


def test_migrate_lines_move(make_server: Callable[..., Server]) -> None:
    server = make_server()
    run(blocks("curl")[0], server)
    (block,) = blocks("migrate-backend")
    output = "".join(
        server.run(*line.removeprefix(".venv/bin/flask --app wsgi ").split()).stdout
        for line in block.splitlines()
    )
    assert "1 of 1 records moved, 27 bytes." in output
