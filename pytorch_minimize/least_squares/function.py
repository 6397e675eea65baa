"""What scipy's least_squares calls: residuals, Jacobians, and what it is told instead of NaN."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.optimize import OptimizeResult
from scipy.sparse.linalg import LinearOperator

from ..bridge.vectors import as_vector, same_values
from ..problem.evaluation import Evaluation
from ..problem.objective import Objective
from ..run.endings import USERS_JAC, Ending
from ..run.watch import Watch
from ..scipy_minimize.function import Stopped
from ..typing import Array
from .evaluator import ResidualEvaluator

__all__ = ["ResidualFunction", "ResidualOperator"]

# By how much what is told instead of NaN is longer than the longest residuals so far.
_FAR = 1e3


class ResidualFunction:
    """Residuals and Jacobians of a flat x, as scipy asks for them.

    An iteration of scipy's three methods ends where they ask for the Jacobian at a new point; that
    is where limits, history and the user's callback hear of it, whichever scipy runs.

    Args:
        objective: files what the closure gives.
        watch: of the run; asked before each evaluation, told of each iterate.
        evaluator: of the run, which the objective has.
        as_operator: J is handed over as products alone.
        answers: residuals that are not finite are told as large ones, for a solver that would
            not step back from NaN.
        users: the user's own Jacobian of (x, ...); None for autograd's.
    """

    def __init__(
        self,
        objective: Objective[Array],
        watch: Watch[Array],
        evaluator: ResidualEvaluator[Array],
        *,
        as_operator: bool = False,
        answers: bool = False,
        users: Callable[..., Any] | None = None,
    ) -> None:
        self._objective, self._watch, self._evaluator = objective, watch, evaluator
        self._as_operator, self._answers, self._users = as_operator, answers, users
        self._begin = evaluator.profile.begin
        self._longest = 0.0
        self._told = evaluator.x  # the last iterate

    def fun(self, x: Array, *args: Any, **kwargs: Any) -> Array:
        """The residuals at x, a fresh array."""
        self._begin("bridge", "fun")
        found = self._evaluate(as_vector(x))
        values = self._evaluator.values
        if values is None:  # the closure gave none there, or the parameters have moved on
            values = self._evaluator.values_at(found.x)
        residuals = self._instead(values, finite=found.finite)
        self._begin("solver")
        return residuals

    def jac(self, x: Array, *args: Any, **kwargs: Any) -> Any:
        """The Jacobian at x, which the solver has come to."""
        x = as_vector(x)
        self._begin("bridge")
        jacobian = self._autograds(x) if self._users is None else self._given(x, args, kwargs)
        self._tell(x)
        self._begin("solver")
        return jacobian

    def _autograds(self, x: Array) -> Any:
        """The Jacobian out of the closure's graph."""
        evaluator, matrix = self._evaluator, not self._as_operator
        known = evaluator.linearised
        if known is None or not same_values(x, known.x):
            evaluator.profile.count("jac")
        found = evaluator.linearise(x, matrix=matrix)
        self._require_finite(found.finite)
        if not matrix:
            return ResidualOperator(evaluator, found.x, found.residuals.size)
        if not evaluator.loss.is_linear:
            # scipy writes the weights of the rows into it.
            evaluator.linearised = replace(found, jacobian=None)
        return found.jacobian

    def _given(self, x: Array, args: Any, kwargs: Any) -> Any:
        """The user's own Jacobian."""
        users = self._users
        assert users is not None
        self._evaluator.profile.count(USERS_JAC)
        run = self._evaluator.guard.run
        jacobian = run("curvature", None, lambda: users(x.copy(), *args, **kwargs))
        self._evaluator.take(x, jacobian)
        return jacobian

    def callback(self, intermediate_result: OptimizeResult) -> None:
        """An iterate, where scipy takes differences and no Jacobian is asked for."""
        self._begin("bridge")
        self._tell(as_vector(intermediate_result["x"]))
        self._begin("solver")

    def _evaluate(self, x: Array) -> Evaluation[Array]:
        found = self._objective.evaluate(x.copy(), self._permit)
        if not found.finite and self._objective.last_finite is None:
            raise Stopped(Ending.NONFINITE)  # at the start, from which there is no step back
        if not found.finite and np.isnan(found.x).any():
            raise Stopped(Ending.BROKEN_DOWN)
        return found

    def _permit(self) -> None:
        ending = self._watch.due() if self._watch.looks else None
        if ending is not None:
            raise Stopped(ending)

    def _instead(self, values: Array | None, *, finite: bool) -> Array:
        """Residuals that the solver is told."""
        if values is None:
            values = np.full(self._evaluator.count or 1, math.nan)
        if not self._answers:
            return values.copy()  # scipy writes a robust loss's weights into it
        if np.isfinite(values).all():
            self._longest = max(self._longest, float(np.abs(values).max()))
            return values.copy()
        return np.full(values.size, _FAR * (self._longest or 1.0))

    def _require_finite(self, finite: bool) -> None:
        """End where a Jacobian is not finite: the solver is there already, and cannot go back.

        Raises:
            Stopped: with the best point.
        """
        if finite:
            return
        self._objective.note_nonfinite(
            "a Jacobian with NaN or inf", "nothing: the run ends at the best point", False
        )
        raise Stopped(Ending.NONFINITE)

    def _tell(self, x: Array) -> None:
        """The solver is at x: an iterate, unless it was there before."""
        if not same_values(x, self._told):
            told = OptimizeResult(x=x, nit=self._watch.nit + 1, nfev=self._objective.evaluations)
            found = self._objective.known(x)
            if found is not None:
                told["cost"] = found.value
            ending = self._watch.iteration(x, told)
            if ending is not None:
                raise Stopped(ending, x.copy())
        self._told = x.copy()


class ResidualOperator(LinearOperator):  # type: ignore[misc]
    """J at one point as products, J v by jvp and J'u by vjp; no matrix.

    Where the solver has gone on to a trial point meanwhile, the closure runs here once more.

    Args:
        evaluator: of the run, and of no use after it.
        x: the point.
        count: m.
    """

    def __init__(self, evaluator: ResidualEvaluator[Array], x: Array, count: int) -> None:
        self._evaluator, self._x = evaluator, x
        super().__init__(np.dtype(np.float64), (count, x.size))

    def _matvec(self, v: Array) -> Array:
        return self._evaluator.product(self._x, as_vector(v))

    def _rmatvec(self, u: Array) -> Array:
        return self._evaluator.transposed_product(self._x, as_vector(u))
