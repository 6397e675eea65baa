"""The promises about the end of a run: what the parameters, ``.grad`` and ``res`` hold."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
from scipy.optimize import OptimizeResult
from torch import Tensor

from ..bridge.interface import V
from ..bridge.space import TensorSpace
from ..problem.evaluation import Evaluation
from ..problem.objective import Objective, Where
from ..row import Habits
from ..typing import Array
from .endings import Ending, leave
from .plan import Plan

__all__ = ["cut_short", "finish", "true_end", "unknown_at"]

# If the loss fell to zero as a parabola does, the minimum would be 2 |loss| / |gradient| away. A
# point is neither solved nor flat where that is between these, in units of the larger of 1 and |x|.
_SOLVED, _FLAT = 1e-3, 1e2


def finish(objective: Objective[V], res: OptimizeResult, x0: V, plan: Plan) -> OptimizeResult:
    """Set the parameters to ``res.x`` and ``.grad`` to the gradient there; complete ``res``."""
    evaluator, region, habits = objective.evaluator, objective.region, plan.habits
    # Only of documented solvers do we know what they call an iteration.
    met_nonfinite = habits.documented and objective.recently_nonfinite > 0
    res.x = region.clip(evaluator.space.as_vector(res.x))
    true_end(objective, res, objective.best, habits)
    if objective.evaluations and not math.isfinite(res.fun):
        res.message = "No evaluation gave a finite loss."
    x = res.x
    evaluator.load(x)
    evaluator.settle()
    _complete_gradient(objective, res)
    if res.get("success") and met_nonfinite and not _is_flat(objective, res, plan):
        Ending.UNSURE.mark(res)
    if habits.documented:
        for name in habits.result:
            if name not in res:
                res[name] = _unknown(name, evaluator.bridge.numel, region)
    res.nonfinite = objective.nonfinite - objective.recovered
    res.recovered = objective.recovered
    if objective.recovered and not math.isfinite(res.fun):
        res.message += f" The closure raised {evaluator.recovered_why}"
    if plan.asks.curvature and plan.asks.positive_definite:
        res.hess_shifts = evaluator.profile.counts.get("shift", 0)
    if res.get("success") and evaluator.space.same(x, x0) and not plan.constrained:
        _warn_if_steep(objective, res, plan)
    for name, value in res.items():
        res[name] = _on_host(value)
    return res


def cut_short(
    objective: Objective[V], leaving: BaseException, plan: Plan, nit: int
) -> OptimizeResult:
    """The result of a run that an exception ended: its best point, and nothing evaluated for it."""
    best = objective.best
    res = unknown_at(np.array(objective.evaluator.space.to_host(best.x)), leaving)
    res.update(
        fun=best.value,
        nit=nit,
        nfev=objective.evaluations,
        nonfinite=objective.nonfinite - objective.recovered,
        recovered=objective.recovered,
    )
    for name in plan.habits.result:
        res[name] = _unknown(name, len(res.x), objective.region)
    return res


def unknown_at(x: Array, leaving: BaseException) -> OptimizeResult:
    """The result of a run that an exception ended, at x, where nothing else is known."""
    res = OptimizeResult(x=x, fun=math.nan)
    Ending.RAISED.mark(res)
    res.message = f"{type(leaving).__name__}: {res.message}"
    return res


def true_end(
    objective: Objective[V],
    res: OptimizeResult,
    fallback: Evaluation[V] | None,
    habits: Habits,
) -> None:
    """Let ``res.x`` and ``res.fun`` be a point and the loss that the closure gave there.

    A solver's may not be: scipy's are told other values where the closure's are not finite, and
    L-BFGS-B, ending ABNORMAL, restores x but not the loss.

    Args:
        objective: of the run.
        res: the solver's.
        fallback: where to end instead if the loss at ``res.x`` is not finite.
        habits: a documented solver that was told true values alone returns a point with its
            loss, unless a line search failed; the point may be one that we do not remember
            (COBYLA's and COBYQA's choice among those that are nearly feasible).
    """
    found = objective.known(res.x)
    trusted = habits.documented and res.get("status") not in habits.precision_lost
    if found is None and trusted and not objective.nonfinite:
        res.fun = float(np.asarray(res.fun).reshape(()))
        return
    if found is None:
        found = objective.evaluate(res.x)
    if not found.finite:
        Ending.NONFINITE.mark(res)
        if fallback is not None:
            found = fallback
    if not objective.evaluator.space.same(found.x, res.x):
        leave(res)
        res.x = objective.evaluator.space.copy(found.x)
    res.fun = found.value


def _on_host(value: Any) -> Any:
    """A field of a result; ``allvecs`` is a list."""
    if isinstance(value, list):
        return [_on_host(inner) for inner in value]
    return TensorSpace().to_host(value) if isinstance(value, Tensor) else value


def _gradient(res: OptimizeResult) -> object:
    """trust-constr's is called ``grad``, and its ``jac`` is the constraints'."""
    return res.get("grad", res.get("jac"))


def _complete_gradient(objective: Objective[V], res: OptimizeResult) -> None:
    """Let ``.grad`` and the result hold the gradient at ``res.x``, as the closure gives it."""
    evaluator = objective.evaluator
    here, given = evaluator.known(res.x), _gradient(res)
    known = None if here is None else here.gradient
    doubtful = given is not None and (objective.nonfinite > 0 or _has_nan(given))
    if known is None and evaluator.has_gradient and doubtful:
        known = objective.evaluate(res.x).gradient
    if known is None:
        evaluator.set_grads(_usable(given, evaluator.bridge.numel))
    elif doubtful:
        res["grad" if "grad" in res else "jac"] = known


def _is_flat(objective: Objective[V], res: OptimizeResult, plan: Plan) -> bool:
    """Whether the end passes a test on the gradient, which stands on true values alone."""
    here = objective.evaluator.known(res.x)
    if here is None or here.gradient is None or plan.gradient_test is None:
        return False
    leading_on = objective.region.inwards(here.gradient, res.x)
    return objective.evaluator.space.largest(leading_on) <= plan.gradient_test


def _has_nan(gradient: object) -> bool:
    """scipy's answer for variables that it removed since equal bounds fix them."""
    return isinstance(gradient, np.ndarray) and bool(np.isnan(gradient).any())


