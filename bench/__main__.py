"""python -m bench [--quick] [--out DIRECTORY]"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .cases import CASES
from .environment import headline
from .figure import SEEN
from .goals import goals
from .plots import draw
from .rows import compared, from_json, table
from .runner import measure, measured

PROGRAM = "python -m bench"

FAILED, INTERRUPTED = 1, 130  # exit status


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog=PROGRAM, description="What the bridge costs, measured.")
    made.add_argument(
        "--out", type=Path, default=Path("report"), help="where report.json and plots go"
    )
    made.add_argument(
        "--quick", action="store_true", help="a minute: shows that all works, no figures"
    )
    made.add_argument("--repeats", type=int, default=3, help="processes per case")
    made.add_argument("--cases", nargs="*", choices=CASES, default=list(CASES), metavar="CASE")
    made.add_argument(
        "--compare", type=Path, nargs=2, metavar="JSON", help="two reports: which figures differ"
    )
    made.add_argument("--process", nargs="+", choices=CASES, help=argparse.SUPPRESS)
    return made


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parser().parse_args(argv)
    if arguments.process:
        measure(arguments.process, arguments.quick)
        return 0
    if arguments.compare:
        old, new = (json.loads(path.read_text(encoding="utf-8")) for path in arguments.compare)
        print(comparison(old, new))
        return 0
    if importlib.util.find_spec("sklearn") is None:
        sys.exit("the report fits scikit-learn's data: pip install scikit-learn matplotlib")
    return report(arguments.out, arguments.cases, arguments.quick, arguments.repeats)


def report(out: Path, names: Sequence[str], quick: bool, repeats: int) -> int:
    """Measure, write, print and draw; returns the exit status."""
    written = out / "report.json"
    before = json.loads(written.read_text(encoding="utf-8")) if written.exists() else None
    made = measured(names, quick=quick, repeats=1 if quick else repeats)
    out.mkdir(parents=True, exist_ok=True)
    written.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
    cases = {name: from_json(case["rows"]) for name, case in made["cases"].items()}
    print(headline(made))
    for name, rows in cases.items():
        print(f"\n{CASES[name].title} [{name}]\n{table(rows)}")
    drawn = draw(made, out)
    if before is not None and not quick:
        print(f"\nwith the report that was there before:\n{comparison(before, made)}")
    if kept := goals(cases):
        print(f"\nWhat must hold\n{table(kept)}")
    print(f"\nwritten: {', '.join(str(path) for path in (written, *drawn))}")
    return _status(made)


def _status(made: Mapping[str, Any]) -> int:
    failed = {name: case["errors"] for name, case in made["cases"].items() if case["errors"]}
    for name, errors in failed.items():
        print(f"{name} failed in {len(errors)} of its processes: {errors[0]}", file=sys.stderr)
    if made["environment"]["interrupted"]:
        print("interrupted: only what was measured so far is there", file=sys.stderr)
        return INTERRUPTED
    return FAILED if failed else 0


def comparison(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Which figures of two reports are further apart than the noise that both state."""
    agree, unclear, apart = 0, 0, []
    for name, case in new["cases"].items():
        if name in old["cases"]:
            found = compared(from_json(old["cases"][name]["rows"]), from_json(case["rows"]))
            agree, unclear = agree + found.agree, unclear + found.unclear
            apart += [f"{name}: {line}" for line in found.apart]
    verdict = f"{agree} of {agree + len(apart)} repeated figures agree within noise"
    if unclear:
        verdict += f"; {unclear} more were measured once, or their noise would hide {SEEN} times"
    return "\n".join([*sorted(apart), verdict])


if __name__ == "__main__":
    sys.exit(main())
