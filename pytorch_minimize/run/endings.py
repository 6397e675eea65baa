"""How a run can end before its solver would end it, or other than that says."""

from __future__ import annotations

import math
from enum import Enum
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.optimize import OptimizeResult

from ..bridge.vectors import same_values

if TYPE_CHECKING:
    from ..problem.objective import Objective
    from ..typing import Array

__all__ = ["USERS_HESS", "USERS_JAC", "Ending", "ended", "leave"]

# What the profile counts calls of the user's own derivatives as.
USERS_JAC, USERS_HESS = "users_jac", "users_hess"


class Ending(Enum):
    """Why we ended a run: ``res.status``, ``res.success`` and ``res.message``.

    The numbers of the first two are scipy's own; the others are above all of scipy's.
    """

    FIXED = 0, True, "Every variable is fixed by its bounds."
    ITERATIONS = 1, False, "Maximum number of iterations has been exceeded."
    CALLBACK = 99, False, "`callback` raised `StopIteration`."
    TIMEOUT = 101, False, "The time limit has been reached (timeout)."
    EVALUATIONS = 102, False, "The limit on evaluations has been reached (max_evaluations)."
    STALLED = 103, True, "The loss falls by less than rtol over ten iterations."
    BROKEN_DOWN = 104, False, "The method broke down: it asked for the loss at a point with NaN."
    NONFINITE = (
        105,
        False,
        "The method ended where the loss or its gradient is not finite; the parameters are set to "
        "the best point.",
    )
    UNSURE = (
        106,
        False,
        "The last iteration met a loss or gradient that is not finite, so that the method's test "
        "of convergence says nothing.",
    )
    HOPELESS = (
        107,
        False,
        "The loss is above the median of other runs' at the same iteration (hopeless_after).",
    )
    RAISED = 108, False, "The step was ended by an exception; x is the best point seen."

    def __init__(self, status: int, success: bool, message: str) -> None:
        self.status, self.success, self.message = status, success, message

    def mark(self, res: OptimizeResult) -> None:
        """State in a result that the run ended so."""
        res.status, res.success, res.message = self.status, self.success, self.message


# The fields that speak of the point of a result; the most are trust-constr's.
_OF_THE_POINT = (
    *("grad", "lagrangian_grad", "constr", "jac", "v", "optimality", "constr_violation"),
    *("tr_radius", "barrier_parameter"),
)


def ended(
    ending: Ending,
    objective: Objective[Array],
    fields: tuple[str, ...],
    *,
    x: Array | None,
    nit: int,
    state: OptimizeResult | None = None,
) -> OptimizeResult:
    """What the solver would have returned where we end a run, as far as it is known.

    Args:
        ending: why.
        objective: of the run.
        fields: what scipy's result of the method has besides what all have.
        x: the iterate to end at, or None for the best point seen.
        nit: iterations so far.
        state: the last that a method told which tells its callback a whole result.
    """
    x = objective.best_x if x is None else x
    found = objective.known(x) or objective.evaluate(x)
    res = OptimizeResult() if state is None else OptimizeResult(state)
    if state is not None and not same_values(x, np.asarray(res.x)):
        leave(res)
    here = objective.evaluator.known(x)
    gradient = None if here is None else here.gradient
    counts = objective.evaluator.profile.counts
    violation = objective.violation_at(x)
    known: dict[str, Any] = {
        "njev": counts.get("jac", 0) + counts.get(USERS_JAC, 0),
        "nhev": counts.get("hess", 0) + counts.get("hessp", 0) + counts.get(USERS_HESS, 0),
        "jac": gradient,
        "grad": gradient,
        "maxcv": violation,
        "constr_violation": violation,
    }
    res |= {name: known[name] for name in fields if known.get(name) is not None}
    space = objective.evaluator.space
    x = x if space.waits else space.copy(x)  # where points are compared by who they are
    res |= {"x": x, "fun": found.value, "nit": nit, "nfev": objective.evaluations}
    ending.mark(res)
    return res


def leave(res: OptimizeResult) -> None:
    """Put NaN where a result speaks of its own point, at which the run is not to end."""
    for name in _OF_THE_POINT:
        if res.get(name) is not None:
            res[name] = _spoilt(res[name])


def _spoilt(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_spoilt(inner) for inner in value]
    return value * math.nan
