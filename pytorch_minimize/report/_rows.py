"""What is measured, as rows: how those of several processes become one, and how they are shown."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

__all__ = ["Figure", "Row", "disagreements", "from_json", "merged", "table"]

Row = Mapping[str, Any]


class Figure(NamedTuple):
    """One measurement, repeated: its median, and the lowest and highest of the processes.

    Example:
        >>> print(Figure.of([1.0, 1.02, 1.1]))
        1.02 ±5%
    """

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Figure:
        return cls(statistics.median(values), min(values), max(values))

    @property
    def noise(self) -> float:
        """How far apart two processes were."""
        return self.high - self.low

    def __str__(self) -> str:
        share = self.noise / 2 / abs(self.median) if self.median else 0.0
        return f"{self.median:.4g} ±{share:.0%}" if share >= 0.005 else f"{self.median:.4g}"


def merged(runs: Sequence[Sequence[Row]]) -> list[Row]:
    """The rows of one case from several processes as one: floats were measured, the rest names it.

    Example:
        >>> merged([[{"n": 100, "us": 2.0}], [{"n": 100, "us": 3.0}]])
        [{'n': 100, 'us': Figure(median=2.5, low=2.0, high=3.0)}]
    """
    return [_one(rows) for rows in zip(*runs, strict=True)]


def _one(rows: Sequence[Row]) -> Row:
    merged_row: dict[str, Any] = {}
    for key, value in rows[0].items():
        values = [row[key] for row in rows if isinstance(row.get(key), float)]
        merged_row[key] = Figure.of(values) if isinstance(value, float) else value
    return merged_row


def from_json(rows: Iterable[Row]) -> list[Row]:
    """JSON knows no figures, only lists of three numbers."""
    return [
        {key: Figure(*value) if isinstance(value, list) else value for key, value in row.items()}
        for row in rows
    ]


def disagreements(old: Sequence[Row], new: Sequence[Row]) -> tuple[int, list[str]]:
    """How many figures two reports share, and those further apart than the noise of both."""
    count, apart = 0, []
    for before, after in zip(old, new, strict=False):
        name = ", ".join(str(value) for value in before.values() if not isinstance(value, Figure))
        for key, first in before.items():
            second = after.get(key)
            if not (isinstance(first, Figure) and isinstance(second, Figure)):
                continue
            count += 1
            if abs(first.median - second.median) > first.noise + second.noise:
                apart.append(f"{name}: {key} {first} and {second}")
    return count, apart


def table(rows: Sequence[Row]) -> str:
    """Rows as aligned text: one column per key, in the order in which keys first appear.

    Example:
        >>> print(table([{"n": 100, "ms": 0.25}, {"n": 2000, "note": "warm"}]))
        n     ms    note
        100   0.25
        2000        warm
    """
    columns = list(dict.fromkeys(key for row in rows for key in row))
    lines = [columns] + [[_cell(row.get(column, "")) for column in columns] for row in rows]
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    padded = ("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)
    return "\n".join(padded)


def _cell(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
