"""What scipy calls: values and gradients, and what it is told where they are not finite."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, OptimizeResult

from ..problem.objective import Evaluation, Objective
from ..typing import Array

__all__ = ["ScipyFunction"]

# Told to a solver whose every evaluation so far was not finite: larger than any loss to come.
_NOTHING_FINITE_YET = 1e100
# How steeply what is told rises, in units of the slope at the last point that was finite.
_STEEPNESS = 4.0
# The least that it rises, of the gradient's length and at all: for steps across the slope.
_LEAST_SHARE, _LEAST_SLOPE = 1e-3, 1e-300
# Fields of results and of what callbacks are told that may hold what a solver was told.
_MAY_HOLD_ANSWERS = ("final_simplex", "funl", "grid_values", "population_energies")


class ScipyFunction:
    r"""An objective as scipy asks for it: ``fun``, ``jac``, ``hessp`` and ``hess`` of a flat x.

    Where the loss or its gradient at x is not finite, the solver is told another function instead,
    so that line searches and trust regions step back: with the last finite point z, the gradient g
    there and d = x - z, the parabola along d that falls from z as the loss does and is told to be

    .. math:: F + k\,m, \qquad m = \max(|g^T d|, \epsilon\,|g|\,|d|)

    at x, with the gradient :math:`(2 k + 1)\,m\,d / |d|^2` there. F is the highest loss since the
    iterate from which the solver searches. The answer rises with the distance and is steep
    everywhere: nothing about it looks like a minimum. None of it leaves this object: results,
    callbacks and the history tell what the closure gave (Note [true values]).

    Args:
        objective: evaluates the closure.

    Attributes:
        bounds: of the run.
        multipliers: how many the constraints have, once they were evaluated.
    """

    def __init__(self, objective: Objective) -> None:
        self.objective = objective
        self.bounds: Bounds | None = None
        self.multipliers: Callable[[], int] = lambda: 0
        self._told: tuple[Evaluation, float, Array | None] | None = None
        self._answers: set[float] = set()

    def fun(self, x: Array, *args: Any) -> float:
        """The loss at x; ``args`` are scipy's, meant for the user's own callables."""
        found = self._evaluate(x, "fun")
        value = found.value if found.finite else self._answer(found)[0]
        self.objective.profile.begin("solver")
        return value

    def jac(self, x: Array, *args: Any) -> Array:
        """The gradient at x; a fresh array (Note [fresh gradients])."""
        found = self._evaluate(x, "jac")
        gradient = found.gradient if found.finite else self._answer(found)[1]
        assert gradient is not None
        self.objective.profile.begin("solver")
        return gradient

    def curvature(self, name: str) -> Callable[..., Array]:
        """``hessp`` or ``hess``."""
        method: Callable[..., Array] = getattr(self.objective, name)
        return method

    def many(self, points: Array, values: Array) -> Array:
        """What the solver is told of losses that were found elsewhere, at points (S, n)."""
        self.objective.take_many(points, values)
        told = values.copy()
        for i in np.flatnonzero(~np.isfinite(values)):
            told[i] = self._above_all(points[i])
            self._answers.add(float(told[i]))
        return told

    def scrub(self, result: OptimizeResult) -> None:
        """Put NaN where a result holds what the solver was told in the place of a loss."""
        if not self._answers:
            return
        for name in _MAY_HOLD_ANSWERS:
            held = result.get(name)
            if isinstance(held, tuple):
                result[name] = tuple(_without(self._answers, array) for array in held)
            elif held is not None:
                result[name] = _without(self._answers, held)

    def _evaluate(self, x: Array, what: str) -> Evaluation:
        self.objective.profile.begin("bridge", what)
        return self.objective.evaluate(x)

    def _answer(self, found: Evaluation) -> tuple[float, Array | None]:
        """What is told instead of ``found``; the same for the value and the gradient."""
        if self._told is None or self._told[0] is not found:
            value, gradient = self._step_back(found)
            self._answers.add(value)
            self._told = found, value, gradient
        return self._told[1:]

    def _step_back(self, found: Evaluation) -> tuple[float, Array | None]:
        x, objective, last = found.x, self.objective, self.objective.last_finite
        if found.gradient is None:  # of a method that samples; the last may be a local search's
            return self._above_all(x), None
        if last is None or last.gradient is None:
            return self._above_all(x), np.zeros_like(x)
        step = x - last.x
        square = float(step @ step)
        if not 0.0 < square < math.inf:
            return self._above_all(x), last.gradient.copy()
        steepest = math.sqrt(float(last.gradient @ last.gradient) * square)
        fall = max(abs(float(last.gradient @ step)), _LEAST_SHARE * steepest, _LEAST_SLOPE)
        gradient = ((2.0 * _STEEPNESS + 1.0) * fall / square) * step
        if objective.is_restricted:
            return self._above_all(x), gradient
        return objective.level + _STEEPNESS * fall, gradient

    def _above_all(self, x: Array) -> float:
        """For solvers that compare with more than their last iterate."""
        objective = self.objective
        if objective.worst == -math.inf:
            return _NOTHING_FINITE_YET
        distance = float(np.linalg.norm(x - objective.best_x))
        length = 1.0 + float(np.linalg.norm(objective.best_x))
        farther = min(1.0 + distance / length, 1e6)
        return objective.worst + 9.0 * (objective.largest or 1.0) * farther


def _without(answers: Collection[float], held: Any) -> NDArray[Any]:
    array = np.asarray(held)
    told = np.reshape([value in answers for value in array.flat], array.shape).astype(bool)
    return np.where(told, math.nan, array) if told.any() else array
