"""What is measured, as rows: how those of several processes become one, and how they are shown."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from .figure import Figure, typical_spread

__all__ = ["Comparison", "Row", "compared", "from_json", "merged", "table", "to_json"]

Row = Mapping[str, Any]


def merged(runs: Sequence[Sequence[Row]]) -> list[Row]:
    """The rows of one case from several processes as one: floats were measured, the rest names it.

    A process that ended early has fewer rows than the others, and a peer that failed in one
    process has figures from the others.

    Example:
        >>> [row] = merged([[{"n": 100, "us": 2.0}], [{"n": 100, "us": 3.0}]])
        >>> row["n"], row["us"].values
        (100, (2.0, 3.0))
    """
    rows = [
        _together([row for row in rows if row is not None]) for rows in itertools.zip_longest(*runs)
    ]
    columns: dict[str, list[list[float]]] = defaultdict(list)
    for row in rows:
        for key, value in row.items():
            if isinstance(value, list):
                columns[key].append(value)
    typical = {key: typical_spread(column) for key, column in columns.items()}
    return [
        {
            key: Figure.of(value, typical[key]) if isinstance(value, list) else value
            for key, value in row.items()
        }
        for row in rows
    ]


def _together(rows: Sequence[Row]) -> Row:
    """One row: a list of what was measured, or what names the row."""
    found: dict[str, Any] = {}
    for key in dict.fromkeys(key for row in rows for key in row):
        values = [row[key] for row in rows if key in row]
        found[key] = [value for value in values if isinstance(value, float)] or values[0]
    return found


def to_json(rows: Iterable[Row]) -> list[Row]:
    return [
        {key: v.to_json() if isinstance(v, Figure) else v for key, v in row.items()} for row in rows
    ]


def from_json(rows: Iterable[Row]) -> list[Row]:
    return [
        {key: Figure.from_json(v) if isinstance(v, dict) else v for key, v in row.items()}
        for row in rows
    ]


class Comparison(NamedTuple):
    """Of the figures that two reports share.

    Attributes:
        agree: how many agree within their noise.
        unclear: how many are too noisy to tell, or were not repeated.
        apart: those that do not agree, in words.
    """

    agree: int
    unclear: int
    apart: list[str]


def compared(old: Sequence[Row], new: Sequence[Row]) -> Comparison:
    """Every figure that both reports have, by its row's name."""
    verdicts: Counter[bool | None] = Counter()
    apart = []
    after = {_name(row): row for row in new}
    for row in old:
        name = _name(row)
        for key, first in row.items():
            second = after.get(name, {}).get(key)
            if not (isinstance(first, Figure) and isinstance(second, Figure)):
                continue
            agreement = first.agrees(second)
            verdicts[agreement] += 1
            if agreement is False:
                apart.append(f"{name}: {key} {first} and {second}")
    return Comparison(verdicts[True], verdicts[None], apart)


def _name(row: Row) -> str:
    # Counts such as a fit's evaluations may differ from run to run, and name nothing.
    names = (value for key, value in row.items() if key not in ("evaluations", "note"))
    return ", ".join(str(value) for value in names if not isinstance(value, Figure))


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
