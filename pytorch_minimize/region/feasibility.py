"""From bounds and constraints as they are stated to a region."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.optimize import Bounds, LinearConstraint

from ..bridge.vectors import same_values
from ..problem.evaluator import Evaluator
from ..row import Asks
from ..typing import Array
from .constraint_function import ConstraintFunction
from .constraints import ClosureConstraint, overshoot
from .region import Region

__all__ = ["restrict"]


def restrict(
    evaluator: Evaluator[Array],
    learned: Callable[[], None],
    bounds: Bounds | None,
    constraints: Sequence[Any],
    asks: Asks,
    *,
    keeps_bounds: bool,
) -> Region:
    """The region that bounds and constraints make.

    The parameters must be at the start: constraints of ours are run there once, to learn their
    shapes.

    Args:
        evaluator: moves the parameters, also for constraints.
        learned: called when a constraint became known where they are.
        bounds: on the flat vector.
        constraints: as they are stated.
        asks: what the solver asks of them.
        keeps_bounds: the solver evaluates nowhere outside the bounds.
    """
    prepared: list[Any] = []
    excesses: list[Callable[[], float | None]] = []
    counts: list[Callable[[], int]] = []
    if bounds is not None and not keeps_bounds:
        excesses.append(lambda: overshoot(evaluator.x, bounds.lb, bounds.ub))
    region = Region(bounds, keeps_bounds and bounds is not None)
    for number, constraint in enumerate(constraints):
        if isinstance(constraint, ClosureConstraint):
            name = f"constraint {number}"
            function = ConstraintFunction(constraint, evaluator, learned, asks, name, region)
            excesses.append(function.excess)
            prepared += function.for_scipy()
            counts += [_multipliers(each) for each in function.for_scipy()]
        elif isinstance(constraint, LinearConstraint):
            excesses.append(_linear_excess(constraint, evaluator))
            prepared.append(constraint)
            counts.append(_multipliers(constraint))
        else:
            watched, excess, count = _watch(constraint, evaluator, learned)
            counts.append(count)
            excesses.append(excess)
            prepared.append(watched)
    if not excesses:
        return region
    return replace(
        region, constraints=prepared, excesses=tuple(excesses), multipliers=tuple(counts)
    )


def _multipliers(constraint: Any, size: int = 1) -> Callable[[], int]:
    """How many multipliers the limits of a constraint have: one for each side that is one."""
    low, high, _ = np.broadcast_arrays(constraint.lb, constraint.ub, np.empty(size))
    apart = np.isfinite(low).sum() + np.isfinite(high).sum() - (low == high).sum()
    return lambda: int(apart)


def _linear_excess(
    constraint: LinearConstraint, evaluator: Evaluator[Array]
) -> Callable[[], float]:
    return lambda: overshoot(constraint.A @ evaluator.x, constraint.lb, constraint.ub)


def _watch(
    constraint: Any, evaluator: Evaluator[Array], learned: Callable[[], None]
) -> tuple[Any, Callable[[], float | None], Callable[[], int]]:
    """scipy's own constraint, unchanged but that we see the values the solver asks for."""
    if isinstance(constraint, Mapping):
        fun, lb = constraint["fun"], 0.0
        ub = 0.0 if str(constraint["type"]).lower() == "eq" else np.inf
    else:
        fun, lb, ub = constraint.fun, constraint.lb, constraint.ub
    seen: list[float] = []
    size = 0
    evaluator.when_leaving(seen.clear)

    def watching(x: Array, *args: Any) -> Any:
        nonlocal size
        values = fun(x, *args)
        size = np.size(values)
        if same_values(x, evaluator.x):
            seen[:] = [overshoot(np.asarray(values), lb, ub)]
            learned()
        return values

    def excess() -> float | None:
        return seen[0] if seen else None

    if isinstance(constraint, Mapping):
        return dict(constraint, fun=watching), excess, lambda: size
    watched = copy.copy(constraint)
    watched.fun = watching
    return watched, excess, lambda: _multipliers(constraint, size)()
