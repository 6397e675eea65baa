"""On float64 parameters the path is that of plain scipy on the flat twin, bit by bit."""

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
from problems import PROBLEMS, Problem, Twin, himmelblau, logistic, rosenbrock

from pytorch_minimize.optim import MinimizeWrapper

BY_NAME = {problem.name: problem for problem in PROBLEMS}


@functools.cache
def scipys_path(problem: Problem, method: str | None) -> Any:
    """scipy alone, on the flat twin."""
    twin = problem.make(torch.float64)
    jac = None if method in GRADIENT_FREE else twin.jac
    options = CAPPED.get(method)
    return plain.minimize(twin.fun, twin.x0, jac=jac, method=method, options=options)


def assert_same_path(ours: Any, scipys: Any) -> None:
    for count in ("nfev", "nit", "njev", "status", "success"):
        assert ours.get(count) == scipys.get(count), count
    assert np.array_equal(ours.x, scipys.x)
    assert ours.fun == scipys.fun


@pytest.mark.parametrize("problem", PROBLEMS, ids=str)
@pytest.mark.parametrize("form", [1, 2, 3])
@pytest.mark.parametrize("method", [*GRADIENT, None])
def test_gradient_methods(problem: Problem, method: str | None, form: int) -> None:
    instance = problem.make(torch.float64)
    optimizer = MinimizeWrapper(instance.params, arguments(method))
    optimizer.step(instance.closure(form))
    assert_same_path(optimizer.res, scipys_path(problem, method))
    assert np.array_equal(instance.x, optimizer.res.x)


@pytest.mark.parametrize("problem", PROBLEMS, ids=str)
@pytest.mark.parametrize("method", GRADIENT_FREE)
def test_gradient_free_methods(problem: Problem, method: str) -> None:
    instance = problem.make(torch.float64)
    optimizer = MinimizeWrapper(instance.params, arguments(method, options=CAPPED[method]))
    optimizer.step(instance.closure(2))
    assert_same_path(optimizer.res, scipys_path(problem, method))
    assert np.array_equal(instance.x, optimizer.res.x)


@pytest.mark.parametrize("method", GRADIENT_FREE)
def test_gradient_free_methods_bear_a_closure_that_runs_backward(method: str) -> None:
    instance = himmelblau()
    optimizer = MinimizeWrapper(instance.params, arguments(method, options=CAPPED[method]))
    optimizer.step(instance.closure(1))
    assert_same_path(optimizer.res, scipys_path(BY_NAME["himmelblau"], method))


@pytest.mark.parametrize("method", LOCAL)
def test_path_of_a_twin_written_in_numpy(method: str) -> None:
    """Himmelblau's twin in numpy rounds as torch does, so that even here all bits agree."""
    instance, twin = himmelblau(), BY_NAME["himmelblau"].twin
    assert twin is not None
    jac = twin.jac if method in GRADIENT else None
    scipys = plain.minimize(twin.fun, instance.x0, jac=jac, method=method)
    optimizer = MinimizeWrapper(instance.params, arguments(method))
    optimizer.step(instance.closure(1))
    assert_same_path(optimizer.res, scipys)


# CG's path on the ill-conditioned problems and TNC's, which differences gradients, show
# the last bit of every rounding; the steady ones must agree in their counts all the same.
@pytest.mark.parametrize("name", ["rosenbrock", "quadratic", "matrix"])
@pytest.mark.parametrize("method", ["BFGS", "L-BFGS-B", "SLSQP", "Nelder-Mead"])
def test_counts_of_a_twin_written_in_numpy(name: str, method: str) -> None:
    instance, twin = BY_NAME[name].make(torch.float64), BY_NAME[name].twin
    assert isinstance(twin, Twin)
    jac = twin.jac if method in GRADIENT else None
    scipys = plain.minimize(twin.fun, instance.x0, jac=jac, method=method)
    optimizer = MinimizeWrapper(instance.params, arguments(method))
    optimizer.step(instance.closure(1))
    ours = optimizer.res
    assert (ours.nfev, ours.nit, ours.get("njev")) == (scipys.nfev, scipys.nit, scipys.get("njev"))
    np.testing.assert_allclose(ours.x, scipys.x, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("method", GRADIENT)
def test_finite_differences_on_request(method: str) -> None:
    instance, twin = rosenbrock(), rosenbrock()
    scipys = plain.minimize(twin.fun, twin.x0, method=method)
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


@pytest.mark.parametrize("method", LOCAL)
def test_the_closure_runs_no_oftener_than_scipy_asks(method: str) -> None:
    instance = logistic()
    evaluate, points = instance.closure(1), []

    def closure() -> torch.Tensor:
        points.append(instance.x.tobytes())
        return evaluate()

    options = CAPPED.get(method, {})
    optimizer = MinimizeWrapper(instance.params, arguments(method, options=options))
    optimizer.step(closure)
    # One more than nfev, at most: parameters may have to be brought back to res.x.
    assert len(points) <= optimizer.res.nfev + 1


def test_no_maxiter_of_our_own() -> None:
    instance, twin = rosenbrock(), rosenbrock()
    scipys = plain.minimize(twin.fun, twin.x0, jac=twin.jac)
    optimizer = MinimizeWrapper(instance.params, {})
    optimizer.step(instance.closure(1))
    assert optimizer.res.success
    assert optimizer.res.nit == scipys.nit > 2
