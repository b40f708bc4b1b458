"""What was found: tables to read, and a JSON document with every round to compare with later."""

import json
import os
import platform
import sqlite3
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from cases import Case
from figures import Figures, middle, ratio
from servers import ROOT, Nginx

Rounds = dict[str, list[Figures]]
"""What each target did, by its name, a round each."""

LOAD = os.getloadavg()  # what others did on this machine before we began
PACKAGES = ("flask", "werkzeug", "sqlalchemy", "gunicorn", "pydantic", "pybase64", "xxhash")
LEGEND = """\
A ratio is row / column, of rates: "/ bare" 0.50 is half the rate of the bare file server, above 1 the row is
faster. Each is the median of the rounds' own ratios. The other figures are medians too, and belong to this
machine and this moment. local and database are the drive, by the home of its blobs; plain and durable are
this machine without a server; bare and nginx serve files and promise nothing. answered is the share of
requests that had a good answer, in the worst round. CPU is that of all of a server's processes, a request or
a transfer. MiB over idle is the most that they held in any round over what they held when started. client is
how busy the client was: from 80% on (marked !) it limits the figure. In the cases of storages each row is
the storage of a place, beside rclone at the same place; in those of moving it is the drive that moves there.
"""


def table(case: Case, rounds: Rounds, references: Sequence[str]) -> str:
    """The case as a Markdown table: a line a target, a column of ratios a reference that was measured."""
    columns = {head: cells for head, cells in _columns(case, rounds) if any(cells)} | {
        head: [_ratio(ratio(rounds[name], rounds[others[name]])) if name in others else "" for name in rounds]
        for head, others in _compared(case, rounds, references).items()
    }
    first = [case.name, *rounds]
    widths = [max(map(len, first)), *(max(map(len, [head, *cells])) for head, cells in columns.items())]
    heads_and_cells = ([head, *cells] for head, cells in columns.items())
    rows = [_row(cells, widths) for cells in zip(first, *heads_and_cells, strict=True)]
    rows.insert(1, _row(["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])], widths))
    failed = sum(each.failed for ours in rounds.values() for each in ours)
    warning = f"\n{failed} requests failed.\n" if failed else ""
    return "\n".join(rows) + "\n" + warning


def _compared(case: Case, rounds: Rounds, references: Sequence[str]) -> dict[str, dict[str, str]]:
    """Under each column's head, which target is compared with which."""
    if case.against:
        pairs = {ours: other for ours, other in case.against.items() if {ours, other} <= rounds.keys()}
        return {"/ rclone": pairs} if pairs else {}
    there = [other for other in references if other in rounds]
    return {f"/ {other}": {name: other for name in rounds if name != other} for other in there}


def _columns(case: Case, rounds: Rounds) -> Iterator[tuple[str, list[str]]]:
    """Head and cells of what is not a ratio."""

    def medians(of: Callable[[Figures], float | None]) -> list[str]:
        return [_number(middle([of(each) for each in ours])) for ours in rounds.values()]

    yield case.unit, medians(lambda each: each.rate)
    if case.unit == "MB/s":
        yield "CPU s", medians(lambda each: each.cpu_seconds)
    else:
        yield "p50 ms", medians(lambda each: each.p50_ms)
        yield "p99 ms", medians(lambda each: each.p99_ms)
        if case.unit == "requests/s":
            yield "answered", [f"{min(each.answered for each in ours):.1%}" for ours in rounds.values()]
        yield "CPU ms", medians(lambda each: 1e3 * each.cpu_seconds / each.requests)
    yield "MiB over idle", [_most(ours) for ours in rounds.values()]
    yield "client", [_busy(ours) for ours in rounds.values()]


def _row(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = zip(cells, widths, strict=True)
    return f"| {' | '.join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)])} |"


def _most(rounds: list[Figures]) -> str:
    over = [each.over_idle for each in rounds if each.over_idle is not None]
    return _number(max(over) / 2**20) if over else ""


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _ratio(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}" if value >= 0.1 else f"{value:.3f}"


def _busy(rounds: list[Figures]) -> str:
    share = middle([each.client_share for each in rounds])
    if share is None:
        return ""
    return f"{share:.0%}{' !' if share >= 0.8 else ''}"


def document(
    results: dict[Case, Rounds], references: Sequence[str], options: dict[str, object], folder: Path
) -> dict[str, object]:
    """All that was measured, and where."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _output("git", "-C", str(ROOT), "rev-parse", "HEAD"),
        "changed": bool(_output("git", "-C", str(ROOT), "status", "--porcelain")),
        "options": options,
        "machine": _machine(folder),
        "versions": dict(_versions()),
        "cases": [
            {
                "name": case.name,
                "unit": case.unit,
                "ratios": dict(_ratios(case, rounds, references)),
                "rounds": {name: [asdict(each) for each in ours] for name, ours in rounds.items()},
            }
            for case, rounds in results.items()
        ],
    }


def save(found: dict[str, object], folder: Path) -> Path:
    """Writes the document under its date; returns where."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{str(found['date'])[:19].replace(':', '')}.json"
    path.write_text(json.dumps(found, indent=1) + "\n")
    return path


def _ratios(case: Case, rounds: Rounds, references: Sequence[str]) -> Iterator[tuple[str, float | None]]:
    for others in _compared(case, rounds, references).values():
        for name, other in others.items():
            yield f"{name} / {other}", ratio(rounds[name], rounds[other])


def _machine(folder: Path) -> dict[str, object]:
    model = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "cpu": model[0].partition(": ")[2] if model else platform.processor(),
        "cores": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        "kernel": platform.release(),
        "file_system": _output("stat", "-f", "-c", "%T", str(folder)),
        "load_average_before": LOAD,
    }


def _versions() -> Iterator[tuple[str, str]]:
    yield "python", platform.python_version()
    yield "sqlite", sqlite3.sqlite_version
    for package in PACKAGES:
        yield package, version(package)
    if program := Nginx.program():
        yield "nginx", _output(program, "-v").rpartition("/")[2]


def _output(*command: str) -> str:
    """What a command says; nothing if it fails or is not there."""
    try:
        said = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return (said.stdout + said.stderr).strip()
