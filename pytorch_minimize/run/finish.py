"""The promises about the end of a run: what the parameters, ``.grad`` and ``res`` hold."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
from scipy.optimize import Bounds, OptimizeResult

from ..bridge.vectors import largest, same_values
from ..problem.objective import Evaluation, Objective
from ..scipy_minimize.arguments import Arguments
from ..scipy_minimize.function import ScipyFunction
from ..typing import Array
from .endings import Ending, Stopped, move

__all__ = ["all_fixed", "finish", "true_end"]

# If the loss fell to zero as a parabola does, the minimum would be 2 |loss| / |gradient| away. A
# point is neither solved nor flat where that is between these, in units of the larger of 1 and |x|.
_SOLVED, _FLAT = 1e-3, 1e2


def finish(
    function: ScipyFunction, res: OptimizeResult, x0: Array, arguments: Arguments
) -> OptimizeResult:
    """Set the parameters to ``res.x`` and ``.grad`` to the gradient there; complete ``res``."""
    with function.objective.without_limits():  # over is over
        return _finish(function, res, x0, arguments)


def _finish(
    function: ScipyFunction, res: OptimizeResult, x0: Array, arguments: Arguments
) -> OptimizeResult:
    objective = function.objective
    # Only of scipy's methods do we know what they call an iteration.
    met_nonfinite = arguments.row is not None and objective.recently_nonfinite > 0
    res.x = objective.within(res.x)
    true_end(function, res, _best(objective), arguments)
    if objective.evaluations and not math.isfinite(res.fun):
        res.message = "No evaluation gave a finite loss."
    x = res.x
    objective.load(x)
    objective.settle()
    _complete_gradient(objective, res)
    if res.get("success") and met_nonfinite and not _is_flat(function, res, arguments):
        Ending.UNSURE.mark(res)
    if arguments.row is not None:
        for name in arguments.result_fields:
            res.setdefault(name, _unknown(name, function))
    function.scrub(res)
    res.nonfinite = objective.nonfinite - objective.recovered
    res.recovered = objective.recovered
    if objective.recovered and not math.isfinite(res.fun):
        res.message += f" The closure raised {objective.recovered_from}"
    if arguments.curvature and arguments.row is not None and arguments.row.positive_definite:
        res.hess_shifts = objective.profile.counts.get("shift", 0)
    if res.get("success") and same_values(x, x0) and not arguments.keywords["constraints"]:
        _warn_if_steep(res, _inwards(_gradient(res), x, function.bounds), arguments)
    return res


def all_fixed(function: ScipyFunction, x: Array, arguments: Arguments) -> OptimizeResult:
    """The result where bounds leave nothing to search, for every method; scipy's COBYLA fails."""
    objective = function.objective
    function.fun(x)
    res = Stopped(Ending.FIXED, x, 0).result(objective, arguments.result_fields)
    res.success = not objective.violation_at(x) > 0.0
    return res


def true_end(
    function: ScipyFunction, res: OptimizeResult, fallback: Evaluation | None, arguments: Arguments
) -> None:
    """Let ``res.x`` and ``res.fun`` be a point and the loss that the closure gave there.

    scipy's may not be: it was told other values where the closure's were not finite, and L-BFGS-B,
    ending ABNORMAL, restores x but not the loss.

    Args:
        function: of the run.
        res: scipy's.
        fallback: where to end instead if the loss at ``res.x`` is not finite.
        arguments: a method of scipy's that was told true values alone returns a point with its
            loss, unless a line search failed; the point may be one that we do not remember
            (COBYLA's and COBYQA's choice among those that are nearly feasible).
    """
    objective = function.objective
    found = objective.known(res.x)
    row = arguments.row
    trusted = row is not None and res.get("status") not in row.precision_lost
    if found is None and trusted and not objective.nonfinite:
        res.fun = float(np.asarray(res.fun).reshape(()))
        return
    with objective.without_limits():
        found = found or objective.evaluate(res.x)
    if not found.finite:
        Ending.NONFINITE.mark(res)
        if fallback is not None:
            found = fallback
    if not same_values(found.x, res.x):
        move(res, found.x)
        res.x = found.x.copy()
    res.fun = found.value


def _best(objective: Objective) -> Evaluation:
    value = objective.best_value
    return Evaluation(objective.best_x, value if value < math.inf else math.nan, None, True)


def _gradient(res: OptimizeResult) -> object:
    """trust-constr's is called ``grad``, and its ``jac`` is the constraints'."""
    return res.get("grad", res.get("jac"))


def _complete_gradient(objective: Objective, res: OptimizeResult) -> None:
    """Let ``.grad`` and the result hold the gradient at ``res.x``, as the closure gives it."""
    known, given = objective.known_gradient(res.x), _gradient(res)
    doubtful = given is not None and (objective.nonfinite > 0 or _has_nan(given))
    if known is None and objective.has_gradient and doubtful:
        known = objective.evaluate(res.x).gradient
    if known is None:
        _set_grads(objective, None if _has_nan(given) else given)
    elif doubtful:
        res["grad" if "grad" in res else "jac"] = known


def _is_flat(function: ScipyFunction, res: OptimizeResult, arguments: Arguments) -> bool:
    """Whether the end passes a test on the gradient, which stands on true values alone."""
    objective = function.objective
    gradient = objective.known_gradient(res.x) if objective.has_gradient else None
    if gradient is None or arguments.gradient_test is None:
        return False
    return largest(_inwards(gradient, res.x, function.bounds)) <= arguments.gradient_test


def _has_nan(gradient: object) -> bool:
    """scipy's answer for variables that it removed since equal bounds fix them."""
    return isinstance(gradient, np.ndarray) and bool(np.isnan(gradient).any())


def _unknown(name: str, function: ScipyFunction) -> Any:
    """NaN of the right size: where we end a run, what only the method's own memory knows."""
    sizes = {"jac": function.objective.bridge.numel, "grad": function.objective.bridge.numel}
    sizes["multipliers"] = function.multipliers()
    return np.full(sizes[name], math.nan) if name in sizes else math.nan


def _set_grads(objective: Objective, gradient: object) -> None:
    objective.clear_grads()
    if isinstance(gradient, np.ndarray) and gradient.shape == (objective.bridge.numel,):
        objective.bridge.load_grads(gradient.astype(np.float64, copy=False))


def _inwards(gradient: Any, x: Array, bounds: Bounds | None) -> Any:
    """The gradient without what only the bounds keep from leading on."""
    if bounds is None or not isinstance(gradient, np.ndarray):
        return gradient
    return x - np.clip(x - gradient, bounds.lb, bounds.ub)


def _warn_if_steep(res: OptimizeResult, gradient: object, arguments: Arguments) -> None:
    """A loss of small scale passes absolute tolerances wherever it is."""
    row = arguments.row
    if row is None or not row.tolerances or not isinstance(gradient, np.ndarray):
        return
    slope, length = largest(gradient), max(1.0, largest(res.x))
    # distance = 2 |loss| / slope, in units of length; both may be tiny.
    if _SOLVED * slope * length < 2.0 * abs(res.fun) < _FLAT * slope * length:
        smaller = ", ".join(f"{name}={slope * 1e-8:.0e}" for name in row.tolerances)
        warnings.warn(
            f"{row.name} reports success at its start point, where the loss is {res.fun:.3g} and "
            f"the gradient is as large as {slope:.3g}: its tolerances are absolute "
            f"and this loss is small. Set options=dict({smaller}), or scale the loss up.",
            RuntimeWarning,
            stacklevel=2,
        )
