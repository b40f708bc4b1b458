"""Giving up old runs, and the objects that no other run needs. The only thing that removes either."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from simpledrive.backup import sums
from simpledrive.backup.folder import Folder


@dataclass
class Pruned:
    """What was given up."""

    runs: int = 0
    objects: int = 0
    bytes: int = 0


def prune(folder: Folder, selection: Mapping[str, Any], keep: int) -> Pruned:
    """Leaves the latest `keep` runs of that selection, all runs of others, and the objects that these need.

    Raises BackupError, and removes nothing, if one of the runs that stay is not whole: nobody knows then what
    it needs. SHA256SUMS goes first, so that it never names what is not there.
    """
    runs = folder.runs()
    gone = [run for run in runs if run.header().selection == selection][:-keep]
    kept = [run for run in runs if run not in gone]
    sums.rewrite(folder, kept)
    folder.remove([run.path for run in gone])
    pruned = Pruned(runs=len(gone))
    needed = sums.named_by(kept)
    next_needed = next(needed, None)
    for digest in folder.digests():
        while next_needed is not None and next_needed < digest:
            next_needed = next(needed, None)
        if digest != next_needed:
            path = folder.object(digest)
            pruned.objects += 1
            with folder.errors():
                pruned.bytes += path.stat().st_size
                path.unlink()
    return pruned
