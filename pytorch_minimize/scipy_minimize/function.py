"""What scipy calls: values, gradients, curvature, and what it is told where there is NaN."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import OptimizeResult

from ..bridge.vectors import as_vector
from ..curvature.positive_definite import shift_to_positive_definite
from ..problem.closure_call import UsualFunction, make_usual_function
from ..problem.curved import Curved, CurvedEvaluator
from ..problem.evaluation import Evaluation
from ..problem.objective import Objective
from ..row import Asks
from ..run.endings import Ending
from ..run.watch import Watch
from ..typing import Array

__all__ = ["ScipyFunction", "Stopped", "one_at_a_time"]


# Told to a solver whose every evaluation so far was not finite: larger than any loss to come.
_NOTHING_FINITE_YET = 1e100
# How steeply what is told rises, in units of the slope at the last point that was finite.
_STEEPNESS = 4.0
# The least that it rises, of the gradient's length and at all: for steps across the slope.
_LEAST_SHARE, _LEAST_SLOPE = 1e-3, 1e-300
# Fields of results and of what callbacks are told that may hold what a solver was told.
_MAY_HOLD_ANSWERS = ("final_simplex", "funl", "grid_values", "population_energies")


class Stopped(Exception):
    """Raised through scipy to end a run; never reaches the user.

    Args:
        ending: why.
        x: the iterate to end at, or None for the best point seen.
    """

    def __init__(self, ending: Ending, x: Array | None = None) -> None:
        super().__init__(ending.message)
        self.ending, self.x = ending, x


def one_at_a_time(fun: Callable[..., Any]) -> Callable[..., Any]:
    """``fun`` for workers that call it side by side: there is one model to evaluate it on."""
    lock = threading.Lock()

    def call(*args: Any, **keywords: Any) -> Any:
        with lock:
            return fun(*args, **keywords)

    return call


class ScipyFunction:
    r"""An objective as scipy asks for it: ``fun``, ``jac``, ``hessp`` and ``hess`` of a flat x.

    All that is scipy's quirk is here. Where the loss or its gradient at x is not finite, the
    solver is told another function instead, so that line searches and trust regions step back:
    with the last finite point z, the gradient g there and d = x - z, the parabola along d that
    falls from z as the loss does and is told to be

    .. math:: F + k\,m, \qquad m = \max(|g^T d|, \epsilon\,|g|\,|d|)

    at x, with the gradient :math:`(2 k + 1)\,m\,d / |d|^2` there. F is the highest loss since the
    iterate from which the solver searches. The answer rises with the distance and is steep
    everywhere: nothing about it looks like a minimum. Where a product with the Hessian is not
    finite, or the value there is not, the Hessian of |x|^2 / 2 stands in. None of it leaves this
    object: results, callbacks and the history tell what the closure gave (Note [true values]).

    Args:
        objective: files what the closure gives.
        watch: of the run; asked before evaluations, where it may be, whether the run is to end.

    Attributes:
        answers: losses that the solver was told and that the closure did not give.
    """

    def __init__(self, objective: Objective[Array], watch: Watch[Array]) -> None:
        self.objective = objective
        self.watch = watch
        self._evaluator = objective.evaluator
        self._profile = objective.evaluator.profile
        self._begin = objective.evaluator.profile.begin
        self._locks = objective.evaluator.keeps_points
        self._same = objective.evaluator.space.same
        self._at = objective.evaluate
        self._permit = self.permit if watch.looks else None
        self._found: Evaluation[Array] | None = None
        self._keeps = True
        self._told: tuple[Evaluation[Array], float, Array | None] | None = None
        self.answers: set[float] = set()

    def fun(self, x: Array, *args: Any) -> float:
        """The loss at x; ``args`` are scipy's, meant for the user's own callables."""
        self._begin("bridge", "fun")
        value = self._value(x)
        self._begin("solver")
        return value

    def jac(self, x: Array, *args: Any) -> Array:
        """The gradient at x; a fresh array (Note [fresh gradients])."""
        self._begin("bridge", "jac")
        gradient = self._gradient(x)
        self._begin("solver")
        return gradient

    def usual(self) -> UsualFunction | None:
        """:meth:`fun` and :meth:`jac` by the extension, which asks these for what is unusual.

        None where there is more to an evaluation: bounds to keep, constraints or curvature at the
        same point, or a run of many.
        """
        objective = self.objective
        if type(objective) is not Objective or objective.region.keeps_bounds:
            return None
        permit = self.permit_awhile if self.watch.looks else None
        made = make_usual_function(self._evaluator, objective, permit, self._value, self._gradient)
        # What is asked here then is the start and little else, which would be kept to the end.
        self._keeps = made is None
        return made

    def _value(self, x: Array) -> float:
        found = self._evaluate(x)
        return found.value if found.finite else self._answer(found)[0]

    def _gradient(self, x: Array) -> Array:
        x, found = as_vector(x), self._found
        # Mostly it is there still, as the value was asked for just before.
        if found is not self._evaluator.here or found is None or not self._same(x, found.x):
            found = self._evaluate(x)
        gradient = found.gradient if found.finite else self._answer(found)[1]
        assert gradient is not None
        return gradient

    def hessp(self, x: Array, v: Array, *args: Any) -> Array:
        """H(x) v, shape (n,); a fresh array."""
        # trust-constr probes with zero vectors of int8.
        v = as_vector(v)
        self._profile.begin("bridge", "hessp")
        if v.any():
            product = self._curve(x, lambda curved, x: curved.product(x, v))
            product = v.copy() if product is None else product
        else:
            product = np.zeros_like(v)
        self._profile.begin("solver")
        return product

    def hess(self, x: Array, *args: Any) -> Array:
        """H(x), shape (n, n), symmetric; a fresh array."""
        self._profile.begin("bridge", "hess")
        hessian = self._curve(x, lambda curved, x: curved.hessian(x))
        self._profile.begin("solver")
        return np.eye(self._evaluator.bridge.numel) if hessian is None else hessian

    def curvature(self, asks: Asks) -> Callable[..., Array]:
        """The one of ``hessp`` and ``hess`` that a method asks for, as it must be."""
        if asks.curvature == "hessp":
            return self.hessp
        return self._positive_hess if asks.positive_definite else self.hess

    def _positive_hess(self, x: Array, *args: Any) -> Array:
        """H(x), shifted by a multiple of the identity where its Cholesky factorisation fails."""
        hessian = self.hess(x)
        self._profile.begin("curvature")
        hessian, shift = shift_to_positive_definite(hessian)
        self._profile.count("shift", int(shift > 0.0))
        self._profile.begin("solver")
        return hessian

    def many(self, points: Array, values: Array, recovered: int) -> Array:
        """What the solver is told of losses that were found elsewhere, at points (S, n)."""
        self.objective.observe_many(points, values, recovered)
        told = values.copy()
        for i in np.flatnonzero(~np.isfinite(values)):
            told[i] = self._above_all(points[i])
            self.answers.add(float(told[i]))
        return told

    def permit(self) -> None:
        """Before the closure is run.

        Raises:
            Stopped: the run is to end instead.
        """
        ending = self.watch.due() if self.watch.looks else None
        if ending is not None:
            raise Stopped(ending)

    def permit_awhile(self) -> tuple[float, int]:
        """:meth:`permit`; for how many seconds, and until how many evaluations, it would again."""
        self.permit()
        return self.watch.rest()

    def scrub(self, result: OptimizeResult) -> None:
        """Put NaN where a result holds what the solver was told in the place of a loss."""
        for name in _MAY_HOLD_ANSWERS:
            held = result.get(name)
            if isinstance(held, tuple):
                result[name] = tuple(_without(self.answers, array) for array in held)
            elif held is not None:
                result[name] = _without(self.answers, held)

    def _evaluate(self, x: Array) -> Evaluation[Array]:
        x = as_vector(x)
        if self._locks:  # scipy made a copy for this call, and will not write into it
            if x.base is not None:
                x = x.copy()
            x.setflags(write=False)  # a solver that breaks the promise hears of it
        found = self._at(x, self._permit)
        self._found = found if self._keeps else None
        if not found.finite and np.isnan(found.x).any():
            # No answer brings a solver back whose own arithmetic gave NaN. trust-krylov does where
            # the gradient's norm is below 1.4e-8, and would go on to maxiter.
            raise Stopped(Ending.BROKEN_DOWN)
        return found

    def _curve(
        self, x: Array, compute: Callable[[CurvedEvaluator[Array], Array], Curved[Array]]
    ) -> Array | None:
        """Curvature at x; None where it is not finite, or the value there is not."""
        curved = self._evaluator
        assert isinstance(curved, CurvedEvaluator)
        curved.guard.check()
        self.permit()
        found = compute(curved, as_vector(x))
        if found.here is not None:  # maybe of a run of the closure that was needed for this
            self.objective.observe(found.here)
        if not found.finite:
            self.objective.note_nonfinite(
                "a Hessian with NaN or inf", "that it is the identity", curved.recovered
            )
        return found.result

    def _answer(self, found: Evaluation[Array]) -> tuple[float, Array | None]:
        """What is told instead of ``found``; the same for the value and the gradient."""
        if self._told is None or self._told[0] is not found:
            value, gradient = self._step_back(found)
            self.answers.add(value)
            self._told = found, value, gradient
        return self._told[1:]

    def _step_back(self, found: Evaluation[Array]) -> tuple[float, Array | None]:
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
        if objective.region.is_restricted:
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
