"""Somebody else's package adds a kind: that of docs/backends.md, built, installed and used by a drive."""

import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from simpledrive.storage.registry import build
from tests.apps import BEARER
from tests.contract import Place, StorageContract
from tests.servers import ROOT, Server
from tests.sources import content

EXAMPLE = re.compile(r"```(?:toml|python)\n(.*?)```", re.DOTALL)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder to import from, which holds the example's package and nothing else."""
    folder = tmp_path_factory.mktemp("shelf")
    chapter = (ROOT / "docs" / "backends.md").read_text().partition("## A kind of your own")[2]
    project, module, _ = EXAMPLE.findall(chapter)
    (folder / "pyproject.toml").write_text(project)
    (folder / "simpledrive_shelf.py").write_text(module)
    build_it = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", "dist"]
    subprocess.run(build_it, cwd=folder, check=True, capture_output=True)
    (wheel,) = (folder / "dist").glob("*.whl")
    # It is of Python alone: then unpacking is installing.
    zipfile.ZipFile(wheel).extractall(folder / "installed")
    return folder / "installed"


def test_a_drive_keeps_blobs_by_a_kind_that_a_package_added(
    make_server: Callable[..., Server], installed: Path, tmp_path: Path
) -> None:
    shelf = tmp_path / "attic"
    server = make_server(
        PYTHONPATH=installed,
        SIMPLEDRIVE_BACKENDS__ATTIC__KIND="shelf",
        SIMPLEDRIVE_BACKENDS__ATTIC__FOLDER=shelf,
    )
    data = content(300_000)
    url = f"{server.url}/v1/content/a"
    stored = requests.put(f"{url}?storage_backend=attic", data=data, headers=BEARER, timeout=20)
    assert stored.json()["storage_backend"] == "attic"
    assert requests.get(url, headers=BEARER, timeout=20).content == data
    assert [
        file.read_bytes() for file in shelf.iterdir() if file.name.startswith(stored.json()["sha256"])
    ] == [data]


class TestShelf(StorageContract):
    @pytest.fixture
    def place(self, installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
        monkeypatch.syspath_prepend(installed)
        (tmp_path / "file").touch()
        storage = build("attic", {"kind": "shelf", "folder": "a/b"}, tmp_path)
        down = build("attic-down", {"kind": "shelf", "folder": "file/secret"}, tmp_path)
        return Place(storage, down, ("secret",))
