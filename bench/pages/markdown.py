"""How the figures of a report are written in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..environment import headline
from ..figure import Figure
from ..rows import Row, from_json

__all__ = ["Report", "markdown", "place", "rows_of", "seconds", "shown", "source"]

Report = Mapping[str, Any]


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
    spread = f" ±{value.share:.0%}" if value.share >= 0.005 else ""
    return seconds(scale * value.median) + spread


def rows_of(report: Report, case: str) -> list[Row]:
    return from_json(report["cases"][case]["rows"])


def place(report: Report, case: str | None) -> Report:
    """What says where a case was measured: itself, where that was apart, or its report."""
    found: Report = report["cases"].get(case, {})
    return found if "environment" in found else report


def source(report: Report, case: str | None = None) -> str:
    """Where a report was measured, or one case of it that was measured apart."""
    found = place(report, case)
    if found is not report:
        return f"{headline(found)}; one process."
    # Those that were measured: fewer than asked for, where the report was interrupted.
    processes = max(case.get("processes", 1) for case in report["cases"].values())
    return f"{headline(report)}; medians of {processes} processes, ± their noise."
