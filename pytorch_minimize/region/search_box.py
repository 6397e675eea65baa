"""The box of finite bounds that a global optimiser searches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds
from torch import Tensor

from ..bridge.layout import parameter_names, reals
from ..bridge.vectors import clip
from ..typing import Array
from ..wording import listed

__all__ = [
    "check_box",
    "is_inside",
    "layout",
    "rounded_inwards",
    "start_inside",
    "within",
]

Layout = Sequence[tuple[str, int]]


def layout(groups: Sequence[Mapping[str, Any]], params: Sequence[Tensor]) -> Layout:
    """Name and number of variables of each parameter, in the order of the flat vector."""
    names = parameter_names(groups)
    return [(names[id(p)], reals(p)) for p in params]


def check_box(bounds: Bounds | None, layout: Layout, *, open_box: bool) -> Bounds:
    """Bounds on the flat vector, if they make a box.

    Args:
        bounds: None where there is no finite one.
        layout: says which parameter a variable belongs to.
        open_box: refuse a low that equals its high.

    Raises:
        ValueError: a bound is missing or infinite, or low and high are equal.

    Example:
        >>> bounds = Bounds([0.0, 0.0], [1.0, np.inf])
        >>> check_box(bounds, [("weight", 1), ("bias", 1)], open_box=True)
        Traceback (most recent call last):
        ...
        ValueError: bounds: expected a finite low and high for every variable; bias has 0.0 and inf
    """
    if bounds is None:
        names = listed(name for name, _ in layout)
        raise ValueError(
            f"bounds: expected a finite low and high for every variable of {names}; got none. Give "
            f"bounds=[(low, high), ...], or bounds=(low, high) in the param groups."
        )
    low, high = bounds.lb, bounds.ub
    _refuse(
        ~(np.isfinite(low) & np.isfinite(high)),
        "a finite low and high for every variable",
        bounds,
        layout,
    )
    if open_box:
        fix = "every low to be below its high (requires_grad=False fixes a parameter)"
        _refuse(low == high, fix, bounds, layout)
    return bounds


def rounded_inwards(box: Bounds, integrality: Any, layout: Layout) -> Bounds:
    """The box whose bounds are integers where the variables are; the others stay.

    differential_evolution evaluates integers, but from bounds that are none it leaves the box.

    Raises:
        ValueError: there is no integer between the bounds of some variable.
    """
    if integrality is None:
        return box
    whole = np.broadcast_to(np.asarray(integrality, dtype=bool), box.lb.shape)
    low = np.where(whole, np.ceil(box.lb), box.lb)
    high = np.where(whole, np.floor(box.ub), box.ub)
    _refuse(low > high, "an integer between the bounds (integrality)", box, layout)
    return Bounds(low, high, box.keep_feasible)


def within(own: Bounds, box: Bounds, layout: Layout) -> Bounds:
    """Where a local search may look that has bounds of its own besides the box.

    Raises:
        ValueError: nowhere, for some variable.
    """
    low, high = np.maximum(own.lb, box.lb), np.minimum(own.ub, box.ub)
    _refuse(low > high, "those in minimizer_args to meet the run's", own, layout)
    return Bounds(low, high, own.keep_feasible)


def start_inside(x: Array, box: Bounds) -> Array:
    """x in the box, and a few units in the last place away from its border.

    differential_evolution scales the box to [0, 1] and refuses a start that rounds to outside.
    """
    margin = 4 * np.finfo(np.float64).eps * np.maximum(np.abs(box.lb), np.abs(box.ub))
    margin = np.minimum(margin, (box.ub - box.lb) / 2)
    return clip(x, Bounds(box.lb + margin, box.ub - margin))


def is_inside(x: Array, box: Bounds) -> bool:
    """Whether every variable is within its bounds."""
    return bool(np.all(x >= box.lb) and np.all(x <= box.ub))


def _refuse(found: NDArray[np.bool_], expected: str, bounds: Bounds, layout: Layout) -> None:
    if not found.any():
        return
    index = first = int(np.argmax(found))
    for name, numel in layout:
        if index < numel:
            where = name if numel == 1 else f"{name}, element {index},"
            raise ValueError(
                f"bounds: expected {expected}; {where} has {bounds.lb[first]} and "
                f"{bounds.ub[first]}"
            )
        index -= numel
