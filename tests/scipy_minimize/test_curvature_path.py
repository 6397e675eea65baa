"""On float64 parameters second-order methods walk scipy's path, bit by bit."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import plain
import pytest
import scipy.optimize
import torch
from instance import Instance
from problems import PROBLEMS, Problem, rosenbrock
from torch import Tensor

from pytorch_minimize.optim import MinimizeWrapper
from pytorch_minimize.scipy_minimize.methods import CURVATURE_METHODS

BY_NAME = {problem.name: problem for problem in PROBLEMS}
ROUTES = ((1, "graph"), (2, "graph"), (3, "graph"), (1, "replay"), (2, "replay"))
# A Hessian of several products at once is summed in another order than one of single products,
# and a Newton step makes the problem's condition number of that; 1e4 at most here.
AT_ONCE = 1e-11


@functools.cache
def scipys_path(problem: Problem, method: str) -> scipy.optimize.OptimizeResult:
    return plain.path(problem.make(torch.float64), method)


def assert_path(
    problem: Problem, method: str, form: int = 1, tolerance: float = 0.0, **settings: Any
) -> None:
    instance = problem.make(torch.float64)
    optimizer = MinimizeWrapper(instance.params, {"method": method}, **settings)
    loss = optimizer.step(instance.closure(form))
    ours, scipys = optimizer.res, scipys_path(problem, method)
    assert ours.success
    for count in ("nfev", "nit", "njev", "nhev", "status"):
        assert ours[count] == scipys[count], count
    np.testing.assert_allclose(ours.x, scipys.x, rtol=tolerance, atol=tolerance)
    assert loss.item() == ours.fun == pytest.approx(instance.minimum, abs=1e-6)
    assert np.array_equal(instance.x, ours.x)
    np.testing.assert_allclose(instance.grad, instance.jac(ours.x), rtol=1e-13, atol=1e-13)
    # Each point is evaluated once, but for iterates loaded again after a rejected trial point.
    counts = optimizer.profile.counts
    assert counts["graph"] <= ours.nfev + counts.get("reload", 0)


@pytest.mark.parametrize("name", ["rosenbrock", "quadratic"])
@pytest.mark.parametrize("method", CURVATURE_METHODS)
def test_each_method(method: str, name: str) -> None:
    assert_path(BY_NAME[name], method, hessian_block_bytes=1)


@pytest.mark.parametrize("problem", PROBLEMS, ids=str)
@pytest.mark.parametrize("method", ["trust-ncg", "trust-exact"])
def test_each_problem(method: str, problem: Problem) -> None:
    assert_path(problem, method, hessian_block_bytes=1)
    assert_path(problem, method, tolerance=AT_ONCE)


@pytest.mark.parametrize(("form", "strategy"), ROUTES)
@pytest.mark.parametrize("method", ["Newton-CG", "trust-exact", "trust-constr"])
def test_each_route(method: str, form: int, strategy: Any) -> None:
    assert_path(BY_NAME["logistic"], method, form, curvature=strategy, hessian_block_bytes=1)


@pytest.mark.parametrize("method", ["trust-ncg", "trust-krylov", "trust-constr"])
def test_reloads_are_counted(method: str) -> None:
    instance = rosenbrock()
    optimizer = MinimizeWrapper(instance.params, {"method": method})
    optimizer.step(instance.closure(1))
    counts = optimizer.profile.counts
    assert counts["reload"] > 0
    assert counts["closure"] == optimizer.res.nfev + counts["reload"]


@pytest.mark.parametrize("start", [(-1.2, 1.0), (1.3, 0.7, 0.8, 1.9, 1.2), (2.0, -2.0, 2.0)])
def test_dogleg_converges_where_scipys_gives_up(start: tuple[float, ...]) -> None:
    def loss(x: Tensor) -> Tensor:
        return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()

    flat = Instance([torch.tensor(start, dtype=torch.float64)], lambda tensors: loss(tensors[0]))
    scipys = plain.minimize(flat.fun, flat.x0, jac=flat.jac, hess=flat.hess, method="dogleg")
    optimizer = MinimizeWrapper(flat.params, {"method": "dogleg"})
    optimizer.step(flat.closure(2))
    assert optimizer.res.success
    np.testing.assert_allclose(optimizer.res.x, np.ones(len(start)), atol=1e-5)
    assert optimizer.res.hess_shifts == optimizer.profile.counts["shift"]
    assert (optimizer.res.hess_shifts > 0) == (not scipys.success)


@pytest.mark.parametrize("method", CURVATURE_METHODS)
def test_float32(method: str) -> None:
    instance = rosenbrock(torch.float32)
    optimizer = MinimizeWrapper(instance.params, {"method": method})
    assert optimizer.step(instance.closure(1)).dtype == torch.float32
    assert instance.closure(2)().item() < 1e-6
    assert all(p.dtype == torch.float32 for p in instance.params)
