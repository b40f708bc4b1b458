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
from typing import TypeVar

import report
from cases import Case, Family, Json, Raw, Slow, Target
from floors import Floor
from servers import Bare, Drive, Nginx

T = TypeVar("T")
RESULTS = Path(__file__).parent / "results"
HOMES = ("local", "database")
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
}


def main() -> None:
    options = parse(sys.argv[1:])
    results: dict[Case, report.Rounds] = {}
    with tempfile.TemporaryDirectory(prefix="bench-", dir=options.folder) as folder:
        for name in options.cases:
            note(f"{name}: starting {', '.join([*options.homes, *options.references])}")
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
    targets: list[Target] = [Drive(home) for home in options.homes]
    targets += [REFERENCES[reference]() for reference in options.references]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=folder)))
        family = FAMILIES[name](options, folder)
        for target in targets:
            (folder / target.name).mkdir()
            target.start(folder / target.name)
            stack.callback(target.stop)
            telling(target, partial(family.prepare, target))
        cases = list(family.cases())
        results: dict[Case, report.Rounds] = {case: {} for case in cases}
        for number in range(options.rounds):
            turn = number % len(targets)
            for case in cases:
                for target in targets[turn:] + targets[:turn]:
                    figures = telling(target, partial(case.measure, target, number))
                    if figures is not None:
                        results[case].setdefault(target.name, []).append(figures)
            note(f"{name}: round {number + 1} of {options.rounds}")
    return {
        case: {target.name: rounds[target.name] for target in targets if target.name in rounds}
        for case, rounds in results.items()
    }


def parse(arguments: list[str]) -> argparse.Namespace:
    """The options. --quick is other defaults: for a look, and not for a record."""
    there = [name for name in REFERENCES if name != "nginx" or Nginx.program()]
    parser = argparse.ArgumentParser("bench/run.py", description=__doc__)
    some = {"nargs": "+", "metavar": "NAME"}
    parser.add_argument("--cases", choices=FAMILIES, default=[*FAMILIES], help=", ".join(FAMILIES), **some)
    parser.add_argument("--homes", choices=HOMES, default=[*HOMES], help=", ".join(HOMES), **some)
    parser.add_argument("--references", choices=REFERENCES, default=there, help=", ".join(there), **some)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="of load, a JSON case and round")
    parser.add_argument("--mib", type=int, default=256, help="size of the raw cases")
    parser.add_argument("--folder", help="where data lies meanwhile; else the system's folder for such")
    parser.add_argument("--quick", action="store_true", help="one round of 0.3 s and 64 MiB: a look")
    if "--quick" in arguments:
        parser.set_defaults(rounds=1, seconds=0.3, mib=64)
    return parser.parse_args(arguments)


def telling(target: Target, step: Callable[[], T]) -> T:
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
