"""Draws a trip and a fit from what bench/gpu.py wrote; nothing where matplotlib is missing.

python -m bench.card.pictures FOLDER
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["main"]

_STYLES: dict[str, dict[str, Any]] = {
    "ours": {"color": "#000000", "marker": "o", "linewidth": 2.2},
    "direct": {"color": "#c51b7d", "marker": "s"},
    "floor": {"color": "#555555", "linestyle": "--"},
    "floor float32": {"color": "#a6a6a6", "linestyle": ":"},
    "foreach": {"color": "#01665e", "marker": "D"},
    "python": {"color": "#8c510a", "marker": "v"},
}
_PARTS = {"bridge ms": "#000000", "curvature ms": "#a6a6a6", "solver ms": "#d9d9d9"}


def trips(axes: Axes, rows: Sequence[dict[str, Any]], tensors: int) -> None:
    shown = [row for row in rows if row["tensors"] == tensors]
    for name, style in _STYLES.items():
        points = [(row["n"], row[name]) for row in shown if name in row]
        if points:
            axes.loglog(*zip(*points, strict=True), label=name, **style)
    axes.set(xlabel="variables", ylabel="ms, both ways", title=f"{tensors} tensors")


def fits(axes: Axes, rows: Sequence[dict[str, Any]]) -> None:
    shown = [row for row in rows if "outside ms" in row]
    left = [0.0] * len(shown)
    names = [row["method"] for row in shown]
    for part, colour in _PARTS.items():
        widths = [row.get(part, 0.0 if part != "solver ms" else row["outside ms"]) for row in shown]
        axes.barh(names, widths, left=left, color=colour, edgecolor="black", label=part)
        left = [a + b for a, b in zip(left, widths, strict=True)]
    axes.set(xlabel="ms an iteration outside the closure", xscale="log")


def main(argv: Sequence[str] | None = None) -> int:
    [name] = sys.argv[1:] if argv is None else argv
    folder = Path(name)
    try:
        from matplotlib.figure import Figure
    except ImportError:
        print("matplotlib is not installed: no pictures")
        return 0
    report = json.loads((folder / "gpu.json").read_text(encoding="utf-8"))
    counts = sorted({row["tensors"] for row in report.get("trips", [])})
    canvas = Figure(figsize=(5 * (len(counts) + 1), 4.5), layout="constrained")
    panels = canvas.subplots(1, len(counts) + 1, squeeze=False)[0]
    for axes, tensors in zip(panels[:-1], counts, strict=True):
        trips(axes, report["trips"], tensors)
        axes.legend()
    if report.get("fits"):
        fits(panels[-1], report["fits"])
        panels[-1].legend()
    canvas.savefig(folder / "gpu.png", dpi=110)
    print("wrote gpu.png")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
