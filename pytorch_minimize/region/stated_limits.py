"""Limits as users write them: numbers that are numbers, flags that are flags, pairs of scipy."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ..wording import shown

__all__ = ["as_flags", "looks_like_pairs", "numbers"]


def as_flags(value: Any, what: str) -> NDArray[np.bool_]:
    """``keep_feasible``, which numpy would read as True whatever it is."""
    array = np.asarray(value)
    if array.dtype.kind != "b" and not (array.dtype.kind in "iu" and np.isin(array, (0, 1)).all()):
        raise TypeError(f"{what}: expected True or False, or an array of them, got {shown(value)}")
    return array.astype(bool)


def numbers(value: Any) -> NDArray[np.float64]:
    """A fresh float64 array; numpy would read the string "1" as a number."""
    array = np.asarray(value)
    if array.dtype.kind not in "biufO":
        raise TypeError
    return np.array(array, dtype=np.float64)


def looks_like_pairs(given: Sequence[Any]) -> bool:
    """Whether bounds of a group are scipy's pairs, and not a low and a high of several numbers.

    Read as pairs, every low is at most its high, and not all are equal. A tuple of two different
    lists is how one writes a low and a high.
    """
    if not given or not all(_is_pair(pair) for pair in given):
        return False
    lows = np.array([-np.inf if low is None else low for low, _ in given], dtype=np.float64)
    highs = np.array([np.inf if high is None else high for _, high in given], dtype=np.float64)
    if len(given) != 2 or any(None in pair for pair in given):
        return True
    as_low_and_high = isinstance(given, tuple) and all(isinstance(side, list) for side in given)
    return bool(
        (lows <= highs).all()
        and (lows < highs).any()
        and not (as_low_and_high and given[0] != given[1])
    )


def _is_pair(value: Any) -> bool:
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        return False
    return all(
        limit is None or isinstance(limit, Real) or (isinstance(limit, Tensor) and not limit.ndim)
        for limit in value
    )
