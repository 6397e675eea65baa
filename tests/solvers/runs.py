"""Runs of a solver on plain functions, and functions to run it on."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import scipy.optimize
from numpy.typing import NDArray

from pytorch_minimize.bridge.space import ARRAYS
from pytorch_minimize.run.protocol import Answer, Trial, drive
from pytorch_minimize.solvers.inverse import array_inverse
from pytorch_minimize.solvers.quasi_newton import QuasiNewton, Rules

Array = NDArray[np.float64]


class Function(NamedTuple):
    """A function, its gradient, and where to start."""

    fun: Callable[[Array], float]
    jac: Callable[[Array], Array]
    start: Array


class Asked:
    """Answers trials, and keeps where they were; equal points in a row count once, as in scipy."""

    def __init__(self, function: Function) -> None:
        self.function = function
        self.points: list[Array] = []
        self.nfev = 0

    def __call__(self, trial: Trial[Array]) -> Answer[Array]:
        if not (self.points and np.array_equal(self.points[-1], trial.x)):
            self.nfev += 1
        self.points.append(trial.x)
        value, gradient = self.function.fun(trial.x), self.function.jac(trial.x)
        finite = math.isfinite(value) and bool(np.isfinite(gradient).all())
        scalars = trial.measure(gradient).tolist() if finite and trial.measure else ()
        return Answer(value, gradient, finite, scalars)


def scipys(method: str, function: Function, **options: Any) -> tuple[Any, list[Array]]:
    """scipy's result and its iterates."""
    path: list[Array] = []
    result = scipy.optimize.minimize(
        function.fun,
        function.start,
        jac=function.jac,
        method=method,
        callback=lambda x: path.append(x.copy()),
        options=options,
    )
    return result, path


def run(
    function: Function, rules: Rules, initial: Array | None = None
) -> tuple[QuasiNewton[Array], Asked]:
    n = function.start.size
    inverse = array_inverse(n, initial)
    solver = QuasiNewton(ARRAYS, inverse, rules, given=initial is not None)
    asked = Asked(function)
    drive(solver.start(function.start), asked)
    while solver.done() is None:
        drive(solver.step(), asked)
    return solver, asked


def quadratic(n: int, condition: float, seed: int = 0) -> Function:
    rng = np.random.default_rng(seed)
    q, _ = np.linalg.qr(rng.standard_normal((n, n)))
    a = q @ np.diag(np.geomspace(1.0, condition, n)) @ q.T
    b, start = rng.standard_normal((2, n))
    return Function(lambda x: float(0.5 * x @ a @ x - b @ x), lambda x: a @ x - b, start)


def logistic(n: int, count: int, seed: int = 0) -> Function:
    """A classification with a penalty: convex."""
    rng = np.random.default_rng(seed)
    data = rng.standard_normal((count, n))
    sign = np.where(data @ rng.standard_normal(n) + rng.standard_normal(count) > 0, 1.0, -1.0)
    rows = sign[:, None] * data

    def fun(x: Array) -> float:
        return float(np.logaddexp(0.0, -rows @ x).mean() + 0.005 * x @ x)

    def jac(x: Array) -> Array:
        return -rows.T @ (1.0 / (1.0 + np.exp(rows @ x))) / count + 0.01 * x

    return Function(fun, jac, np.zeros(n))


def rosen(n: int, seed: int = 0) -> Function:
    start = np.random.default_rng(seed).standard_normal(n)
    return Function(lambda x: float(scipy.optimize.rosen(x)), scipy.optimize.rosen_der, start)


def tanh_fit(width: int, seed: int = 0) -> Function:
    """Least squares of a network with one hidden layer, on a sine."""
    rng = np.random.default_rng(seed)
    points = np.linspace(-1.0, 1.0, 40)
    data = np.sin(4.0 * points)

    def parts(x: Array) -> tuple[Array, Array, Array]:
        inner, shift, outer = x.reshape(3, width)
        hidden = np.tanh(np.outer(points, inner) + shift)
        return hidden, outer, hidden @ outer - data

    def jac(x: Array) -> Array:
        hidden, outer, error = parts(x)
        back = 2.0 / points.size * error[:, None] * outer * (1.0 - hidden**2)
        slope = 2.0 / points.size * error @ hidden
        return np.concatenate([points @ back, back.sum(0), slope])

    return Function(lambda x: float((parts(x)[2] ** 2).mean()), jac, rng.standard_normal(3 * width))
