"""What a saved history must be."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any

__all__ = ["COLUMNS", "check_endings", "check_history"]

COLUMNS = ("loss", "grad_norm", "step_length", "evaluations", "seconds")
"""Of a row, in this order."""
_SAVED = ("rows", "segments", "evaluations", "seconds")


def check_history(state: object) -> tuple[list[tuple[float, ...]], list[int], tuple[float, float]]:
    """Rows, segments and totals of a saved history."""
    if not isinstance(state, Mapping):
        raise TypeError(f"history: expected a dict, got {type(state).__name__}")
    missing = [name for name in _SAVED if name not in state]
    if missing:
        raise ValueError(f"history: expected {', '.join(_SAVED)}; {', '.join(missing)} missing")
    rows, segments = state["rows"], state["segments"]
    for name, value in (("rows", rows), ("segments", segments)):
        if not isinstance(value, (list, tuple)):
            raise TypeError(f"history: expected {name} to be a list, got {type(value).__name__}")
    for row in rows:
        is_row = isinstance(row, Sequence) and len(row) == len(COLUMNS)
        if not (is_row and all(map(_is_number, row))):
            raise ValueError(f"history: expected {', '.join(COLUMNS)} in a row, got {row!r}")
        if not all(map(_is_amount, row[-2:])):
            raise ValueError(f"history: expected evaluations and seconds >= 0, got {row!r}")
    begins = [0, *segments, len(rows)]
    if not all(isinstance(begin, Integral) for begin in segments) or begins != sorted(begins):
        raise ValueError(
            f"history: expected segments to be rising indices of {len(rows)} rows, got {segments}"
        )
    totals = state["evaluations"], state["seconds"]
    if not all(map(_is_amount, totals)):
        raise ValueError(f"history: expected evaluations and seconds >= 0, got {totals}")
    return [tuple(map(float, row)) for row in rows], [int(begin) for begin in segments], totals


def check_endings(state: Mapping[str, Any], steps: int) -> list[str]:
    """Why each step ended; states of older versions do not say."""
    endings = state.get("endings", [""] * steps)
    is_list = isinstance(endings, (list, tuple)) and len(endings) == steps
    if not (is_list and all(isinstance(ending, str) for ending in endings)):
        raise ValueError(
            f"history: expected endings to be a list of {steps} strings, got {endings!r}"
        )
    return list(endings)


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _is_amount(value: object) -> bool:
    return isinstance(value, Real) and _is_number(value) and 0.0 <= float(value) < math.inf
