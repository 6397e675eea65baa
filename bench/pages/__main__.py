"""Write the tables and pictures of README.md and of the pages in docs/.

    python -m bench.pages [--check]

Each table stands between two comments, <!-- NAME --> and <!-- /NAME -->. The methods, their
statuses and the keywords come from their tables, everything else from bench/results/report.json,
which `make bench` measures, and from what the other measures write beside it: NAME.json of
`python -m bench.NAME` (ALONE). With --check nothing is written, and the exit status tells whether a
table would have changed.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path

from .. import first
from ..plots import draw
from .markdown import Report
from .tables import TABLES

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "bench" / "results" / "report.json"
# Of one process, with the machine that each was measured on: cases that the report lacks.
APART = RESULTS.with_name("apart.json")
# Measured by themselves.
ALONE = ("pinn", "iterations", "limited", "fits", "together", "choices", "first", "residuals")
PAGES = (
    "README.md",
    *(f"docs/{name}.md" for name in ("benchmarks", "distributed", "keywords", "performance")),
    *("docs/which-method.md", "docs/guide/global.md", "docs/guide/why-it-stopped.md"),
    *("docs/reference/methods.md", "docs/least-squares.md"),
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


def measured() -> Report:
    """The report, with the cases that were measured apart."""
    report: Report = {"cases": {}}
    if RESULTS.exists():
        report = json.loads(RESULTS.read_text(encoding="utf-8"))
    if APART.exists():
        apart = json.loads(APART.read_text(encoding="utf-8"))
        where = {"environment": apart["environment"]}
        # A case may say itself where it was measured, if not with the others.
        cases = {name: where | case for name, case in apart["cases"].items()}
        report = {**report, "cases": cases | report["cases"]}
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    report = measured()
    for name in ALONE:
        path = RESULTS.with_name(f"{name}.json")
        if path.exists():
            report["cases"][name] = json.loads(path.read_text(encoding="utf-8"))
    pages = {ROOT / page: (ROOT / page).read_text(encoding="utf-8") for page in PAGES}
    new = {path: rewritten(text, report) for path, text in pages.items()}
    if check:
        sys.exit(new != pages)
    for path, text in new.items():
        path.write_text(text, encoding="utf-8")
    images = ROOT / "docs" / "images"
    if draw(report, images) and "first" in report["cases"]:
        first.draw(report["cases"]["first"]["rows"]).savefig(images / "first.png", dpi=110)


if __name__ == "__main__":
    main()
