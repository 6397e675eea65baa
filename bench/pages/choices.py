"""The tables of docs/which-method.md, of what `python -m bench.choices` measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from ..choices import LEAVES
from ..environment import headline
from ..rows import Row
from .markdown import Report, markdown

__all__ = ["CHOICES"]


def _of(report: Report, leaf: str) -> list[Row]:
    return [row for row in report["cases"]["choices"]["rows"] if row["leaf"] == leaf]


def counts(report: Report, leaf: str) -> str:
    """Those that arrive first, by what they ask for in all; then the others."""
    rows = sorted(
        _of(report, leaf),
        key=lambda row: (not row["reached"], row["runs"] + row["products"], row["loss"]),
    )
    with_products = any(row["products"] for row in rows)
    lines = []
    for row in rows:
        asked = [row["runs"], row["products"] or "-"] if with_products else [row["runs"]]
        ended = "reached" if row["reached"] else f"not reached, {row['loss']:.7g}"
        lines.append([row["solver"], *asked, ended])
    columns = ["", "runs of the closure", *(["products"] if with_products else []), "loss"]
    return markdown(columns, lines)


def noise(report: Report, leaf: str) -> str:
    rows = sorted(_of(report, leaf), key=lambda row: float(row["loss"]))
    lines = [[row["solver"], row["runs"], f"{row['loss']:.1e}"] for row in rows]
    return markdown(["", "runs of the closure", "true loss at the end"], lines)


def wide(report: Report) -> str:
    rows = _of(report, "wide")
    first = rows[0]["ms"]
    lines = [
        [
            row["solver"],
            f"{row['ms'] / first:.2f}",
            "-" if row["vectors"] is None else f"{row['vectors']:.1f}",
        ]
        for row in rows
    ]
    columns = ["", f"time of an iteration, in {rows[0]['solver']}'s", "vectors of length n"]
    return f"{markdown(columns, lines)}\n\n{headline(report['cases']['choices'])}."


CHOICES: Mapping[str, tuple[set[str], Callable[[Report], str]]] = {
    **{
        f"choice_{leaf}": ({"choices"}, partial(noise if leaf == "noise" else counts, leaf=leaf))
        for leaf in LEAVES
    },
    "choice_wide": ({"choices"}, wide),
}
