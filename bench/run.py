"""Measures the drive side by side with what this machine can do: `make bench`, or `make bench ARGS=--quick`.

Contents are verified once a target before anything is timed. Then come the rounds: each case on every target,
one directly after the other, in an order that moves on by one each round. README.md says what is compared.
"""

import argparse
import signal
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import report
from cases import Case, Family, Json, Raw, Slow, Target
from floors import Floor
from moving import Moves, Moving
from places import PLACES, Served
from servers import Bare, Drive, Nginx
from storages import Storage, Storages, copies

T = TypeVar("T")
RESULTS = Path(__file__).parent / "results"
HOMES = ("local", "database")
USUAL_PLACES = ["local", "database", "s3", "proftpd", "vsftpd"]
PASSABLE = 0o711
"""Some servers become another user, who has to get to his own folder."""
REFERENCES: dict[str, Callable[[], Target]] = {
    "plain": lambda: Floor("plain", durable=False),
    "durable": lambda: Floor("durable", durable=True),
    "bare": Bare,
    "nginx": Nginx,
}
FAMILIES: dict[str, Callable[[argparse.Namespace, Path], Family]] = {
    "json-1k": lambda options, folder: Json(1 << 10, "1 KiB", options.seconds),
    "json-1m": lambda options, folder: Json(1 << 20, "1 MiB", options.seconds),
    "raw": lambda options, folder: Raw(options.mib, folder),
    "slow": lambda options, folder: Slow(1 << 10, "1 KiB", options.seconds),
    "storages": Storages,
    "moving": Moving,
}


def main() -> None:
    options = parse(sys.argv[1:])
    results: dict[Case, report.Rounds] = {}
    with tempfile.TemporaryDirectory(prefix="bench-", dir=options.folder) as folder:
        Path(folder).chmod(PASSABLE)
        for name in options.cases:
            measured = measure(name, options, Path(folder))
            for case, rounds in measured.items():
                print(report.table(case, rounds, options.references), flush=True)
            results |= measured
        print(report.LEGEND)
        told = {key: value for key, value in vars(options).items() if key != "folder"}
        found = report.document(results, options.references, told, Path(folder))
    note(f"saved as bench/results/{report.save(found, RESULTS).name}")


def measure(name: str, options: argparse.Namespace, folder: Path) -> dict[Case, report.Rounds]:
    """One family of cases on servers of their own, which are gone afterwards with all that they stored."""
    targets = targets_of(name, options)
    note(f"{name}: starting {', '.join(target.name for target in targets)}")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=folder)))
        folder.chmod(PASSABLE)
        family = FAMILIES[name](options, folder)
        for target in targets:
            own = folder / target.name.replace(" ", "-")
            own.mkdir()
            target.start(own)
            stack.callback(target.stop)
            telling(target, partial(family.prepare, target))
        cases = list(family.cases())
        results: dict[Case, report.Rounds] = {case: {} for case in cases}
        for number in range(options.rounds):
            for case in cases:
                for target in family.order(targets, number):
                    figures = telling(target, partial(case.measure, target, number))
                    if figures is not None:
                        results[case].setdefault(target.name, []).append(figures)
            note(f"{name}: round {number + 1} of {options.rounds}")
    return {
        case: {target.name: rounds[target.name] for target in targets if target.name in rounds}
        for case, rounds in results.items()
    }


def targets_of(name: str, options: argparse.Namespace) -> list[Any]:
    """What a family is measured on."""
    if name == "storages":
        return copies(Storage, options.places, note)
    if name == "moving":
        served = [place for place in options.places if issubclass(PLACES[place], Served)]
        return copies(Moves, served, note)
    targets: list[Target] = [Drive(home) for home in options.homes]
    return targets + [REFERENCES[reference]() for reference in options.references]


def parse(arguments: list[str]) -> argparse.Namespace:
    """The options. --quick is other defaults: for a look, and not for a record."""
    there = [name for name in REFERENCES if name != "nginx" or Nginx.program()]
    parser = argparse.ArgumentParser("bench/run.py", description=__doc__)
    some = {"nargs": "+", "metavar": "NAME"}
    parser.add_argument("--cases", choices=FAMILIES, default=[*FAMILIES], help=", ".join(FAMILIES), **some)
    parser.add_argument("--homes", choices=HOMES, default=[*HOMES], help=", ".join(HOMES), **some)
    parser.add_argument("--references", choices=REFERENCES, default=there, help=", ".join(there), **some)
    parser.add_argument("--places", choices=PLACES, default=USUAL_PLACES, help=", ".join(PLACES), **some)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="of load, a JSON case and round")
    parser.add_argument(
        "--mib", type=int, default=256, help="size of a large file, or of those that are moved"
    )
    parser.add_argument("--objects", type=int, default=2000, help="how many small files are copied")
    parser.add_argument("--folder", help="where data lies meanwhile; else the system's folder for such")
    parser.add_argument("--quick", action="store_true", help="one round of 0.3 s, 64 MiB, 200 files: a look")
    if "--quick" in arguments:
        parser.set_defaults(rounds=1, seconds=0.3, mib=64, objects=200)
    return parser.parse_args(arguments)


def telling(target: Any, step: Callable[[], T]) -> T:
    """The step's result; if it fails, with the end of the target's log, which is gone afterwards."""
    try:
        return step()
    except Exception as error:
        error.add_note(target.said())
        raise


def note(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    # Ended from outside, it still stops its servers and removes what they stored.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))
    main()
