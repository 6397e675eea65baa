"""The pictures of a report; distinguishable without colour."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .figure import Figure
from .memory import SCIPY
from .overhead import FLOOR
from .peers import OURS, PEERS, SCIPY_PEERS, Rule
from .problems import FITS
from .rows import Row, from_json

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

__all__ = ["draw"]

Cases = Mapping[str, Sequence[Row]]

# Light to dark in grey as well; ours is the black one.
_COLOURS = ("#000000", "#8c510a", "#01665e", "#d6604d", "#4393c3", "#a6a6a6", "#c51b7d", "#b8b800")
_MARKERS = "osDv^P<>"
_STYLES: Mapping[str, Mapping[str, Any]] = {
    name: {
        "color": colour,
        "marker": marker,
        "linewidth": 2.2 if name == OURS else 1.2,
        "zorder": 3 if name == OURS else 2,  # on top of those that cost the same
    }
    for name, colour, marker in zip(PEERS, _COLOURS, _MARKERS, strict=True)
}
_PARTS: Mapping[str, Mapping[str, Any]] = {
    "closure": {"color": "#525252"},
    "bridge": {"facecolor": "white", "edgecolor": "black", "hatch": "////"},
}
_SPREAD: Mapping[str, Any] = {
    "fmt": "none",
    "ecolor": "#d00000",
    "capsize": 2.5,
    "elinewidth": 1.2,
    "zorder": 4,
}
_LINE = {"color": "#555555", "linestyle": "--", "linewidth": 1.2}


def draw(report: Mapping[str, Any], folder: Path) -> list[Path]:
    """Draw what the report has the cases for; none where matplotlib is missing."""
    try:
        from matplotlib.figure import Figure as Canvas
    except ImportError:
        print("matplotlib is not installed: no pictures (the extra 'report' has it)")
        return []
    cases = {n: from_json(case["rows"]) for n, case in report["cases"].items() if case["rows"]}
    written = []
    for name, (needed, size, picture) in _PICTURES.items():
        if needed <= cases.keys():
            canvas = Canvas(figsize=size, layout="constrained")
            picture(canvas, cases)
            written.append(folder / f"{name}.png")
            canvas.savefig(written[-1], dpi=110)
    return written


def _overhead(canvas: Canvas, cases: Cases) -> None:
    panels = {
        "overhead-float64": ("n", "float64, 4 tensors"),
        "overhead-float32": ("n", "float32, 4 tensors"),
        "overhead-tensors": ("tensors", "float32, n = {n:,}"),
    }
    all_axes = canvas.subplots(1, len(panels), sharey=True)
    for axes, (case, (along, title)) in zip(all_axes, panels.items(), strict=True):
        rows = cases[case]
        for name in SCIPY_PEERS:
            _line(axes, rows, along, f"{name} us", label=name, **_STYLES[name], markersize=4)
        _line(axes, rows, along, f"{FLOOR} us", label="two copies of the vector", **_LINE)
        axes.set(xscale="log", yscale="log", title=title.format(**rows[0]))
        axes.set_xlabel("parameters" if along == "n" else "tensors")
        axes.grid(alpha=0.3)
    all_axes[0].set_ylabel("µs per evaluation,\noutside closure and solver")
    _legend(canvas, all_axes[0], columns=4)


def _memory(canvas: Canvas, cases: Cases) -> None:
    growth, bars = canvas.subplots(1, 2, width_ratios=(1, 1.1))
    rows = [row for row in cases["memory"] if "MB" in row and row["method"] == Rule.method]
    names = list(dict.fromkeys(row["peer"] for row in rows))
    for name in names:
        style = _LINE if name == SCIPY else {**_STYLES[name], "markersize": 4}
        _line(growth, [r for r in rows if r["peer"] == name], "n", "MB", label=name, **style)
    growth.set(xscale="log", yscale="log", xlabel="parameters", ylabel="MB beyond the model")
    growth.grid(alpha=0.3)
    largest = max(row["n"] for row in rows)
    last = [row for row in rows if row["n"] == largest]
    _bars(bars, [row["peer"] for row in last], [row["vectors"] for row in last])
    scipys = [row["vectors"].median for row in last if row["peer"] == SCIPY]
    for line in scipys:
        bars.axvline(line, **_LINE)
    bars.set_xlabel(f"float64 vectors beyond the model, n = {largest:,}")
    _legend(canvas, growth, columns=5)


def _fits(canvas: Canvas, cases: Cases) -> None:
    all_axes = canvas.subplots(2, 2).flat
    for axes, problem in zip(all_axes, FITS, strict=True):
        rows = [row for row in cases[f"fit-{problem}"] if "seconds" in row]
        axes.set_title(problem, fontsize=10)
        if not rows:
            continue
        names = [_end_of_fit(row) for row in rows]
        _bars(axes, names, [row["seconds"] for row in rows], color="#d9d9d9")
        start = [0.0] * len(rows)
        for part, look in _PARTS.items():
            widths = [row[f"{part} s"].median if f"{part} s" in row else 0.0 for row in rows]
            axes.barh(names, widths, left=start, height=0.7, **look)
            start = [left + width for left, width in zip(start, widths, strict=True)]
        axes.set_xlabel(
            "time of a fit (s); dark: closure, hatched: bridge; red: least to most", fontsize=8
        )


def _end_of_fit(row: Row) -> str:
    """A peer's name, and what it came to, for the label of its bar."""
    return f"{row['peer']}\n{row['evaluations']} evaluations, loss {row['loss'].median:.5g}"


def _line(axes: Axes, rows: Sequence[Row], x: str, y: str, **style: Any) -> None:
    known = [(row[x], row[y]) for row in rows if isinstance(row.get(y), Figure)]
    if known:
        places, figures = zip(*known, strict=True)
        axes.plot(places, [figure.median for figure in figures], **style)
        axes.fill_between(
            places,
            [min(figure.values) for figure in figures],
            [max(figure.values) for figure in figures],
            color=style["color"],
            alpha=0.15,
            linewidth=0,
        )


def _bars(axes: Axes, names: Sequence[str], figures: Sequence[Figure], **style: Any) -> None:
    """Horizontal, the first on top: medians, and from the least to the most of the repeats."""
    medians = [figure.median for figure in figures]
    axes.barh(names, medians, height=0.7, **({"color": "#9e9e9e", "edgecolor": "black"} | style))
    below = [median - min(f.values) for f, median in zip(figures, medians, strict=True)]
    above = [max(f.values) - median for f, median in zip(figures, medians, strict=True)]
    axes.errorbar(medians, range(len(names)), xerr=(below, above), **_SPREAD)
    axes.invert_yaxis()
    axes.tick_params(labelsize=8)


def _legend(canvas: Canvas, axes: Axes, columns: int) -> None:
    canvas.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=columns)


_PICTURES: Mapping[str, tuple[set[str], tuple[float, float], Callable[[Canvas, Cases], None]]] = {
    "overhead": (
        {"overhead-float64", "overhead-float32", "overhead-tensors"},
        (11.0, 4.6),
        _overhead,
    ),
    "memory": ({"memory"}, (11.0, 4.2), _memory),
    "fits": ({f"fit-{problem}" for problem in FITS}, (12.0, 7.0), _fits),
}
