"""The self-scaled methods for plain ``scipy.optimize.minimize``, without a model.

They replace overwriting scipy's own files::

    scipy.optimize.minimize(fun, x0, jac=jac, method=pytorch_minimize.ssbroyden)
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any, cast

import numpy as np
from scipy.optimize import Bounds, OptimizeResult
from scipy.optimize._constraints import old_bound_to_new
from scipy.optimize._numdiff import approx_derivative

from ..bridge.vectors import clip
from ..row import BoundedNative, Row
from ..run.protocol import Answer, Product, Request, Solver, drive
from ..typing import Array
from .methods import ROWS

__all__ = ["minimised", "ssbfgs", "ssbroyden"]

_STOPPED = 99
_DIFFERENCES = ("2-point", "3-point")
_REFUSED = {
    "bounds": "scipy's L-BFGS-B does",
    "constraints": "scipy's SLSQP and trust-constr do",
    "hess": "it builds an inverse Hessian itself, from hess_inv0 if that is given",
    "hessp": "it builds an inverse Hessian itself, from hess_inv0 if that is given",
}
_SQRT_EPSILON = math.sqrt(np.finfo(np.float64).eps)


def ssbfgs(
    fun: Callable[..., Any],
    x0: Any,
    args: tuple[Any, ...] = (),
    jac: Any = None,
    callback: Callable[..., Any] | None = None,
    **options: Any,
) -> OptimizeResult:
    r"""Self-scaled BFGS, to be the ``method`` of :func:`scipy.optimize.minimize`.

    BFGS whose inverse Hessian is scaled by :math:`\max(1, b)`, :math:`b = s^T B s / s^T y`, before
    each update: where least-squares losses of networks fall by orders of magnitude, it goes on
    where BFGS stalls.

    Args:
        fun, x0, args, jac, callback: as scipy has them. Without ``jac``, forward differences of
            ``fun``; scipy drops a string such as "3-point" before it calls such a method.
        options: ``gtol``, ``norm``, ``xrtol``, ``c1``, ``c2``, ``maxiter``, ``hess_inv0``,
            ``return_all``, ``eps`` and ``disp`` as of scipy's BFGS; ``line_search``
            ("more-thuente" or "hager-zhang", which goes on where the loss has no digits left);
            ``initial_scale`` (scale the first H before its first update).

    Returns:
        What scipy's BFGS returns, and ``resets`` (how often H was set back to I after a search
        that failed) and ``skipped`` (iterations without an update).

    Raises:
        ValueError: bounds, constraints or an option that is not understood.
        MemoryError: the inverse Hessian does not fit.

    Example:
        >>> from scipy.optimize import minimize, rosen, rosen_der
        >>> res = minimize(rosen, [0.0] * 5, jac=rosen_der, method=ssbfgs)
        >>> res.success, res.x.round(4)
        (True, array([1., 1., 1., 1., 1.]))

    Source: Al-Baali, Journal of Optimization Theory and Applications 96 (1998).
    """
    return minimised("SSBFGS", fun, x0, args, jac, callback, **options)


def ssbroyden(
    fun: Callable[..., Any],
    x0: Any,
    args: tuple[Any, ...] = (),
    jac: Any = None,
    callback: Callable[..., Any] | None = None,
    **options: Any,
) -> OptimizeResult:
    """Self-scaled Broyden, to be the ``method`` of :func:`scipy.optimize.minimize`.

    As :func:`ssbfgs`, with one option more: ``variant``, 1, 2 (the default) or 3, which is how
    theta, the weight of DFP in the update, is chosen.

    Example:
        >>> from scipy.optimize import minimize, rosen, rosen_der
        >>> options = dict(variant=1, gtol=1e-8)
        >>> res = minimize(rosen, [0.0] * 5, jac=rosen_der, method=ssbroyden, options=options)
        >>> res.success, res.x.round(6)
        (True, array([1., 1., 1., 1., 1.]))

    Source: Urban, Stefanou and Pons, Journal of Computational Physics (2025).
    """
    return minimised("SSBroyden", fun, x0, args, jac, callback, **options)


class _Function:
    """The user's function and gradient, counted; an equal point is not evaluated twice in a row.

    Args:
        hessp: the user's Hessian product; None for methods that ask for none.
    """

    def __init__(
        self,
        fun: Callable[..., Any],
        jac: Any,
        args: tuple[Any, ...],
        eps: Any,
        hessp: Callable[..., Any] | None = None,
    ) -> None:
        self.nfev = self.njev = self.nhev = 0
        self._fun, self._jac, self._args, self._eps = fun, jac, args, eps
        self._hessp = hessp
        self._last: tuple[Array, float, Array] | None = None

    def __call__(self, wanted: Request[Array]) -> Answer[Array]:
        if isinstance(wanted, Product):
            return self._product(wanted)
        x = wanted.x
        if self._last is None or not np.array_equal(self._last[0], x):
            value = self._value(x)
            self._last = (x, value, self._gradient(x, value))
        _, value, gradient = self._last
        finite = math.isfinite(value) and bool(np.isfinite(gradient).all())
        scalars = wanted.measure(gradient).tolist() if finite and wanted.measure else ()
        return Answer(value, gradient, finite, scalars)

    def _product(self, wanted: Product[Array]) -> Answer[Array]:
        assert self._hessp is not None
        self.nhev += 1
        found = self._hessp(wanted.x.copy(), wanted.v.copy(), *self._args)
        product = np.array(found, dtype=np.float64).reshape(-1)
        scalars = wanted.measure(product).tolist() if wanted.measure else ()
        return Answer(math.nan, product, True, scalars)

    def _value(self, x: Array) -> float:
        self.nfev += 1
        value = np.asarray(self._fun(x.copy(), *self._args))
        if value.size != 1:
            raise ValueError(f"fun must return a scalar, got an array of shape {value.shape}")
        return float(value.item())

    def _gradient(self, x: Array, value: float) -> Array:
        self.njev += 1
        if callable(self._jac):
            # A copy: functions may fill the same array each time (Note [fresh gradients]).
            gradient = np.array(self._jac(x.copy(), *self._args), dtype=np.float64).reshape(-1)
        else:
            how = self._jac if isinstance(self._jac, str) else "2-point"
            step = {} if isinstance(self._jac, str) else {"abs_step": self._eps}
            gradient = np.asarray(approx_derivative(self._value, x, how, f0=value, **step))
        if gradient.shape != x.shape:
            raise ValueError(f"jac must return {x.size} numbers, got {gradient.size}")
        return gradient


def minimised(
    name: str,
    fun: Callable[..., Any],
    x0: Any,
    args: tuple[Any, ...] = (),
    jac: Any = None,
    callback: Callable[..., Any] | None = None,
    **options: Any,
) -> OptimizeResult:
    """A run of the method ``name`` of the table; see :func:`ssbfgs`."""
    row = ROWS[name.lower()]
    hessp = options.pop("hessp", None) if row.curvature else None
    bounds = options.pop("bounds", None) if row.bounds else None
    for refused, others in _REFUSED.items():
        given = options.pop(refused, None)
        if given is not None and not (isinstance(given, (tuple, list)) and not given):
            raise ValueError(f"{name} takes no {refused}; {others}")
    if isinstance(jac, str) and jac not in _DIFFERENCES:
        raise ValueError(f"jac: expected a callable, True or one of {_DIFFERENCES}, got {jac!r}")
    tol, disp = options.pop("tol", None), options.pop("disp", False)
    eps = options.pop("eps", _SQRT_EPSILON)
    if tol is not None:
        options = dict.fromkeys(row.tolerances, tol) | options
    if jac is True:
        fun, jac = _split(fun)
    x = np.array(x0, dtype=np.float64).reshape(-1)
    solver = _solver(row, options, x.size, bounds)
    x = clip(x, bounds)
    function = _Function(fun, jac, args, eps, hessp)
    stopped = _run(solver, x, function, _told(callback))
    result = _result(solver, function, stopped)
    if row.curvature:
        result.nhev = function.nhev
    if disp:
        print(
            f"{result.message}\n  loss {result.fun:.9g}, {result.nit} iterations, "
            f"{result.nfev} evaluations"
        )
    return result


def _solver(row: Row, options: dict[str, Any], n: int, bounds: Any) -> Solver[Array]:
    solver: Solver[Array]
    if bounds is None:
        assert row.native is not None
        solver = row.native.make(options, n, None, None)
    else:
        native = cast(BoundedNative, row.native)
        stated = bounds if isinstance(bounds, Bounds) else Bounds(*old_bound_to_new(bounds))
        within = Bounds(*(np.array(np.broadcast_to(b, n), float) for b in (stated.lb, stated.ub)))
        solver = native.make_within(options, n, None, within)
    return solver


def _run(
    solver: Solver[Array],
    x: Array,
    function: _Function,
    callback: Callable[[Solver[Array]], Any],
) -> bool:
    """Runs to the end; returns whether the callback ended it."""
    drive(solver.start(x), function)
    while solver.done() is None:
        before = solver.nit
        drive(solver.step(), function)
        if solver.nit > before:
            try:
                callback(solver)
            except StopIteration:
                return True
    return False


def _told(callback: Callable[..., Any] | None) -> Callable[[Solver[Array]], Any]:
    """A callback in one form: scipy tells them apart by the name of the argument."""
    if callback is None:
        return lambda solver: None
    if set(inspect.signature(callback).parameters) == {"intermediate_result"}:
        return lambda solver: callback(
            intermediate_result=OptimizeResult(x=solver.x.copy(), fun=solver.value)
        )
    return lambda solver: callback(solver.x.copy())


def _split(fun: Callable[..., Any]) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """A function that returns value and gradient, as two: the gradient is asked for right after."""
    gradients: list[Any] = []

    def value(x: Array, *args: Any) -> Any:
        gradients[:] = [None, *fun(x, *args)][:0:-1]
        return gradients[1]

    return value, lambda x, *args: gradients[0]


def _result(solver: Solver[Array], function: _Function, stopped: bool) -> OptimizeResult:
    status = solver.done()
    status = _STOPPED if stopped or status is None else status
    message = "`callback` raised `StopIteration`." if stopped else solver.message(status)
    return OptimizeResult(
        x=solver.x,
        fun=solver.value,
        jac=solver.gradient,
        nfev=function.nfev,
        njev=function.njev,
        nit=solver.nit,
        status=status,
        success=status == 0,
        message=message,
        **solver.fields(),
    )
