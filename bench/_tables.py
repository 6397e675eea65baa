"""The tables of README.md and docs/performance.md, in Markdown, from a report."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from pytorch_minimize._methods import METHODS, Method
from pytorch_minimize.report._environment import headline
from pytorch_minimize.report._overhead import FLOOR
from pytorch_minimize.report._peers import OURS, PEERS, SCIPY_PEERS
from pytorch_minimize.report._problems import FITS
from pytorch_minimize.report._rows import Figure, Row, from_json

Report = Mapping[str, Any]

SAME_LOSS = 1e-2  # relative: what counts as having reached as low a loss
TOLERATED = 1.02  # the time of a fit, relative to the fastest peer's


def markdown(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def seconds(value: float) -> str:
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if abs(value) >= scale:
            return f"{value / scale:.3g} {unit}"
    return f"{value / 1e-9:.3g} ns"


def shown(value: object, scale: float = 1.0) -> str:
    """A time with its spread, or the reason why there is none."""
    if not isinstance(value, Figure):
        return str(value)
    share = value.noise / 2 / abs(value.median) if value.median else 0.0
    return seconds(scale * value.median) + (f" ±{share:.0%}" if share >= 0.01 else "")


def rows_of(report: Report, case: str) -> list[Row]:
    return from_json(report["cases"][case]["rows"])


def source(report: Report) -> str:
    processes = report["environment"]["repeats"]
    return f"{headline(report)}; medians of {processes} processes and half their range."


def methods(report: Report) -> str:
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


def bridge(report: Report) -> str:
    columns = ("round trip", "ours", "pure Python", "two copies", "Python / ours", "ours / copies")
    rows = [
        [row["case"]]
        + [shown(row[f"{way} us"], 1e-6) for way in ("native", "python", "copies")]
        + [f"{row[r].median:.3g}" for r in ("python / native", "native / copies")]
        for row in rows_of(report, "bridge")
    ]
    return f"{markdown(columns, rows)}\n\n{source(report)}"


def overhead(report: Report) -> str:
    cases = [
        *rows_of(report, "overhead-float64"),
        *rows_of(report, "overhead-float32"),
        *rows_of(report, "overhead-tensors"),
    ]
    columns = ("n", "tensors", "dtype", "two copies", *SCIPY_PEERS)
    rows = [
        [f"{row['n']:,}", f"{row['tensors']:,}", row["dtype"]]
        + [shown(row[f"{name} us"], 1e-6) for name in (FLOOR, *SCIPY_PEERS)]
        for row in cases
    ]
    return f"{markdown(columns, rows)}\n\n{source(report)}"


def ratios(report: Report) -> str:
    """How many times the peers' overhead ours is: the least and the most over all cases."""
    cases = ("overhead-float64", "overhead-float32", "overhead-tensors")
    every = [row for case in cases for row in rows_of(report, case)]
    chosen = {
        "n = 100, 4 tensors": [r for r in every if r["n"] == 100 and r["dtype"] == "float64"],
        "1000 tensors": [r for r in every if r["tensors"] == 1000],
        "n = 1,000,000, float32": [r for r in every if r["n"] == 10**6 and r["dtype"] == "float32"],
    }
    others = [name for name in SCIPY_PEERS if name != OURS]

    def cell(rows: Sequence[Row], name: str) -> str:
        values = [row.get(f"{name} / ours") for row in rows]
        known = [v.median for v in values if isinstance(v, Figure)]
        return f"{min(known):.3g}" if known else "-"

    rows = [
        [what, shown(found[0][f"{OURS} us"], 1e-6), *(cell(found, name) for name in others)]
        for what, found in chosen.items()
        if found
    ]
    rows.append(["the least of all cases", "", *(cell(every, name) for name in others)])
    columns = ("overhead per evaluation", OURS, *(f"{name} / ours" for name in others))
    return f"{markdown(columns, rows)}\n\n{source(report)}"


def fits(report: Report) -> str:
    columns = ("problem", "by", "seconds", "/ ours", "evaluations", "final loss", "max abs grad")
    rows = []
    for problem in FITS:
        for row in rows_of(report, f"fit-{problem}"):
            first = [f"{problem}, n = {row['n']}, {row['dtype']}", row["peer"]]
            if "seconds" not in row:
                rows.append([*first, row["note"], "", "", "", ""])
                continue
            figures = [f"{row[k].median:.{digits}g}" for k, digits in _FIT_DIGITS.items()]
            rows.append(
                [*first, shown(row["seconds"]), figures[0], row["evaluations"], *figures[1:]]
            )
    return f"{markdown(columns, rows)}\n\n{source(report)}"


_FIT_DIGITS = {"/ ours": 3, "loss": 7, "gradient": 2}


