"""The tables of what bench.pinn, bench.iterations, bench.limited and bench.fits measured."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from ..environment import headline
from ..rows import Row
from .markdown import Report, markdown, rows_of

__all__ = ["iterations", "limited", "pinn", "races", "redrawn"]


def _values(rows: Sequence[Row], key: str) -> list[str]:
    return list(dict.fromkeys(row[key] for row in rows))


def pinn(report: Report) -> str:
    """Medians over the starts."""
    rows = rows_of(report, "pinn")
    problems = _values(rows, "problem")
    lines = []
    for solver in _values(rows, "solver"):
        line = [solver]
        for problem in problems:
            mine = [row for row in rows if (row["solver"], row["problem"]) == (solver, problem)]
            loss, error = (
                statistics.median(row[key] for row in mine) for key in ("loss", "relative L2")
            )
            line.append(f"{loss:.1e} / {error:.1e}")
        all_of_it = [row["evaluations an iteration"] for row in rows if row["solver"] == solver]
        lines.append([*line, f"{max(all_of_it):.2f}"])
    columns = ("loss / relative L2", *problems, "evaluations an iteration, at most")
    starts = len(_values(rows, "seed"))
    where = headline(report["cases"]["pinn"])
    return f"{markdown(columns, lines)}\n\n{where}; medians of {starts} starts."


def redrawn(report: Report) -> str:
    """The worst and the best start, as the errors of warm runs in units of cold ones."""
    rows = report["cases"]["pinn"]["redrawn"]
    lines = []
    for problem in _values(rows, "problem"):
        for solver in _values(rows, "solver"):
            mine = [row for row in rows if (row["solver"], row["problem"]) == (solver, problem)]
            warm, cold = (
                [row["relative L2"] for row in mine if row["start"] == start]
                for start in ("warm", "cold")
            )
            ratios = [a / b for a, b in zip(warm, cold, strict=True)]
            medians = [f"{statistics.median(errors):.1e}" for errors in (warm, cold)]
            lines.append([problem, solver, *medians, f"{min(ratios):.2g} to {max(ratios):.2g}"])
    columns = ("relative L2", "solver", "warm", "cold", "warm / cold")
    return markdown(columns, lines)


def iterations(report: Report) -> str:
    case = report["cases"]["iterations"]
    lines = []
    for row in case["rows"]:
        shares = [row.get(key) for key in ("of 24 n^2 copied", "of 8 n^2 copied")]
        cells = ["" if share is None else f"{share:.2f}" for share in shares]
        name, times = row["solver"], row["times scipy"]
        lines.append([row["n"], name, f"{row['ms']:.3g}", f"{times:.3g}", *cells])
    columns = (
        "n",
        "outside the closure",
        "ms an iteration",
        "times as fast as scipy",
        "of copying 24 n² bytes",
        "of copying 8 n² bytes",
    )
    return f"{markdown(columns, lines)}\n\n{_where(case, 'the shortest of three runs')}"


def limited(report: Report) -> str:
    """Iterations of limited memory."""
    case = report["cases"]["limited"]
    keys = ("ms", "of scipy", "of torch.optim.LBFGS", "vectors copied")
    lines = [
        [f"{row['n']:,}", row["solver"], *(f"{row[key]:.3g}" for key in keys)]
        for row in case["rows"]
    ]
    columns = (
        "n",
        "outside the closure",
        "ms an iteration",
        "of scipy's",
        "of torch.optim.LBFGS's",
        "in vectors copied",
    )
    return f"{markdown(columns, lines)}\n\n{_where(case, 'the shortest of some runs')}"


def races(report: Report) -> str:
    """Seconds to the same loss: a line for each contestant, a column for each problem."""
    case = report["cases"]["fits"]
    rows = case["rows"]
    problems = _values(rows, "problem")
    lines = []
    for contestant in _values(rows, "contestant"):
        mine = {row["problem"]: row for row in rows if row["contestant"] == contestant}
        lines.append([contestant, *(_raced(mine[problem]) for problem in problems)])
    to_reach = {row["problem"]: f"{row['loss to reach']:.4g}" for row in rows}
    columns = ("seconds (evaluations)", *(f"{name}: {to_reach[name]}" for name in problems))
    return f"{markdown(columns, lines)}\n\n{_where(case, 'medians of the rounds')}"


def _raced(row: Row) -> str:
    if "seconds" not in row:
        return str(row.get("note", "-"))
    return f"{row['seconds']:.3g} ({row['evaluations']})"


def _where(case: Row, how: str) -> str:
    load = case["environment"]["machine"]["load"]
    busy = "" if load is None else f"; the machine's load was {load:.1f}"
    return f"{headline(case)}; {case['threads']} threads, {how}{busy}."
