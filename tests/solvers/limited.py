"""Runs of limited memory on plain functions, and H by other ways than the compact one."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from runs import Array, Asked, Function
from scipy.optimize import Bounds
from sklearn.datasets import load_digits
from torch import Tensor

from pytorch_minimize.run.protocol import Answer, Trial, drive
from pytorch_minimize.solvers.limited_memory import LimitedMemory
from pytorch_minimize.solvers.limited_methods import LIMITED


def run_limited(
    function: Function, method: str = "torch-L-BFGS", bounds: Bounds | None = None, **options: Any
) -> tuple[LimitedMemory[Array], Asked, list[Array]]:
    """The solver at its end, what it asked for, and its iterates."""
    solver = LIMITED[method].make_within(options, function.start.size, None, bounds)
    asked, path = Asked(function), []
    drive(solver.start(function.start), asked)
    while solver.done() is None:
        before = solver.nit
        drive(solver.step(), asked)
        if solver.nit > before:
            path.append(solver.x)
    return solver, asked, path


def run_on_tensors(solver: LimitedMemory[Tensor], function: Function) -> None:
    """The same on tensors, to the end."""

    def evaluate(trial: Trial[Tensor]) -> Answer[Tensor]:
        value, gradient = function.fun(trial.x.numpy()), function.jac(trial.x.numpy())
        assert trial.measure is not None
        scalars = trial.measure(torch.from_numpy(gradient)).tolist()
        return Answer(value, torch.from_numpy(gradient), True, scalars)

    drive(solver.start(torch.from_numpy(function.start)), evaluate)
    while solver.done() is None:
        drive(solver.step(), evaluate)


def two_loops(pairs: Sequence[tuple[Array, Array, float]], v: Array) -> Array:
    """H v of pairs (s, y, tau), each of which divides by tau what was known before it."""
    q, weights = v.copy(), []
    for s, y, _ in reversed(pairs):
        weights.append(s @ q / (s @ y))
        q -= weights[-1] * y
    s, y, _ = pairs[-1]
    r = s @ y / (y @ y) * q
    for (s, y, tau), weight in zip(pairs, reversed(weights), strict=True):
        r = r / tau
        r += (weight - y @ r / (s @ y)) * s
    return r


@cache
def digits() -> Function:
    """Multinomial logistic regression of the handwritten digits, with a penalty: n = 650."""
    pixels, labels = load_digits(return_X_y=True)
    inputs = np.hstack([pixels / 16.0, np.ones((len(pixels), 1))])
    hot = np.eye(10)[labels]

    def parts(x: Array) -> tuple[Array, Array]:
        scores = inputs @ x.reshape(65, 10)
        scores -= scores.max(1, keepdims=True)
        return scores, np.log(np.exp(scores).sum(1, keepdims=True))

    def fun(x: Array) -> float:
        scores, total = parts(x)
        return float(((total - scores) * hot).sum() / len(inputs) + 5e-4 * x @ x)

    def jac(x: Array) -> Array:
        scores, total = parts(x)
        errors = np.exp(scores - total) - hot
        return np.asarray((inputs.T @ errors / len(inputs)).reshape(-1) + 1e-3 * x)

    start = np.random.default_rng(0).uniform(-0.1, 0.1, 650)
    return Function(fun, jac, start)


def as_tensor_function(function: Function) -> Any:
    """Value and gradient at a tensor."""

    def evaluate(x: torch.Tensor) -> tuple[float, torch.Tensor]:
        return function.fun(x.numpy()), torch.from_numpy(function.jac(x.numpy()))

    return evaluate