def wins(report: Report) -> str:
    """Where a peer that reached as low a loss was faster than ours."""
    lines = []
    for problem in FITS:
        rows = [row for row in rows_of(report, f"fit-{problem}") if "seconds" in row]
        ours = next(row for row in rows if row["peer"] == OURS)
        limit = ours["loss"].median + SAME_LOSS * abs(ours["loss"].median)
        for row in rows:
            ratio = ours["seconds"].median / row["seconds"].median
            if ratio > TOLERATED and row["loss"].median <= limit:
                kind = "scipy's L-BFGS-B" if PEERS[row["peer"]].uses_scipy else "its own L-BFGS"
                lines.append(
                    f"- {problem}: {row['peer']} ({kind}) takes 1/{ratio:.3g} of our time, in "
                    f"{row['evaluations']} evaluations to our {ours['evaluations']}."
                )
    if not lines:
        return "No peer that reached as low a loss took less time than ours on any of the fits."
    return "A peer that reached as low a loss was faster than ours here:\n\n" + "\n".join(lines)


def memory(report: Report) -> str:
    rows = rows_of(report, "memory")
    columns = ("n", "by", "MB beyond the model", "float64 vectors", "vectors beyond scipy's own")
    lines = [
        [f"{row['n']:,}", row["peer"]]
        + (
            [f"{row[k].median:.3g}" for k in ("MB", "vectors", "vectors beyond scipy")]
            if "MB" in row
            else [row["note"], "", ""]
        )
        for row in rows
    ]
    return f"{markdown(columns, lines)}\n\n{headline(report)}; each in its own process."


def fixed(report: Report) -> str:
    rows = [[row["what"], shown(row["us"], 1e-6)] for row in rows_of(report, "fixed")]
    return f"{markdown(('what', 'costs'), rows)}\n\n{source(report)}"


def parts(report: Report) -> str:
    columns = ("per evaluation", "n", "closure", "bridge and bookkeeping", "scipy")
    rows = [
        [row["method"], f"{row['n']:,}"]
        + [shown(row[f"{part} ms"], 1e-3) for part in ("closure", "bridge", "solver")]
        for row in rows_of(report, "parts")
    ]
    return f"{markdown(columns, rows)}\n\n{source(report)}"


def contention(report: Report) -> str:
    rows = [
        [row["peer"], shown(row["seconds"]), row["evaluations"], f"{row['loss'].median:.6g}"]
        for row in rows_of(report, "contention")
    ]
    threads = report["cases"]["contention"]["threads"]["torch"]
    columns = (f"200 iterations, {threads} torch threads", "seconds", "evaluations", "final loss")
    return f"{markdown(columns, rows)}\n\n{source(report)}"


def products(report: Report) -> str:
    ways = ("graph", "replay", "vhp", "hvp")
    rows = [
        [row["model"], f"{row['n']:,}", *(f"{row[way].median:.3g}" for way in ways)]
        for row in rows_of(report, "products")
    ]
    columns = ("one Hessian product, in gradients", "n", *ways)
    return f"{markdown(columns, rows)}\n\n{source(report)}"


def vectorized(report: Report) -> str:
    columns = ("evaluations per second", "n", "closure", "vectorized", "ratio", "ratio with scipy")
    rows = [
        [row["model"], row["n"]]
        + [f"{row[k].median:,.0f}" for k in ("evaluations/s", "evaluations/s, vectorized")]
        + [f"{row[k].median:.3g}" for k in ("evaluation ratio", "run ratio")]
        for row in rows_of(report, "vectorized")
    ]
    return f"{markdown(columns, rows)}\n\n{source(report)}"


def bookkeeping(report: Report) -> str:
    columns = ("beside a closure of 1 ms, per iteration", "with", "takes", "percent of the run")
    rows = [
        [row["method"], row["with"], shown(row["us"], 1e-6), f"{row['percent'].median:.2g}"]
        for row in rows_of(report, "bookkeeping")
    ]
    return f"{markdown(columns, rows)}\n\n{source(report)}"


_OVERHEAD = {"overhead-float64", "overhead-float32", "overhead-tensors"}
_FITS = {f"fit-{problem}" for problem in FITS}

TABLES: Mapping[str, tuple[set[str], Callable[[Report], str]]] = {
    "methods": (set(), methods),
    "bridge": ({"bridge"}, bridge),
    "overhead": (_OVERHEAD, overhead),
    "ratios": (_OVERHEAD, ratios),
    "fits": (_FITS, fits),
    "wins": (_FITS, wins),
    "memory": ({"memory"}, memory),
    "fixed": ({"fixed"}, fixed),
    "parts": ({"parts"}, parts),
    "contention": ({"contention"}, contention),
    "bookkeeping": ({"bookkeeping"}, bookkeeping),
    "vectorized": ({"vectorized"}, vectorized),
    "products": ({"products"}, products),
}
"""What each table needs of the report, and what makes it."""
