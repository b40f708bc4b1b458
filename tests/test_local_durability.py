"""What `local` has brought to the disk when `put` returns, by the order of its system calls.

Killing processes cannot show a missing fsync: the system's cache survives them. So the calls are read.
"""

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.needs import need

CHILD = """
import os, sys
from dataclasses import replace
from pathlib import Path
from simpledrive.storage import local
from simpledrive.storage.base import new_key
from simpledrive.storage.registry import build
from tests.sources import content, source_of

folder, how = Path(sys.argv[1]), sys.argv[2]
source = source_of(content(3 << 20))
if how == "link":
    staged = folder / "staged"
    staged.write_bytes(content(3 << 20))
    source = replace(source, path=staged)
if how == "without links":
    def link(source, target):
        raise PermissionError(1, "Operation not permitted")
    local.os.link = link
storage = build("traced", {"kind": "local", "path": folder / "new" / "place"})
storage.put(new_key(source.sha256), source)
os.mkdir(folder / "put-has-returned")
os.mkdir(folder / "second-put")
storage.put(new_key(source.sha256), source)
os.mkdir(folder / "second-put-has-returned")
"""

CALLS = "openat,fsync,fdatasync,write,link,linkat,rename,renameat,renameat2,mkdir,mkdirat,unlink,unlinkat"


@dataclass(frozen=True)
class Call:
    """One system call that succeeded, and the paths in it, below the test's folder."""

    name: str
    paths: tuple[str, ...]


def traced(folder: Path, how: str) -> list[Call]:
    """What a process that puts one object, and a second one, asks of the system."""
    need("strace")
    trace = folder / "trace"
    subprocess.run(
        [
            "strace",
            "-f",
            "-y",
            "-s4096",
            "-e",
            f"trace={CALLS}",
            "-o",
            trace,
            sys.executable,
            "-c",
            CHILD,
            folder,
            how,
        ],
        check=True,
        env={"PYTHONPATH": ":".join(filter(None, sys.path)), "PATH": "/usr/bin:/bin"},
    )
    calls = []
    for line in trace.read_text(errors="replace").splitlines():
        found = re.match(r"\d+ +(\w+)\((.*)\) += (\d+)", line)
        if found and str(folder) in found[2]:
            # A path stands in quotes as an argument, and in angle brackets behind a descriptor.
            paths = re.findall(rf'[<"]{re.escape(str(folder))}/?([^>"]*)[>"]', found[2])
            calls.append(Call(found[1].removesuffix("2").removesuffix("at"), tuple(paths)))
    return calls


class Trace:
    def __init__(self, calls: list[Call]) -> None:
        self.calls = calls

    def at(self, name: str, shape: str, after: int = -1) -> int:
        """Where the first such call behind `after` is, whose last path has this shape."""
        for index, call in enumerate(self.calls):
            if index > after and call.name == name and re.fullmatch(shape, call.paths[-1]):
                return index
        raise AssertionError(f"no {name} of {shape} after call {after} of {self.calls}")


PLACE = "new/place"
LEAF = rf"{PLACE}/objects/[0-9a-f]{{2}}/[0-9a-f]{{2}}"
OBJECT = rf"{LEAF}/[0-9a-f.]{{97}}"
COPY = rf"{PLACE}/tmp/[0-9a-f]{{32}}\.copy"


@pytest.mark.parametrize(
    ("how", "bytes_in", "publishing"),
    [("link", "staged", "link"), ("copy", COPY, "link"), ("without links", COPY, "rename")],
)
def test_bytes_then_name_then_folder_then_return(
    tmp_path: Path, how: str, bytes_in: str, publishing: str
) -> None:
    trace = Trace(traced(tmp_path, how))
    after = -1
    for returned in ("put-has-returned", "second-put-has-returned"):
        if how != "link":
            last = trace.at(
                "write", bytes_in, trace.at("write", bytes_in, trace.at("write", bytes_in, after))
            )
            synced = trace.at("fsync", bytes_in, last)
        else:
            synced = trace.at("fsync", bytes_in, after)
        published = trace.at(publishing, OBJECT, synced)
        folder = trace.at("fsync", LEAF, published)
        after = trace.at("mkdir", returned, folder)
        between = trace.calls[synced:published]
        assert "write" not in [call.name for call in between], "written to after it was synced"


def test_new_folders_are_synced_into_their_parents_before_the_put_returns(tmp_path: Path) -> None:
    trace = Trace(traced(tmp_path, "copy"))
    returned = trace.at("mkdir", "put-has-returned")
    for folder in ("new", PLACE, f"{PLACE}/objects", f"{PLACE}/objects/[0-9a-f]{{2}}", LEAF):
        made = trace.at("mkdir", folder)
        parent = folder.rpartition("/")[0]
        assert made < trace.at("fsync", parent, made) < returned


def test_a_linked_object_costs_no_second_copy(tmp_path: Path) -> None:
    trace = traced(tmp_path, "link")
    staged = [call for call in trace if call.name == "write"]
    assert {call.paths[-1] for call in staged} <= {"staged"}


def test_a_second_put_costs_two_syncs(tmp_path: Path) -> None:
    trace = traced(tmp_path, "copy")
    names = [call.paths[-1] if call.name == "mkdir" else call.name for call in trace]
    second = names[names.index("second-put") : names.index("second-put-has-returned")]
    assert second.count("fsync") == 2
