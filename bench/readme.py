"""Write the README's tables: the methods from the method table, the figures from bench/results.

    python bench/readme.py [--check]

Each table stands between two comments, <!-- NAME --> and <!-- /NAME -->. With --check nothing is
written, and the exit status tells whether anything would have changed.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pytorch_minimize._methods import METHODS, Method

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "bench" / "results"


def markdown(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table in Markdown."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def methods() -> str:
    def row(method: Method) -> Sequence[object]:
        return (
            f"`{method.name}`",
            "yes" if method.gradient else "-",
            " or ".join(method.curvature) or "-",
            "yes" if method.bounds else "-",
            "yes" if method.constraints else "-",
        )

    columns = ("method", "gradient", "curvature", "bounds", "constraints")
    return markdown(columns, [row(method) for method in METHODS.values()])


def _report(name: str) -> tuple[list[Mapping[str, Any]], str]:
    report = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    here = report["environment"]
    versions, machine = here["versions"], here["machine"]
    return report["rows"], (
        f"\n\n{machine['cpu']}, {machine['cores']} cores, torch {versions['torch']}, "
        f"scipy {versions['scipy']}, {here['date'][:10]}; `python bench/{name}.py`."
    )


def _seconds(value: float) -> str:
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if value >= scale:
            return f"{value / scale:.3g} {unit}"
    return f"{value / 1e-9:.3g} ns"


def bridge() -> str:
    rows, source = _report("bridge")
    columns = ("round trip", "ours", "pure Python", "two copies", "Python / ours", "ours / copies")
    return (
        markdown(
            columns,
            [
                [
                    row["case"],
                    _seconds(row["native"]),
                    _seconds(row["python"]),
                    _seconds(row["copies"]),
                    f"{row['python / native']:.1f}",
                    f"{row['native / copies']:.2f}",
                ]
                for row in rows
            ],
        )
        + source
    )


def curvature() -> str:
    rows, source = _report("curvature")
    ways = ("graph", "replay", "vhp", "hvp")
    products = [row for row in rows if "gradient ms" in row]
    return (
        markdown(
            ("one Hessian product, in gradients", "n", *ways),
            [[row["model"], row["n"], *(f"{row[way]:.2f}" for way in ways)] for row in products],
        )
        + source
    )


def fits() -> str:
    rows, source = _report("fit")
    parts = [row for row in rows if "bridge/solver" in row]
    columns = ("ms per evaluation", "n", "closure", "bridge and bookkeeping", "scipy")
    return (
        markdown(
            columns,
            [
                [row["method"], row["n"]]
                + [f"{row[part]:.3g}" for part in ("closure ms", "bridge ms", "solver ms")]
                for row in parts
            ],
        )
        + source
    )


def vectorized() -> str:
    rows, source = _report("vectorized")
    columns = ("evaluations per second", "n", "closure", "vectorized", "ratio", "ratio with scipy")
    return (
        markdown(
            columns,
            [
                [
                    row["model"],
                    row["n"],
                    f"{row['evaluation']:,.0f}",
                    f"{row['evaluation, vectorized']:,.0f}",
                    f"{row['evaluation ratio']:.1f}",
                    f"{row['run ratio']:.1f}",
                ]
                for row in rows
            ],
        )
        + source
    )


TABLES: Mapping[str, Callable[[], str]] = {
    "methods": methods,
    "bridge": bridge,
    "curvature": curvature,
    "fits": fits,
    "vectorized": vectorized,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    readme = ROOT / "README.md"
    text = old = readme.read_text(encoding="utf-8")
    for name, make in TABLES.items():
        block = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        if not block.search(text):
            raise SystemExit(f"README.md has no place for the table {name}")
        table = make()
        text = block.sub(lambda found, table=table: f"{found[1]}\n{table}\n\n{found[2]}", text)
    if check:
        sys.exit(text != old)
    readme.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
