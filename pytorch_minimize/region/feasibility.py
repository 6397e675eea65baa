"""Where the solver may look: bounds and constraints as scipy takes them, and the violation."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy.optimize import Bounds, LinearConstraint

from ..bridge.vectors import same_values
from ..problem.objective import Objective
from ..row import Method
from ..typing import Array
from .box import completer
from .constraint_function import ConstraintFunction
from .constraints import ClosureConstraint, overshoot

__all__ = ["restrict"]

# How far outside a limit still counts as feasible, relative to the limit where that is above 1.
_TOLERANCE = 1e-6


def restrict(
    objective: Objective, bounds: Bounds | None, constraints: Sequence[Any], row: Method | None
) -> tuple[list[Any], Callable[[], int]]:
    """Tell the objective where it may look.

    Returns:
        The constraints in scipy's forms, over the flat vector, and what tells how many multipliers
        they have once they have been evaluated. The parameters must be at the start: constraints
        of ours are run there once, to learn their shapes.
    """
    complete = completer(bounds)
    excesses: list[Callable[[], float | None]] = []
    if bounds is not None:
        if row is not None and row.keeps_bounds:
            objective.box = bounds.lb, bounds.ub
        else:
            excesses.append(lambda: overshoot(objective.x, bounds.lb, bounds.ub))
    prepared: list[Any] = []
    rows: list[Callable[[], int]] = []
    for number, constraint in enumerate(constraints):
        if isinstance(constraint, ClosureConstraint):
            name = f"constraint {number}"
            function = ConstraintFunction(constraint, objective, row, name, complete)
            excesses.append(function.excess)
            prepared += function.for_scipy()
            rows += [_multipliers(each) for each in function.for_scipy()]
        elif isinstance(constraint, LinearConstraint):
            excesses.append(_linear_excess(constraint, objective))
            prepared.append(constraint)
            rows.append(_multipliers(constraint))
        else:
            watched, excess, count = _watch(constraint, objective)
            rows.append(count)
            excesses.append(excess)
            prepared.append(watched)

    def violation() -> float | None:
        worst = 0.0
        for excess in excesses:
            amount = excess()
            if amount is None:
                return None
            worst = max(worst, amount)
        return worst if worst > _TOLERANCE else 0.0

    if excesses:
        objective.violation = violation
    return prepared, lambda: sum(count() for count in rows)


def _multipliers(constraint: Any, size: int = 1) -> Callable[[], int]:
    """How many multipliers the limits of a constraint have: one for each side that is one."""
    low, high, _ = np.broadcast_arrays(constraint.lb, constraint.ub, np.empty(size))
    apart = np.isfinite(low).sum() + np.isfinite(high).sum() - (low == high).sum()
    return lambda: int(apart)


def _linear_excess(constraint: LinearConstraint, objective: Objective) -> Callable[[], float]:
    return lambda: overshoot(constraint.A @ objective.x, constraint.lb, constraint.ub)


def _watch(
    constraint: Any, objective: Objective
) -> tuple[Any, Callable[[], float | None], Callable[[], int]]:
    """scipy's own constraint, unchanged but that we see the values the solver asks for."""
    if isinstance(constraint, Mapping):
        fun, lb = constraint["fun"], 0.0
        ub = 0.0 if str(constraint["type"]).lower() == "eq" else np.inf
    else:
        fun, lb, ub = constraint.fun, constraint.lb, constraint.ub
    seen: list[float] = []
    size = 0
    objective.on_leave.append(seen.clear)

    def watching(x: Array, *args: Any) -> Any:
        nonlocal size
        values = fun(x, *args)
        size = np.size(values)
        if same_values(x, objective.x):
            seen[:] = [overshoot(np.asarray(values), lb, ub)]
            objective.consider()
        return values

    def excess() -> float | None:
        return seen[0] if seen else None

    if isinstance(constraint, Mapping):
        return dict(constraint, fun=watching), excess, lambda: size
    watched = copy.copy(constraint)
    watched.fun = watching
    return watched, excess, lambda: _multipliers(constraint, size)()
