"""SHA256SUMS: what an outsider checks the folder by, without the drive.

First the runs, then the objects, each in order. What is named once is taken over as it is, and never from
what lies there now: so that what has been damaged since is found.
"""

from __future__ import annotations

import hashlib
import heapq
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from io import BufferedReader
from itertools import groupby

from simpledrive.backup.folder import Folder
from simpledrive.backup.regular import open_regular
from simpledrive.backup.runs import BackupError, Run

RUN_LINE = re.compile(r"([0-9a-f]{64})  runs/(\d{8}T\d{6}Z)\.jsonl\n")
LONGEST = 1024
OBJECT_LINE = re.compile(r"([0-9a-f]{64})  objects/([0-9a-f]{2})/([0-9a-f]{64})\n")


class _Damaged(Exception):
    """The file is not as it was written."""


def add(folder: Folder) -> list[str]:
    """Names also the runs that are not named yet, and what they need. Says what is damaged."""
    try:
        named = {run: digest for digest, run in _runs(folder)}
        new = [run for run in folder.runs() if run.name not in named]
        sound, problems = _sound(new)
        _write(folder, named, sound, _objects(folder))
    except _Damaged:
        sound, problems = _sound(folder.runs())
        _write(folder, {}, sound, ())
        problems.append("SHA256SUMS was damaged, and was written anew from the runs.")
    return problems


def rewrite(folder: Folder, runs: Sequence[Run]) -> None:
    """Names these runs and what they need, no others. Raises BackupError if one of them is not whole."""
    stay = {run.name for run in runs}
    _write(folder, {run: digest for digest, run in _runs(folder) if run in stay}, runs, ())


def _sound(runs: Sequence[Run]) -> tuple[list[Run], list[str]]:
    sound, problems = [], []
    for run in runs:
        try:
            run.check()
            sound.append(run)
        except BackupError as error:
            problems.append(str(error))
    return sound, problems


def _write(folder: Folder, named: Mapping[str, str], runs: Sequence[Run], objects: Iterable[str]) -> None:
    with folder.part() as (part, file):
        digests = {run.name: _digest(folder, run) for run in runs if run.name not in named}
        with folder.errors():
            for name, digest in sorted({**named, **digests}.items()):
                file.write(f"{digest}  runs/{name}.jsonl\n".encode())
            for digest in named_by(runs, objects):
                file.write(f"{digest}  objects/{digest[:2]}/{digest}\n".encode())
        folder.publish(part, file, folder.sums)


def named_by(runs: Sequence[Run], others: Iterable[str] = ()) -> Iterator[str]:
    """The digests that any of the runs needs, and others that come in order; in order, each once."""
    for digest, _ in groupby(heapq.merge(others, *(run.digests() for run in runs))):
        yield digest


def _digest(folder: Folder, run: Run) -> str:
    with folder.errors(), open_regular(run.path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _runs(folder: Folder) -> Iterator[tuple[str, str]]:
    for line in _lines(folder):
        if (found := RUN_LINE.fullmatch(line)) is None:
            return
        yield found[1], found[2]


def _objects(folder: Folder) -> Iterator[str]:
    """The digests of the objects. Raises _Damaged for what was not written like this."""
    last = ""
    for line in _lines(folder):
        if RUN_LINE.fullmatch(line) and not last:
            continue
        found = OBJECT_LINE.fullmatch(line)
        if found is None or not (found[1] == found[3] > last and found[1].startswith(found[2])):
            raise _Damaged
        last = found[1]
        yield last


def _lines(folder: Folder) -> Iterator[str]:
    """One that is longer than any of ours comes in portions, none of which is one of ours."""
    with ExitStack() as stack:
        with folder.errors():
            try:
                file = stack.enter_context(BufferedReader(open_regular(folder.sums)))
            except FileNotFoundError:
                return  # of a first run, or of one that was killed before this
        while line := file.readline(LONGEST):
            yield line.decode("ascii", errors="replace")
