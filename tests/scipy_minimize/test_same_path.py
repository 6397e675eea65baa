"""On float64 parameters the path is that of plain scipy on the closure itself, bit by bit."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import plain
import pytest
import scipy.optimize
import torch
from instance import Array
from methods import CAPPED, GRADIENT, GRADIENT_FREE, LOCAL, arguments
from problems import PROBLEMS, Problem, himmelblau, rosenbrock

from pytorch_minimize.optim import MinimizeWrapper

BY_NAME = {problem.name: problem for problem in PROBLEMS}


@functools.cache
def scipys_path(problem: Problem, method: str | None) -> Any:
    return plain.path(problem.make(torch.float64), method, options=CAPPED.get(method))


def assert_same_path(ours: Any, scipys: Any) -> None:
    for count in ("nfev", "nit", "njev", "status", "success"):
        assert ours.get(count) == scipys.get(count), count
    assert np.array_equal(ours.x, scipys.x)
    assert ours.fun == scipys.fun


# Methods differ in what they are called with, problems in how parameters and kernels lie.
EACH_METHOD = [(method, name) for method in (*LOCAL, None) for name in ("quadratic", "signal")]
EACH_PROBLEM = [(method, name) for method in ("CG", "L-BFGS-B") for name in BY_NAME]


@pytest.mark.parametrize(("method", "name"), sorted({*EACH_METHOD, *EACH_PROBLEM}, key=str))
def test_path(method: str | None, name: str) -> None:
    instance = BY_NAME[name].make(torch.float64)
    optimizer = MinimizeWrapper(instance.params, arguments(method, options=CAPPED.get(method, {})))
    loss = optimizer.step(instance.closure(2 if method in GRADIENT_FREE else 1))
    assert_same_path(optimizer.res, scipys_path(BY_NAME[name], method))
    assert np.array_equal(instance.x, optimizer.res.x)
    assert loss.item() == optimizer.res.fun


@pytest.mark.parametrize("name", ["himmelblau", "matrix", "signal"])
@pytest.mark.parametrize("form", [2, 3])
@pytest.mark.parametrize("method", ["BFGS", "SLSQP"])
def test_other_forms_of_closures(method: str, form: int, name: str) -> None:
    instance = BY_NAME[name].make(torch.float64)
    optimizer = MinimizeWrapper(instance.params, arguments(method))
    optimizer.step(instance.closure(form))
    assert_same_path(optimizer.res, scipys_path(BY_NAME[name], method))
    assert np.array_equal(instance.grad, instance.jac(instance.x))


@pytest.mark.parametrize("form", [1, 3])
@pytest.mark.parametrize("method", GRADIENT_FREE)
def test_gradient_free_methods_bear_a_closure_that_runs_backward(method: str, form: int) -> None:
    instance = himmelblau()
    optimizer = MinimizeWrapper(instance.params, arguments(method, options=CAPPED[method]))
    optimizer.step(instance.closure(form))
    assert_same_path(optimizer.res, scipys_path(BY_NAME["himmelblau"], method))


@pytest.mark.parametrize("method", GRADIENT)
def test_finite_differences_on_request(method: str) -> None:
    instance = himmelblau()
    scipys = plain.path(himmelblau(), method, jac=None)
    optimizer = MinimizeWrapper(instance.params, arguments(method, jac=False))
    optimizer.step(instance.closure(2))
    assert_same_path(optimizer.res, scipys)


BOUNDS = [(None, None), (0.0, 0.9), (-1.0, None), (None, 3.0), (None, 0.5)]


def _fifth_is_small(x: Array) -> float:
    return float(1.0 - x[4])


@pytest.mark.parametrize(
    ("method", "more"),
    [
        (None, {"bounds": BOUNDS}),
        (None, {"constraints": [{"type": "ineq", "fun": _fifth_is_small}]}),
        ("TNC", {"bounds": scipy.optimize.Bounds([-2.0] * 5, [0.9] * 5)}),
        ("BFGS", {"tol": 1e-2}),
        ("CG", {"options": {"gtol": 1e-2, "norm": 2}}),
        ("L-BFGS-B", {"options": {"maxcor": 3, "ftol": 1e-4}, "tol": None}),
        ("SLSQP", {"options": {"maxiter": 7}}),
        ("BFGS", {"options": {"hess_inv0": np.eye(5) / 100}}),
    ],
)
def test_keywords_reach_scipy(method: str | None, more: dict[str, Any]) -> None:
    instance, twin = rosenbrock(), rosenbrock()
    start = np.array([0.5, 0.5, 0.5, 0.5, 0.25])
    with torch.no_grad():
        for p, part in zip(instance.params, np.split(start, [2, 3]), strict=True):
            p.copy_(torch.from_numpy(part).view(p.shape))
    scipys = plain.minimize(twin.fun, start, jac=twin.jac, method=method, **more)
    optimizer = MinimizeWrapper(instance.params, arguments(method, **more))
    optimizer.step(instance.closure(1))
    assert_same_path(optimizer.res, scipys)


def test_no_maxiter_of_our_own() -> None:
    instance = rosenbrock()
    optimizer = MinimizeWrapper(instance.params, {})
    optimizer.step(instance.closure(1))
    assert optimizer.res.success
    assert optimizer.res.nit == plain.path(rosenbrock()).nit > 2
