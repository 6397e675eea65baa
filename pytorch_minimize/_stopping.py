"""How a run can end before scipy would end it."""

from __future__ import annotations

import math
from enum import Enum
from typing import TYPE_CHECKING, Any

from scipy.optimize import OptimizeResult

if TYPE_CHECKING:
    from ._objective import Array, Objective

__all__ = ["Ending", "Stopped"]


class Ending(Enum):
    """Why we ended a run: ``res.status``, ``res.success`` and ``res.message``.

    The numbers of the first two are scipy's own; the others are above all of scipy's.
    """

    ITERATIONS = 1, False, "Maximum number of iterations has been exceeded."
    CALLBACK = 99, False, "`callback` raised `StopIteration`."
    TIMEOUT = 101, False, "The time limit has been reached (timeout)."
    EVALUATIONS = 102, False, "The limit on evaluations has been reached (max_evaluations)."
    STALLED = 103, True, "The loss falls by less than rtol over ten iterations."
    BROKEN_DOWN = 104, False, "The method broke down: it asked for the loss at a point with NaN."

    def __init__(self, status: int, success: bool, message: str) -> None:
        self.status, self.success, self.message = status, success, message


class Stopped(Exception):
    """Raised through scipy to end a run; never reaches the user.

    Args:
        ending: why.
        x: the iterate to end at, or None for the best point seen.
        nit: iterations so far.
    """

    def __init__(self, ending: Ending, x: Array | None, nit: int) -> None:
        super().__init__(ending.message)
        self.ending, self.x, self.nit = ending, x, nit

    def result(self, objective: Objective) -> OptimizeResult:
        """What scipy would have returned there; costs no evaluation at a point that is known."""
        x = objective.best_x if self.x is None else self.x
        objective.before_evaluation = None  # over is over
        value = objective.known_value(x)
        if math.isnan(value):  # COBYLA of scipy 1.15 tells of points that it did not evaluate
            value = objective.fun(x)
        fields: dict[str, Any] = {"x": x.copy(), "fun": value}
        gradient = objective.known_gradient(x)
        if gradient is not None:
            fields["jac"] = gradient
        return OptimizeResult(
            success=self.ending.success,
            status=self.ending.status,
            message=self.ending.message,
            nit=self.nit,
            nfev=objective.evaluations,  # what was refused is none
            njev=objective.profile.counts.get("jac", 0),
            **fields,
        )