def _unknown(name: str, numel: int, region: Where) -> Any:
    """NaN of the right size: where we end a run, what only the method's own memory knows."""
    sizes = {"jac": numel, "grad": numel, "multipliers": region.count_multipliers()}
    return np.full(sizes[name], math.nan) if name in sizes else math.nan


def _usable(gradient: Any, numel: int) -> Any:
    """A gradient that a solver returned, if it is one."""
    if isinstance(gradient, np.ndarray):
        fits = gradient.shape == (numel,) and not _has_nan(gradient)
        return gradient.astype(np.float64, copy=False) if fits else None
    return gradient if isinstance(gradient, Tensor) else None


def _warn_if_steep(objective: Objective[V], res: OptimizeResult, plan: Plan) -> None:
    """A loss of small scale passes absolute tolerances wherever it is."""
    gradient = _usable(_gradient(res), objective.evaluator.bridge.numel)
    if not plan.tolerances or gradient is None:
        return
    largest = objective.evaluator.space.largest
    slope = largest(objective.region.inwards(gradient, res.x))
    length = max(1.0, largest(res.x))
    # distance = 2 |loss| / slope, in units of length; both may be tiny.
    if _SOLVED * slope * length < 2.0 * abs(res.fun) < _FLAT * slope * length:
        smaller = ", ".join(f"{name}={slope * 1e-8:.0e}" for name in plan.tolerances)
        warnings.warn(
            f"{plan.name} reports success at its start point, where the loss is {res.fun:.3g} and "
            f"the gradient is as large as {slope:.3g}: its tolerances are absolute "
            f"and this loss is small. Set options=dict({smaller}), or scale the loss up.",
            RuntimeWarning,
            stacklevel=2,
        )
