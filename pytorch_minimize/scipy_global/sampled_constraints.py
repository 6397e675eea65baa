"""Constraints for algorithms that sample: the loss is asked for at feasible points alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.optimize import LinearConstraint

from ..problem.objective import Objective
from ..region.constraint_function import ConstraintFunction
from ..region.constraints import ClosureConstraint, as_list
from ..region.region import Region
from ..row import Asks
from ..typing import Array

__all__ = ["as_inequalities", "as_scipys"]

_VALUES_ONLY = Asks()


def as_scipys(objective: Objective[Array], given: Any) -> list[Any]:
    """For differential_evolution: constraints of ours as scipy's, scipy's own unchanged.

    The parameters must be at the start, where constraints of ours are run once.
    """
    constraints: list[Any] = []
    for number, constraint in enumerate(as_list(given)):
        if isinstance(constraint, ClosureConstraint):
            name = f"constraint {number}"
            function = ConstraintFunction(
                constraint, objective.evaluator, objective.consider, _VALUES_ONLY, name, Region()
            )
            constraints += function.for_scipy()
        else:
            constraints.append(constraint)
    return constraints


def as_inequalities(objective: Objective[Array], given: Any) -> list[Any]:
    """For shgo: dicts with ``fun(x) >= 0``, which are all that its sampler looks at.

    scipy would translate constraints by running them at a point that it left uninitialised.
    """
    return [_as_inequality(constraint) for constraint in as_scipys(objective, given)]


def _as_inequality(constraint: Any) -> Mapping[str, Any]:
    if isinstance(constraint, Mapping):
        return constraint

    def values_at(x: Array) -> Any:
        return constraint.A @ x if isinstance(constraint, LinearConstraint) else constraint.fun(x)

    def margins(x: Array) -> Array:
        values, low, high = np.broadcast_arrays(
            np.atleast_1d(values_at(x)), constraint.lb, constraint.ub
        )
        free = low != high  # equalities are for the local searches
        below, above = values - low, high - values
        return np.concatenate([below[free & np.isfinite(low)], above[free & np.isfinite(high)]])

    return {"type": "ineq", "fun": margins}
