"""python -m pytorch_minimize.report [--quick] [--out DIRECTORY]"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from ._cases import CASES
from ._environment import headline, threads
from ._plots import draw
from ._rows import disagreements, from_json, table
from ._runner import measured

PROGRAM = "python -m pytorch_minimize.report"


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
    made.add_argument("--process", choices=CASES, help=argparse.SUPPRESS)
    return made


def main(argv: Sequence[str] | None = None) -> None:
    arguments = parser().parse_args(argv)
    if arguments.process:
        case = CASES[arguments.process]
        rows = case.measure(**((arguments.quick and case.quick) or case.full))
        json.dump({"threads": threads(), "rows": rows}, sys.stdout)
    elif arguments.compare:
        compare(*arguments.compare)
    else:
        if importlib.util.find_spec("sklearn") is None:
            sys.exit("the report fits scikit-learn's data: pip install scikit-learn matplotlib")
        report(arguments.out, arguments.cases, arguments.quick, arguments.repeats)


def report(out: Path, names: Sequence[str], quick: bool, repeats: int) -> None:
    """Measure, write, print and draw."""
    made = measured(names, quick=quick, repeats=1 if quick else repeats)
    out.mkdir(parents=True, exist_ok=True)
    (out / "report.json").write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
    print(headline(made))
    for name, case in made["cases"].items():
        print(f"\n{CASES[name].title} [{name}]\n{table(from_json(case['rows']))}")
    drawn = draw(made, out)
    print(f"\nwritten: {', '.join(str(path) for path in (out / 'report.json', *drawn))}")


def compare(old: Path, new: Path) -> None:
    """Which figures of two reports are further apart than the noise that both state."""
    first, second = (json.loads(path.read_text(encoding="utf-8"))["cases"] for path in (old, new))
    total, apart = 0, []
    for name in first.keys() & second.keys():
        rows = (from_json(cases[name]["rows"]) for cases in (first, second))
        count, lines = disagreements(*rows)
        total += count
        apart += [f"{name}: {line}" for line in lines]
    print(
        "\n".join([*sorted(apart), f"{total - len(apart)} of {total} figures agree within noise"])
    )


if __name__ == "__main__":
    main()
