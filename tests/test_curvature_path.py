"""On float64 parameters second-order methods walk the path of scipy with torch.func's Hessians."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.optimize
import threadpoolctl
import torch
from instance import Array, Instance
from problems import PROBLEMS, Problem, rosenbrock
from torch import Tensor

from pytorch_minimize._methods import CURVATURE_METHODS
from pytorch_minimize._positive_definite import shift_to_positive_definite
from pytorch_minimize.optim import MinimizeWrapper

ROUTES = ((1, "graph"), (2, "graph"), (3, "graph"), (1, "replay"), (2, "replay"))
DENSE = ("trust-exact", "dogleg")


def products(instance: Instance) -> Callable[[Array, Array], Array]:
    """(x, v) -> H(x) v."""

    def hessp(x: Array, v: Array) -> Array:
        _, pull_back = torch.func.vjp(torch.func.grad(instance.flat), torch.tensor(x))
        (product,) = pull_back(torch.tensor(v, dtype=torch.float64))
        return product.numpy()

    return hessp


def plain_arguments(instance: Instance, method: str) -> dict[str, Any]:
    if method == "dogleg":
        return {"hess": lambda x: shift_to_positive_definite(instance.hess(x))[0]}
    return {"hess": instance.hess} if method in DENSE else {"hessp": products(instance)}


@functools.cache
def plain(problem: Problem, method: str) -> scipy.optimize.OptimizeResult:
    """scipy alone, on the flat twin; with BLAS threads as ours, or its sums round differently."""
    instance = problem.make(torch.float64)
    more = plain_arguments(instance, method)
    with threadpoolctl.threadpool_limits(1, "blas"):
        return scipy.optimize.minimize(
            instance.fun, instance.x0, jac=instance.jac, method=method, **more
        )


@pytest.mark.parametrize(("form", "strategy"), ROUTES)
@pytest.mark.parametrize("problem", PROBLEMS, ids=str)
@pytest.mark.parametrize("method", CURVATURE_METHODS)
def test_same_path(method: str, problem: Problem, form: int, strategy: Any) -> None:
    instance = problem.make(torch.float64)
    optimizer = MinimizeWrapper(instance.params, {"method": method}, curvature=strategy)
    loss = optimizer.step(instance.closure(form))
    ours, scipys = optimizer.res, plain(problem, method)
    assert ours.success
    for count in ("nfev", "nit", "njev", "nhev", "status"):
        assert ours[count] == scipys[count], count
    # A dense Hessian is symmetrised, and differs from torch.func's in the last bits.
    tolerance = 1e-14 if method in DENSE else 0.0
    np.testing.assert_allclose(ours.x, scipys.x, rtol=tolerance, atol=tolerance)
    assert loss.item() == ours.fun == pytest.approx(instance.minimum, abs=1e-6)
    assert np.array_equal(instance.x, ours.x)
    np.testing.assert_allclose(instance.grad, instance.jac(ours.x), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("problem", PROBLEMS, ids=str)
@pytest.mark.parametrize("method", CURVATURE_METHODS)
def test_each_point_is_evaluated_once(method: str, problem: Problem) -> None:
    """But for the iterates that are loaded again after a rejected trial point."""
    instance = problem.make(torch.float64)
    optimizer = MinimizeWrapper(instance.params, {"method": method})
    optimizer.step(instance.closure(1))
    counts = optimizer.profile.counts
    assert counts["closure"] == optimizer.res.nfev + counts.get("reload", 0)
    assert counts["graph"] <= optimizer.res.nfev + counts.get("reload", 0)


@pytest.mark.parametrize("method", ["trust-ncg", "trust-krylov", "trust-constr"])
def test_reloads_are_counted(method: str) -> None:
    instance = rosenbrock()
    optimizer = MinimizeWrapper(instance.params, {"method": method})
    optimizer.step(instance.closure(1))
    assert optimizer.profile.counts["reload"] > 0


@pytest.mark.parametrize("start", [(-1.2, 1.0), (1.3, 0.7, 0.8, 1.9, 1.2), (2.0, -2.0, 2.0)])
def test_dogleg_converges_where_scipys_gives_up(start: tuple[float, ...]) -> None:
    def loss(x: Tensor) -> Tensor:
        return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()

    flat = Instance([torch.tensor(start, dtype=torch.float64)], lambda tensors: loss(tensors[0]))
    scipys = scipy.optimize.minimize(
        flat.fun, flat.x0, jac=flat.jac, hess=flat.hess, method="dogleg"
    )
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
