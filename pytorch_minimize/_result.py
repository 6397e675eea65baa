"""The promises about the end of a run: what the parameters, ``.grad`` and ``res`` hold."""

from __future__ import annotations

import math
import warnings

import numpy as np
from scipy.optimize import OptimizeResult

from ._arguments import Arguments
from ._bridge import largest, same_values
from ._objective import Array, Objective

__all__ = ["finish"]

# If the loss fell to zero as a parabola does, the minimum would be 2 |loss| / |gradient| away. A
# point is neither solved nor flat where that is between these, in units of the larger of 1 and |x|.
_SOLVED, _FLAT = 1e-3, 1e2


def finish(
    objective: Objective, res: OptimizeResult, x0: Array, arguments: Arguments
) -> OptimizeResult:
    """Set the parameters to ``res.x`` and ``.grad`` to the gradient there; complete ``res``."""
    if objective.evaluations and not objective.has_finite_value:
        res.x, res.fun, res.success = objective.best_x.copy(), math.nan, False
        res.message = "No evaluation gave a finite loss and gradient."
    x = res.x = objective.within(res.x)
    gradient = res.get("grad", res.get("jac"))
    has_its_gradient = objective.is_at(x) and objective.has_gradient
    objective.load(x)
    objective.settle()
    if not has_its_gradient:
        if not _has_nan(gradient):
            _set_grads(objective, gradient)
        elif objective.has_gradient:
            objective.jac(x)
        else:
            objective.clear_grads()
    res.fun = float(np.asarray(res.fun).reshape(()))
    res.nonfinite = objective.nonfinite - objective.recovered
    res.recovered = objective.recovered
    if objective.recovered and not math.isfinite(res.fun):
        res.message += f" The closure raised {objective.recovered_from}"
    if arguments.curvature and arguments.row is not None and arguments.row.positive_definite:
        res.hess_shifts = objective.profile.counts.get("shift", 0)
    if res.get("success") and same_values(x, x0) and not arguments.keywords["constraints"]:
        _warn_if_steep(res, _inwards(gradient, x, objective.box), arguments)
    return res


def _has_nan(gradient: object) -> bool:
    """scipy's answer for variables that it removed since equal bounds fix them."""
    return isinstance(gradient, np.ndarray) and bool(np.isnan(gradient).any())


def _set_grads(objective: Objective, gradient: object) -> None:
    objective.clear_grads()
    if isinstance(gradient, np.ndarray) and gradient.shape == (objective.bridge.numel,):
        objective.bridge.load_grads(gradient.astype(np.float64, copy=False))


def _inwards(gradient: object, x: Array, box: tuple[Array, Array] | None) -> object:
    """The gradient without what only the bounds keep from leading on."""
    if box is None or not isinstance(gradient, np.ndarray):
        return gradient
    return x - np.clip(x - gradient, *box)


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
