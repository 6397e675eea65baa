"""The table of what `python -m bench.together` measured."""

from __future__ import annotations

from ..environment import headline
from ..together import PARTS, overhead
from .markdown import Report, markdown

__all__ = ["together"]


def together(report: Report) -> str:
    case = report["cases"]["together"]
    lines = []
    for alone, shared in zip(case["rows"][::2], case["rows"][1::2], strict=True):
        for row in (alone, shared):
            parts = [f"{row[part]:.3g}" for part in PARTS]
            least = f"{row['collectives']:.3g}" if row["collectives"] else "-"
            extra = f"{overhead(alone, shared):.0%}" if row is shared else "-"
            lines.append([row["rows"], row["processes"], *parts, least, extra])
    columns = (
        *("rows", "processes", *PARTS),
        "collectives alone",
        "overhead, of one process's closure",
    )
    load = case["environment"]["machine"]["load"]
    busy = "" if load is None else f"; the machine's load was {load:.1f}"
    runs = f"the best evaluation of {case['repeats']} runs"
    where = f"{headline(case)}; gloo, one thread a process, {runs}"
    return f"{markdown(columns, lines)}\n\n{where}{busy}."
