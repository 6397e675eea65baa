"""The tables of what `python -m bench.residuals` measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..environment import headline
from ..residuals import OURS
from .markdown import Report, markdown

__all__ = ["jacobians", "nist"]

_SCIPYS = tuple(f"scipy alone, {method}" for method in OURS[:2])


def nist(report: Report) -> str:
    """Digits of parameters and of standard deviations, and evaluations."""
    case = report["cases"]["residuals"]
    columns = ("problem, start", *OURS, *_SCIPYS)
    lines = [
        [f"{row['problem']}, {row['start']}", *(_digits(row[c]) for c in (*OURS, *_SCIPYS))]
        for row in case["digits"]
    ]
    return f"{markdown(columns, lines)}\n\n{headline(case)}."


def _digits(found: Mapping[str, Any]) -> str:
    return f"{found['parameters']:.1f} / {found['deviations']:.1f} / {found['nfev']}"


def jacobians(report: Report) -> str:
    """What a Jacobian takes, in evaluations of the closure."""
    case = report["cases"]["residuals"]
    columns = ("way", "evaluations of the closure", "peak memory, in Jacobians")
    lines = [
        [
            row["way"],
            f"{row['closures']:.0f}",
            "-" if row["peak"] is None else f"{row['peak']:.2f}",
        ]
        for row in case["rows"]
    ]
    size = f"{case['rows'][0]['residuals']} residuals by {case['rows'][0]['parameters']} parameters"
    load = case["environment"]["machine"]["load"]
    busy = "" if load is None else f"; the machine's load was {load:.1f}"
    return f"{markdown(columns, lines)}\n\n{size}, one thread; {headline(case)}{busy}."
