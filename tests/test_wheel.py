"""The built wheel is the whole drive: with its pages, static files, migrations and extras it serves."""

import subprocess
import sys
import zipfile
from pathlib import Path

import requests

from tests.apps import BEARER
from tests.servers import ROOT, Server


def test_an_installed_wheel_serves(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    installed = tmp_path / "installed"
    zipfile.ZipFile(wheel).extractall(installed)
    [metadata] = installed.glob("*.dist-info/METADATA")
    assert "Provides-Extra: fsspec\n" in metadata.read_text()

    nas = {"KIND": "fsspec", "URL": f"file://{tmp_path}/nas"}
    extra = {f"SIMPLEDRIVE_BACKENDS__NAS__{option}": value for option, value in nas.items()}
    server = Server(tmp_path, PYTHONPATH=installed, **extra)
    server.root, server.app = tmp_path, "simpledrive:create_app()"
    server.conf = installed / "simpledrive" / "gunicorn.conf.py"
    try:
        server.start()
        page = requests.get(f"{server.url}/drive/sign-in", timeout=10)
        assert "<h1>Sign in</h1>" in page.text
        stylesheet = page.text.partition('rel="stylesheet" href="')[2].partition('"')[0]
        assert requests.get(server.url + stylesheet, timeout=10).ok
        assert requests.get(f"{server.url}/v1/blobs", headers=BEARER, timeout=10).json()["items"] == []
        blob = f"{server.url}/v1/content/a"
        stored = requests.put(f"{blob}?storage_backend=nas", data=b"abc", headers=BEARER, timeout=10)
        assert stored.json()["storage_backend"] == "nas"
        assert requests.get(blob, headers=BEARER, timeout=10).content == b"abc"
    finally:
        server.stop()
