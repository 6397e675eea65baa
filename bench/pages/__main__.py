"""Write the tables and pictures of README.md and of the pages in docs/.

    python -m bench.pages [--check]

Each table stands between two comments, <!-- NAME --> and <!-- /NAME -->. The methods and the
keywords come from their tables, everything else from bench/results/report.json, which `make bench`
measures, and from what the other measures write beside it: pinn.json, iterations.json,
together.json and choices.json of `bench.pinn`, `bench.iterations`, `bench.together` and
`bench.choices`, limited.json of `bench.limited`, fits.json of `bench.fits` and residuals.json of
`bench.residuals`. With --check
nothing is written, and the exit status tells whether a table would have changed.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path

from ..plots import draw
from .markdown import Report
from .tables import TABLES

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "bench" / "results" / "report.json"
ALONE = ("pinn", "iterations", "limited", "fits", "together", "choices", "residuals")
PAGES = (
    *("README.md", "docs/distributed.md", "docs/keywords.md", "docs/performance.md"),
    *("docs/which-method.md", "docs/least-squares.md"),
)


def rewritten(text: str, report: Report) -> str:
    """The page with every table made anew."""

    def block(found: re.Match[str]) -> str:
        name = found[1]
        if name not in TABLES:
            raise SystemExit(f"there is no table {name!r}; known are {', '.join(TABLES)}")
        needed, make = TABLES[name]
        # What stands there stays where nothing else was measured.
        if not needed <= {name for name, case in report["cases"].items() if case["rows"]}:
            return found[0]
        return f"<!-- {name} -->\n\n{make(report)}\n\n<!-- /{name} -->"

    return re.sub(r"<!-- (\w+) -->\n.*?<!-- /\1 -->", block, text, flags=re.DOTALL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    report: Report = {"cases": {}}
    if RESULTS.exists():
        report = json.loads(RESULTS.read_text(encoding="utf-8"))
    for name in ALONE:  # measured by themselves
        path = RESULTS.with_name(f"{name}.json")
        if path.exists():
            report["cases"][name] = json.loads(path.read_text(encoding="utf-8"))
    pages = {ROOT / page: (ROOT / page).read_text(encoding="utf-8") for page in PAGES}
    new = {path: rewritten(text, report) for path, text in pages.items()}
    if check:
        sys.exit(new != pages)
    for path, text in new.items():
        path.write_text(text, encoding="utf-8")
    draw(report, ROOT / "docs" / "images")


if __name__ == "__main__":
    main()
